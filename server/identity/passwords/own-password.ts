/**
 * Changing one's own password. Guarantees: who sits at an open session needs the present password for it, or a fresh proof by the second
 * factor of whoever has one; every other session and every sign-in that has begun is over with the same transaction.
 */
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Self } from '../factors/enrolment.ts';
import { getPerson, setPassword, type PasswordDeps } from '../people/people.ts';
import { findUser, lockUser, type UserRow } from '../people/queries.ts';
import { isStillSignedIn, openSession, providerSessionOf, type OpenedSession } from '../sessions/sessions.ts';
import { requireFreshProof } from '../sign-in/fresh-proof.ts';
import { recordProofRefusal } from '../sign-in/proof.ts';
import { secondWaysOf } from '../sign-in/pending-sign-in.ts';
import {
  accountBucket,
  clearAttempts,
  countAttempt,
  takeAttemptBack,
  throttleBucket,
} from '../sign-in/sign-in-throttle.ts';
import { hashPassword, verifyPassword } from './password-hash.ts';
import { checkPassword } from './password-policy.ts';
import type { PasswordChange } from './schema.ts';

/**
 * @throws HoldfastError `step_up_required` of somebody with a second factor; `invalid_input` without the present password, for a new one
 *   that is not taken, and for the same again; `forbidden` when the present one is wrong; `too_many_requests` after repeated failures.
 */
export async function changeOwnPassword(
  deps: PasswordDeps,
  self: Self,
  change: PasswordChange,
): Promise<OpenedSession> {
  const { person, actor } = self;
  const user = await findUser(deps.db, person.userId);
  const factors = await secondWaysOf(deps, person.userId);
  if (factors.length > 0) await requireFreshProof(deps, person);
  else await requirePresentPassword(deps, self, user, change.currentPassword);
  const { name, email } = await getPerson(deps, person.userId);
  await checkPassword(deps, change.password, [name, email]);
  if (await verifyPassword(change.password, user?.password_hash, actor.address))
    throw new HoldfastError('invalid_input', 'This is the password that you have');
  const passwordHash = await hashPassword(change.password);
  const session = await writeTransaction(deps.db, async (tx) => {
    const held = await lockUser(tx, person.userId);
    // Meanwhile it may have been changed, or the session ended, by the person who saw a stranger in it.
    if (!(await isStillSignedIn(deps, person, tx)) || held?.password_hash !== user?.password_hash)
      throw new HoldfastError('unauthenticated', 'Sign in first');
    const providerSession = await providerSessionOf(tx, person.sessionId);
    await setPassword(tx, deps, { userId: person.userId, passwordHash, reason: 'password-changed' }, actor);
    return openSession(tx, deps, { id: person.userId, role: person.role }, actor, {
      userAgent: self.userAgent,
      methods: person.methods,
      providerSession,
      authenticatedAt: factors.length > 0 ? person.authenticatedAt : deps.clock.now(),
    });
  });
  crashPoint('identity.password.changed');
  return session;
}

async function requirePresentPassword(
  deps: PasswordDeps,
  { person, actor }: Self,
  user: UserRow | undefined,
  present: string | undefined,
): Promise<void> {
  if (present === undefined)
    throw new HoldfastError('invalid_input', 'The present password is needed', {
      hint: 'If you do not know it, sign out and have it reset at the sign-in page, or ask an owner.',
    });
  const bucket = throttleBucket('proof', Buffer.from(person.userId), actor.address);
  await countAttempt(deps, bucket);
  const right = await verifyPassword(present, user?.password_hash, actor.address).catch(
    async (error: unknown) => {
      await takeAttemptBack(deps, bucket);
      throw error;
    },
  );
  if (!right) {
    await recordProofRefusal(deps, person, actor);
    throw new HoldfastError('forbidden', 'The present password is wrong', { hint: 'Nothing was changed.' });
  }
  for (const done of [bucket, accountBucket(person.userId)]) await clearAttempts(deps, done);
}
