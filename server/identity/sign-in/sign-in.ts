/** Signing in with e-mail and password. The same answer, after the same work, whether the account exists or not. */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { Person } from '../access.ts';
import { verifyPassword } from '../passwords/password-hash.ts';
import { LEAKED_BANNER, noteLeakedPassword } from '../passwords/leak-notice.ts';
import { PASSWORD_MAX_BYTES } from '../passwords/password-rule.ts';
import { emailHashOf, getPerson, type PasswordDeps } from '../people/people.ts';
import { readPending } from '../approvals/list-approvals.ts';
import { countAccountFailure } from '../sessions/alerts.ts';
import { listAlerts } from '../sessions/list-sessions.ts';
import { findSessionById, getLimits } from '../sessions/queries.ts';
import { findUser, findUserByEmailHash, lockUser, type UserRow } from '../people/queries.ts';
import { rightsOf } from '../rights.ts';
import { isRestricted } from '../factors/methods.ts';
import { countFactors, membersNeedSecondFactor } from '../factors/queries.ts';
import type { Role, Session, SignInMethod } from '../schema.ts';
import { openSession, type OpenedSession } from '../sessions/sessions.ts';
import { mayKeepCredentials } from '../single-sign-on/local-credentials.ts';
import { beginSecondStep, secondWays, type PendingSignIn } from './pending-sign-in.ts';
import { recordRefusal } from './refusals.ts';
import { clearAttempts, countAttempt, takeAttemptBack, throttleBucket } from './sign-in-throttle.ts';

export interface SignInDeps extends PasswordDeps {
  /** What every signed-in person should see at the top; the appliance knows. */
  banners(): Promise<Session['banners']>;
  /** What this person should see there; what stands to the right of this module knows. */
  bannersFor?(person: { userId: string; role: Role }): Promise<Session['banners']>;
}

/** Either a session, or a sign-in that waits for its second step. */
export type SignedIn =
  { session: OpenedSession; pending?: undefined } | { session?: undefined; pending: PendingSignIn };

/**
 * Looks at e-mail and password. Opens a session when the person has no second factor; what that session may is the guard's matter.
 *
 * @throws HoldfastError `unauthenticated` for an unknown e-mail, a wrong password and a disabled account alike;
 *   `too_many_requests` after repeated failures from this address.
 */
export async function signIn(
  deps: SignInDeps & { log: Pick<Logger, 'warn'> },
  request: { email: string; password: string; userAgent: string | undefined },
  actor: Actor,
): Promise<SignedIn> {
  const emailHash = await emailHashOf(deps, request.email);
  const bucket = throttleBucket('sign-in', emailHash, actor.address);
  await countAttempt(deps, bucket);
  const user = await findUserByEmailHash(deps.db, emailHash);
  const right = await checkCredentials(user, request.password, actor.address).catch(
    async (error: unknown) => {
      await takeAttemptBack(deps, bucket);
      throw error;
    },
  );
  if (user !== undefined && right) await noteLeakedPassword(deps, user, request.password, actor);
  const signedIn =
    user === undefined || !right ? undefined : await enter(deps, user, request.userAgent, actor);
  if (signedIn === undefined) {
    await countRefusal(deps, user, emailHash, actor);
    throw new HoldfastError('unauthenticated', 'E-mail or password is wrong', {
      hint: 'Check both. A sole owner who lost the password gets back in at the console: holdfast recover-owner.',
    });
  }
  await clearAttempts(deps, bucket);
  await clearAttempts(deps, throttleBucket('account', emailHash, undefined));
  return signedIn;
}

/**
 * The password was right for this row. @returns undefined when it, or the person, changed while it was looked at: whoever knows only the
 * old one must not come in after the change.
 */
async function enter(
  deps: SignInDeps,
  user: UserRow,
  userAgent: string | undefined,
  actor: Actor,
): Promise<SignedIn | undefined> {
  return writeTransaction(deps.db, async (tx): Promise<SignedIn | undefined> => {
    const held = await lockUser(tx, user.id);
    if (held?.disabled_at !== null || held.password_hash !== user.password_hash) return undefined;
    if (!(await mayKeepCredentials(tx, held.role as Role))) return undefined;
    const ways = secondWays(await countFactors(tx, user.id));
    if (ways.length > 0) return { pending: await beginSecondStep(tx, deps, user.id, ways) };
    const proof = { userAgent, methods: ['password'] as const };
    return {
      session: await openSession(tx, deps, { id: user.id, role: held.role as Role }, actor, proof),
    };
  });
}

/** What the browser shows of the session it is in. */
export async function describeSession(
  deps: SignInDeps,
  person: Pick<Person, 'userId' | 'sessionId'>,
): Promise<Session> {
  const user = await getPerson(deps, person.userId);
  const times = await findSessionById(deps.db, person.sessionId);
  if (times === undefined) throw new HoldfastError('unauthenticated', 'Sign in first');
  const pending = await readPending(deps, user);
  const methods = times.methods as SignInMethod[];
  return {
    user,
    rights: rightsOf(user.role),
    expiresAt: times.absolute_expires_at.toISOString(),
    idleMinutes: (await getLimits(deps.db, user.role)).idle_minutes,
    approvals: pending.decidable,
    banners: [
      ...(await deps.banners()),
      ...pending.banners,
      ...((await deps.bannersFor?.({ userId: user.id, role: user.role })) ?? []),
      ...(await alertBanner(deps, user.id)),
      ...(await leakBanner(deps, user.id)),
    ],
    restricted: isRestricted(user.role, methods, await membersNeedSecondFactor(deps.db)),
  };
}

async function alertBanner(deps: SignInDeps, userId: string): Promise<Session['banners']> {
  const [newest, ...more] = await listAlerts(deps, userId);
  if (newest === undefined) return [];
  const others = more.length === 0 ? '' : ` (and ${more.length} more)`;
  const from = [newest.device, newest.address].filter((part) => part !== null).join(', ');
  return [{ kind: 'session-alert', message: `${newest.message}${from && `: ${from}`}${others}.` }];
}

async function leakBanner(deps: SignInDeps, userId: string): Promise<Session['banners']> {
  const leaked = (await findUser(deps.db, userId))?.password_leaked_at ?? null;
  return leaked === null ? [] : [{ kind: 'password-leaked', message: LEAKED_BANNER }];
}

async function checkCredentials(
  user: UserRow | undefined,
  password: string,
  address: string | undefined,
): Promise<boolean> {
  const usable = user?.disabled_at === null && Buffer.byteLength(password) <= PASSWORD_MAX_BYTES;
  return verifyPassword(password, usable ? user.password_hash : null, address);
}

async function countRefusal(
  deps: SignInDeps,
  user: UserRow | undefined,
  emailHash: Buffer,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    await recordRefusal(tx, deps, { action: 'identity.sign-in.refused', userId: user?.id }, actor);
    const account = throttleBucket('account', emailHash, undefined);
    await countAccountFailure(tx, deps, account, user?.id, actor);
  });
}
