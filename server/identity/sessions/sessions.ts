/**
 * Sessions: opaque tokens whose hashes lie in a table, so that each can be ended at once, from anywhere. The secret half of a token
 * is renewed while it is used (`renewal.ts`), which tells a copy.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import type { Actor } from '../../audit/index.ts';
import { recordAudit } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import type { QueueMailDeps } from '../../mail/index.ts';
import type { Person } from '../access.ts';
import { deleteLinksOf } from '../mail-links/queries.ts';
import { isRestricted } from '../factors/methods.ts';
import { isKeyStillGood } from '../api-keys/find-key.ts';
import type { Role, SignInMethod } from '../schema.ts';
import { passLocalSignIn } from '../single-sign-on/break-glass.ts';
import { alertOfNewDevice } from './alerts.ts';
import { differentBrowsers } from './browser.ts';
import {
  endSessions,
  findLiveRole,
  findSession,
  findSessionById,
  getLimits,
  insertSession,
  markSecretUsed,
  renewSecret,
  touchSession,
  type FoundSessionRow,
} from './queries.ts';
import { GRACE_MS, judgeSecret } from './renewal.ts';
import {
  decodeSessionToken,
  encodeSessionToken,
  makeSessionToken,
  nextSecret,
  hashHalf,
  type SessionToken,
} from './session-token.ts';

export interface SessionDeps {
  db: Database;
  clock: Clock;
}

/** Why a session ended before its time. */
export type EndReason =
  | 'signed-out'
  | 'revoked'
  | 'revoked-by-owner'
  | 'password-changed'
  | 'password-reset'
  | 'factor-changed'
  | 'role-changed'
  | 'recovered'
  | 'disabled'
  | 'provider-logout'
  | 'single-sign-on-only'
  | TheftSign
  | 'likely-theft';

/** Certain: no honest browser does it. */
export type TheftSign = 'token-replayed' | 'two-browsers';

const MINUTE_MS = 60_000;
/** How exact "last seen" is; a write for every request would cost more than it tells. */
const TOUCH_AFTER_MS = MINUTE_MS;

export interface OpenedSession {
  userId: string;
  sessionId: string;
  /** Secret; goes into the cookie and nowhere else. */
  token: string;
}

export interface SessionProof {
  userAgent: string | undefined;
  /** By what the person has just proven who they are, in the order in which it was asked. */
  methods: readonly SignInMethod[];
  /** When they last proved it, where the session takes the place of another; otherwise now. */
  authenticatedAt?: Date;
  /** Of the session at the provider that it belongs to. */
  providerSession?: Buffer | undefined;
}

/**
 * Opens a session for a person who has just proven who they are, writes the audit entry, and tells them of a new device.
 *
 * @throws HoldfastError `unauthenticated` for a way that is closed, because single sign-on is the only one.
 */
export async function openSession(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'> & QueueMailDeps,
  user: { id: string; role: Role },
  actor: Actor,
  { userAgent, methods, authenticatedAt, providerSession }: SessionProof,
): Promise<OpenedSession> {
  const now = deps.clock.now();
  const token = makeSessionToken();
  const sessionId = randomUUID();
  const limits = await getLimits(tx, user.role);
  const address = actor.address !== undefined && isIP(actor.address) !== 0 ? actor.address : null;
  const absoluteMs = now.getTime() + limits.absolute_hours * 60 * MINUTE_MS;
  const row = {
    ...{ id: sessionId, user_id: user.id, address, seen_address: address },
    ...{ token_hash: hashHalf(token.selector), secret_hash: hashHalf(token.secret) },
    ...{ created_at: now, last_seen_at: now, renewed_at: now },
    authenticated_at: authenticatedAt ?? now,
    idle_expires_at: new Date(Math.min(now.getTime() + limits.idle_minutes * MINUTE_MS, absoluteMs)),
    absolute_expires_at: new Date(absoluteMs),
    user_agent: userAgent?.slice(0, 256) ?? null,
    methods: [...methods],
    provider_session_hash: providerSession ?? null,
  };
  const continues = authenticatedAt !== undefined;
  const opening = { user, methods, sessionId, userAgent: row.user_agent, continues };
  await passLocalSignIn(tx, deps, opening, actor);
  await alertOfNewDevice(tx, deps, row, { ...actor, id: user.id, sessionId });
  await insertSession(tx, row);
  // Who is in has no need of it any more.
  await deleteLinksOf(tx, user.id, ['password-reset']);
  await recordAudit(
    tx,
    deps.clock,
    { ...actor, id: user.id, sessionId },
    {
      action: 'identity.session.started',
      objectType: 'session',
      objectId: sessionId,
      detail: { methods: [...methods] },
    },
  );
  crashPoint('identity.session.opened');
  return { userId: user.id, sessionId, token: encodeSessionToken(token) };
}

/** What a request shows of who asks. */
export interface ShownSession {
  /** The whole token. */
  token: string;
  userAgent: string | undefined;
  address: string | undefined;
  /** False for what a page asks by itself. */
  active: boolean;
}

export type FoundSession =
  | { state: 'none' }
  /** `idle` and `too-old` beside the reasons why one was ended. */
  | { state: 'ended'; reason: string }
  /** Still open: whoever finds it ends it. */
  | { state: 'stolen'; sign: TheftSign; row: FoundSessionRow }
  | {
      state: 'live';
      person: Person;
      row: FoundSessionRow;
      /** The reply carries another token. */
      renewal: Renewal | undefined;
      /** The address is another than that of the request before. */
      moved: boolean;
    };

export type Renewal = { token: SessionToken; row: FoundSessionRow; again: boolean };

/** By a clock that is never set: when this process saw a renewed secret used first. Forgotten after the grace. */
const firstUses = new Map<string, number>();

/** The session behind a token. One indexed look-up; a write once a minute, and one or two at a renewal. */
export async function findSessionOf(deps: SessionDeps, shown: ShownSession): Promise<FoundSession> {
  const now = deps.clock.now();
  const token = decodeSessionToken(shown.token);
  const row = token && (await findSession(deps.db, hashHalf(token.selector)));
  if (token === undefined || row?.secret_hash == null) return { state: 'none' };
  const over = whyOver(row, now);
  if (over !== undefined) return { state: 'ended', reason: over };
  const state = {
    secretHash: row.secret_hash,
    previousSecretHash: row.previous_secret_hash,
    renewedAt: row.renewed_at,
    renewalUsedAt: row.renewal_used_at,
  };
  const shownHash = hashHalf(token.secret);
  const judged = judgeSecret(state, shownHash, now, msSinceFirstUse(deps, row.id));
  if (judged.secret === 'spent') return { state: 'stolen', sign: 'token-replayed', row };
  if (differentBrowsers(row.user_agent, shown.userAgent))
    return { state: 'stolen', sign: 'two-browsers', row };
  if (judged.secret === 'present' && judged.firstUse) await noteFirstUse(deps, row.id, shownHash, now);
  if (shown.active) await touch(deps, row, now);
  const again = judged.secret === 'previous' && judged.again;
  const due = judged.secret === 'present' && judged.due;
  const role = row.role as Role;
  const methods = row.methods as SignInMethod[];
  return {
    state: 'live',
    row,
    person: {
      ...{ userId: row.user_id, role, sessionId: row.id },
      // Somebody who has a copy of the secret of before must not share the proof that renewed it.
      authenticatedAt: judged.secret === 'present' ? row.authenticated_at : new Date(0),
      methods,
      restricted: isRestricted(role, methods, row.members_need_second_factor === true),
    },
    renewal: again || due ? { token, row, again } : undefined,
    moved: shown.address !== undefined && isIP(shown.address) !== 0 && shown.address !== row.seen_address,
  };
}

/**
 * Renews the secret, or gives again what was renewed before. Called when the reply is about to leave.
 *
 * @returns the whole token for the cookie; undefined when another request was quicker.
 */
export async function renewSession(deps: SessionDeps, renewal: Renewal): Promise<string | undefined> {
  const { token, row, again } = renewal;
  const nonce = again ? row.renewal_nonce : randomBytes(32);
  if (nonce === null) return undefined;
  const secret = nextSecret(token.secret, nonce);
  const next = encodeSessionToken({ selector: token.selector, secret });
  if (again) return next;
  const change = { from: hashHalf(token.secret), to: hashHalf(secret), nonce };
  const renewed = await writeTransaction(deps.db, (tx) =>
    renewSecret(tx, row.id, { ...change, at: deps.clock.now() }),
  );
  crashPoint('identity.session.renewed');
  return renewed ? next : undefined;
}

/**
 * After a new proof the token is renewed at once (OWASP ASVS 5.0, 7.2.4), so that one that was copied before is worth nothing; while
 * the grace of an earlier renewal lasts, at the next that is due.
 */
export async function renewAfterProof(
  deps: SessionDeps,
  shown: string | undefined,
): Promise<Renewal | undefined> {
  const token = decodeSessionToken(shown ?? '');
  const row = token && (await findSession(deps.db, hashHalf(token.selector)));
  if (token === undefined || row?.secret_hash?.equals(hashHalf(token.secret)) !== true) return undefined;
  const used = row.renewal_used_at?.getTime() ?? 0;
  const settled = row.previous_secret_hash === null || deps.clock.now().getTime() - used > GRACE_MS;
  return settled ? { token, row, again: false } : undefined;
}

/** Whether somebody who was let through may go on reading: for streams, which outlive the request. */
export async function isStillSignedIn(
  deps: SessionDeps,
  person: Person,
  db: Database = deps.db,
): Promise<boolean> {
  if (person.apiKey !== undefined) return isKeyStillGood(deps, person.apiKey, person.role);
  return (await findLiveRole(db, person.sessionId, { now: deps.clock.now() })) === person.role;
}

/**
 * Whether what somebody was let through for may run to its end: as `isStillSignedIn`, but a session that idled out meanwhile is no
 * reason against it. A large file takes longer to send than anybody touches the page.
 */
export async function mayRunOn(deps: SessionDeps, person: Person): Promise<boolean> {
  if (person.apiKey !== undefined) return isKeyStillGood(deps, person.apiKey, person.role);
  const times = { now: deps.clock.now(), idleFrom: new Date(0) };
  return (await findLiveRole(deps.db, person.sessionId, times)) === person.role;
}

/** Of the provider's sessions, the one that this session belongs to: whatever takes its place belongs there too. */
export async function providerSessionOf(db: Database, sessionId: string): Promise<Buffer | undefined> {
  return (await findSessionById(db, sessionId))?.provider_session_hash ?? undefined;
}

/** Signs a person out of the session they use. Idempotent. */
export async function signOut(deps: SessionDeps, person: Person, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, (tx) => endOneSession(tx, deps, person.sessionId, 'signed-out', actor));
}

/** Ends a session and says so in the audit log. @returns false when it had ended before. */
export async function endOneSession(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  sessionId: string,
  reason: EndReason,
  actor: Actor,
): Promise<boolean> {
  const ended = await endSessions(tx, { id: sessionId }, deps.clock.now(), reason);
  if (ended === 0) return false;
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.session.ended',
    objectType: 'session',
    objectId: sessionId,
    detail: { reason },
  });
  return true;
}

/**
 * Ends every session of a person, in the transaction of the act that is the reason; the act's own audit entry says how many.
 *
 * @param except a session that stays, such as the one that the person acts in.
 * @returns how many were open.
 */
export async function endSessionsOf(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  userId: string,
  reason: EndReason,
  except?: string,
): Promise<number> {
  return endSessions(tx, { user_id: userId, except }, deps.clock.now(), reason);
}

function whyOver(row: FoundSessionRow, now: Date): string | undefined {
  if (row.ended_at !== null) return row.end_reason ?? 'signed-out';
  if (row.disabled_at !== null) return 'disabled';
  if (row.absolute_expires_at <= now) return 'too-old';
  return row.idle_expires_at <= now ? 'idle' : undefined;
}

async function touch(deps: SessionDeps, row: FoundSessionRow, now: Date): Promise<void> {
  if (now.getTime() - row.last_seen_at.getTime() <= TOUCH_AFTER_MS) return;
  const { idle_minutes: minutes } = await getLimits(deps.db, row.role as Role);
  const idleMs = Math.min(now.getTime() + minutes * MINUTE_MS, row.absolute_expires_at.getTime());
  await writeTransaction(deps.db, (tx) => touchSession(tx, row.id, now, new Date(idleMs)));
}

async function noteFirstUse(deps: SessionDeps, id: string, secretHash: Buffer, now: Date): Promise<void> {
  const ownMs = deps.clock.monotonicMs();
  for (const [known, at] of firstUses) if (ownMs - at > GRACE_MS) firstUses.delete(known);
  firstUses.set(id, ownMs);
  await writeTransaction(deps.db, (tx) => markSecretUsed(tx, id, secretHash, now));
}

function msSinceFirstUse(deps: SessionDeps, id: string): number | undefined {
  const at = firstUses.get(id);
  return at === undefined ? undefined : deps.clock.monotonicMs() - at;
}
