/** Sessions: opaque tokens whose hash lies in a table, so that each can be ended at once, from anywhere. */
import { randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import type { Actor } from '../../audit/index.ts';
import { recordAudit } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import type { Person } from '../access.ts';
import type { Role, SignInMethod } from '../schema.ts';
import { endSessions, findSession, insertSession, touchSession } from './queries.ts';
import { newSessionToken, sessionTokenHash } from './session-cookie.ts';

export interface SessionDeps {
  db: Database;
  clock: Clock;
}

/** Why a session ended before its time. */
export type EndReason = 'signed-out' | 'password-changed' | 'recovered' | 'disabled';

const MINUTE_MS = 60_000;
const ABSOLUTE_MS = 12 * 60 * MINUTE_MS;
/** How exact "last seen" is; a write for every request would cost more than it tells. */
const TOUCH_AFTER_MS = MINUTE_MS;

/** Minutes without a request after which a session ends. */
export function idleMinutesOf(role: Role): number {
  return role === 'owner' || role === 'admin' ? 15 : 30;
}

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
}

/** Opens a session for a person who has just proven who they are, and writes the audit entry. */
export async function openSession(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  user: { id: string; role: Role },
  actor: Actor,
  { userAgent, methods }: SessionProof,
): Promise<OpenedSession> {
  const now = deps.clock.now();
  const token = newSessionToken();
  const sessionId = randomUUID();
  await insertSession(tx, {
    id: sessionId,
    token_hash: sessionTokenHash(token),
    user_id: user.id,
    created_at: now,
    last_seen_at: now,
    idle_expires_at: new Date(now.getTime() + idleMinutesOf(user.role) * MINUTE_MS),
    absolute_expires_at: new Date(now.getTime() + ABSOLUTE_MS),
    address: actor.address !== undefined && isIP(actor.address) !== 0 ? actor.address : null,
    user_agent: userAgent?.slice(0, 256) ?? null,
    authenticated_at: now,
    methods: [...methods],
  });
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
  return { userId: user.id, sessionId, token };
}

/** The person behind a token, or undefined when the session has ended, idled out or belongs to a disabled account. */
export async function findLiveSession(
  deps: SessionDeps,
  token: string,
  use: { active: boolean },
): Promise<Person | undefined> {
  const now = deps.clock.now();
  const row = await findSession(deps.db, sessionTokenHash(token), now);
  if (row === undefined) return undefined;
  const role = row.role as Role;
  if (use.active && now.getTime() - row.last_seen_at.getTime() > TOUCH_AFTER_MS) {
    const idle = now.getTime() + idleMinutesOf(role) * MINUTE_MS;
    const idleExpiresAt = new Date(Math.min(idle, row.absolute_expires_at.getTime()));
    await writeTransaction(deps.db, (tx) => touchSession(tx, row.id, now, idleExpiresAt));
  }
  return {
    ...{ userId: row.user_id, role, sessionId: row.id },
    ...{ authenticatedAt: row.authenticated_at, methods: row.methods as SignInMethod[] },
  };
}

/** Signs a person out of the session they use. Idempotent. */
export async function signOut(deps: SessionDeps, person: Person, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const ended = await endSessions(tx, { id: person.sessionId }, deps.clock.now(), 'signed-out');
    if (ended === 0) return;
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session.ended',
      objectType: 'session',
      objectId: person.sessionId,
    });
  });
}

/** Ends every session of a person. @returns how many were open. */
export async function endSessionsOf(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  userId: string,
  reason: EndReason,
): Promise<number> {
  return endSessions(tx, { user_id: userId }, deps.clock.now(), reason);
}
