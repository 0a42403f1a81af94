/** A signed-in person proves again who they are. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { askOwnPasskey } from '../factors/passkeys.ts';
import { checkFactor, type TakeProof } from '../factors/proof.ts';
import { setPasskeyChallenge, takePasskeyChallenge } from '../factors/queries.ts';
import { recordRecoveryCodeUse } from '../factors/recovery-codes.ts';
import type { RelyingParty } from '../factors/relying-party.ts';
import type { Proof } from '../factors/schema.ts';
import { verifyPassword } from '../passwords/password-hash.ts';
import { PASSWORD_MAX_BYTES } from '../passwords/password-rule.ts';
import { findUser } from '../people/queries.ts';
import type { PeopleDeps } from '../people/people.ts';
import { countAccountFailure } from '../sessions/alerts.ts';
import { updateProof } from '../sessions/queries.ts';
import { secondWaysOf } from './pending-sign-in.ts';
import {
  accountBucket,
  clearAttempts,
  countAttempt,
  takeAttemptBack,
  throttleBucket,
} from './sign-in-throttle.ts';

const CHALLENGE_MS = 5 * 60_000;

/** What the browser's passkey is asked. @throws HoldfastError `wrong_state` when none of the person's works at this address. */
export async function askPasskeyProof(
  deps: PeopleDeps,
  person: Person,
  party: RelyingParty,
): Promise<unknown> {
  const options = await askOwnPasskey(deps, person.userId, party);
  const expiresAt = new Date(deps.clock.now().getTime() + CHALLENGE_MS);
  await writeTransaction(deps.db, (tx) =>
    setPasskeyChallenge(tx, person.sessionId, 'proof', options.challenge, expiresAt),
  );
  return options;
}

/**
 * Takes a proof for the session, which counts as fresh from now on. Whoever has a second factor gives that: a password alone may have
 * been watched, or be the one that the thief of the session has.
 *
 * @throws HoldfastError `invalid_input` for a password where a second factor is asked, `forbidden` when it does not hold,
 *   `too_many_requests` after repeated failures.
 */
export async function renewProof(
  deps: PeopleDeps,
  person: Person,
  proof: Proof,
  { actor, party }: { actor: Actor; party: RelyingParty },
): Promise<void> {
  const ways = await secondWaysOf(deps, person.userId);
  if (proof.kind === 'password' && ways.length > 0) throw factorAsked();
  const bucket = throttleBucket('proof', Buffer.from(person.userId), actor.address);
  await countAttempt(deps, bucket);
  const take = await checkProof(deps, person, proof, { actor, party }).catch(async (error: unknown) => {
    await takeAttemptBack(deps, bucket);
    throw error;
  });
  const taken = take !== undefined && (await takeProof(deps, person, proof.kind, { take, actor }));
  if (!taken) {
    await recordProofRefusal(deps, person, actor);
    throw new HoldfastError('forbidden', 'That is not right', {
      hint: 'Nothing was done. Try again, or cancel.',
    });
  }
  for (const done of [bucket, accountBucket(person.userId)]) await clearAttempts(deps, done);
}

/** @returns what uses it up; undefined when it is wrong. */
async function checkProof(
  deps: PeopleDeps,
  person: Person,
  proof: Proof,
  { actor, party }: { actor: Actor; party: RelyingParty },
): Promise<TakeProof | undefined> {
  if (proof.kind === 'password') return checkPassword(deps, person.userId, proof.password, actor.address);
  const now = deps.clock.now();
  const challenge =
    proof.kind === 'passkey'
      ? await writeTransaction(deps.db, (tx) => takePasskeyChallenge(tx, person.sessionId, 'proof', now))
      : undefined;
  return checkFactor(deps, person.userId, proof, { challenge, party });
}

async function checkPassword(
  deps: PeopleDeps,
  userId: string,
  password: string,
  address: string | undefined,
): Promise<TakeProof | undefined> {
  const user = await findUser(deps.db, userId);
  const usable = user?.disabled_at === null && Buffer.byteLength(password) <= PASSWORD_MAX_BYTES;
  const right = await verifyPassword(password, usable ? user.password_hash : null, address);
  return right ? () => Promise.resolve(true) : undefined;
}

/** @returns false when it was used up meanwhile. */
async function takeProof(
  deps: PeopleDeps,
  person: Person,
  method: Proof['kind'],
  { take, actor }: { take: TakeProof; actor: Actor },
): Promise<boolean> {
  return writeTransaction(deps.db, async (tx) => {
    if (!(await take(tx))) return false;
    if (method === 'recovery-code') await recordRecoveryCodeUse(tx, deps.clock, person.userId, actor);
    const methods = [...new Set([...person.methods, method])];
    await updateProof(tx, person.sessionId, deps.clock.now(), methods);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session.proven',
      objectType: 'session',
      objectId: person.sessionId,
      detail: { method },
    });
    return true;
  });
}

function factorAsked(): HoldfastError {
  return new HoldfastError('invalid_input', 'Your second factor is asked for here, not the password', {
    hint: 'Give the passkey, a code of the authenticator app, or a recovery code.',
  });
}

/** Many of these are told to the person. */
export async function recordProofRefusal(deps: PeopleDeps, person: Person, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session.proof-refused',
      objectType: 'session',
      objectId: person.sessionId,
      result: 'refused',
    });
    await countAccountFailure(tx, deps, accountBucket(person.userId), person.userId, actor);
  });
}
