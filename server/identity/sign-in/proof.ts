/** A signed-in person proves again who they are. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { verifyPassword } from '../passwords/password-hash.ts';
import { PASSWORD_MAX_BYTES } from '../passwords/password-policy.ts';
import { findUser } from '../people/queries.ts';
import type { PeopleDeps } from '../people/people.ts';
import type { Proof, SignInMethod } from '../schema.ts';
import { countAccountFailure } from '../sessions/alerts.ts';
import { updateProof } from '../sessions/queries.ts';
import { clearAttempts, countAttempt, throttleBucket } from './sign-in-throttle.ts';

/**
 * Tells whether a proof holds.
 *
 * @returns by what it was given; undefined when it does not hold.
 */
export async function verifyProof(
  deps: PeopleDeps,
  person: Pick<Person, 'userId'>,
  proof: Proof,
): Promise<SignInMethod | undefined> {
  const user = await findUser(deps.db, person.userId);
  const usable = user?.disabled_at === null && Buffer.byteLength(proof.password) <= PASSWORD_MAX_BYTES;
  const right = await verifyPassword(proof.password, usable ? user.password_hash : null);
  return right ? 'password' : undefined;
}

/**
 * Takes a proof for the session, which counts as fresh from now on.
 *
 * @throws HoldfastError `forbidden` when it does not hold, `too_many_requests` after repeated failures.
 */
export async function renewProof(
  deps: PeopleDeps,
  person: Person,
  proof: Proof,
  actor: Actor,
): Promise<void> {
  const bucket = throttleBucket('proof', Buffer.from(person.userId), actor.address);
  await countAttempt(deps, bucket);
  const method = await verifyProof(deps, person, proof);
  if (method === undefined) {
    await recordRefusal(deps, person, actor);
    throw new HoldfastError('forbidden', 'That is not right', {
      hint: 'Nothing was done. Try again, or cancel.',
    });
  }
  await writeTransaction(deps.db, async (tx) => {
    const methods = [...new Set([...person.methods, method])];
    await updateProof(tx, person.sessionId, deps.clock.now(), methods);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session.proven',
      objectType: 'session',
      objectId: person.sessionId,
      detail: { method },
    });
  });
  await clearAttempts(deps, bucket);
}

async function recordRefusal(deps: PeopleDeps, person: Person, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session.proof-refused',
      objectType: 'session',
      objectId: person.sessionId,
      result: 'refused',
    });
    const account = throttleBucket('account', Buffer.from(person.userId), undefined);
    await countAccountFailure(tx, deps, account, person.userId, actor);
  });
}
