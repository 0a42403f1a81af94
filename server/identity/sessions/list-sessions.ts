/** A person's sessions: seeing them, and ending them. An owner sees and ends anyone's. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { findUser } from '../people/queries.ts';
import type { SignInMethod } from '../schema.ts';
import { alertWords } from './alerts.ts';
import { describeBrowser } from './browser.ts';
import {
  deleteOldAlerts,
  deleteSpentSessions,
  dismissAlerts,
  findSessionById,
  listLiveSessions,
  listOpenAlerts,
  type SessionRow,
} from './queries.ts';
import type { SessionAlert, SessionItem, SessionList } from './schema.ts';
import { endOneSession, endSessionsOf, type SessionDeps } from './sessions.ts';

/** So long a device, once seen, is not new. */
const KEEP_SPENT_SESSIONS_MS = 90 * 86_400_000;
const KEEP_ALERTS_MS = 365 * 86_400_000;

type Asking = Pick<Person, 'userId' | 'role' | 'sessionId'>;

/**
 * @param userId whose; the asking person's own when left out.
 * @throws HoldfastError `not_found`
 */
export async function listSessions(
  deps: SessionDeps,
  asking: Asking,
  userId = asking.userId,
): Promise<SessionList> {
  if ((await findUser(deps.db, userId)) === undefined) throw noSuchPerson();
  const rows = await listLiveSessions(deps.db, userId, deps.clock.now());
  return { items: rows.map((row) => toItem(row, asking.sessionId)), alerts: await listAlerts(deps, userId) };
}

/** Ends one: anyone their own, an owner anybody's. @throws HoldfastError `not_found` */
export async function revokeSession(
  deps: SessionDeps,
  asking: Asking,
  sessionId: string,
  actor: Actor,
): Promise<void> {
  const row = await findSessionById(deps.db, sessionId);
  const own = row?.user_id === asking.userId;
  if (row === undefined || (!own && asking.role !== 'owner')) {
    throw new HoldfastError('not_found', 'There is no such session');
  }
  const reason = own ? 'revoked' : 'revoked-by-owner';
  await writeTransaction(deps.db, (tx) => endOneSession(tx, deps, sessionId, reason, actor));
}

/** Ends every session of the person except the one that asks. @returns how many. */
export async function revokeOthers(deps: SessionDeps, asking: Asking, actor: Actor): Promise<number> {
  return writeTransaction(deps.db, async (tx) => {
    const ended = await endSessionsOf(tx, deps, asking.userId, 'revoked', asking.sessionId);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.sessions.ended',
      objectType: 'user',
      objectId: asking.userId,
      detail: { ended, reason: 'revoked' },
    });
    return ended;
  });
}

/** An owner ends all of somebody's sessions. @throws HoldfastError `not_found` */
export async function revokeAllOf(
  deps: SessionDeps,
  asking: Asking,
  userId: string,
  actor: Actor,
): Promise<number> {
  if ((await findUser(deps.db, userId)) === undefined) throw noSuchPerson();
  return writeTransaction(deps.db, async (tx) => {
    const except = userId === asking.userId ? asking.sessionId : undefined;
    const ended = await endSessionsOf(tx, deps, userId, 'revoked-by-owner', except);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.sessions.ended',
      objectType: 'user',
      objectId: userId,
      detail: { ended, reason: 'revoked-by-owner' },
    });
    return ended;
  });
}

export async function listAlerts(deps: Pick<SessionDeps, 'db'>, userId: string): Promise<SessionAlert[]> {
  const rows = await listOpenAlerts(deps.db, userId);
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    message: alertWords(row.kind),
    at: row.at.toISOString(),
    address: row.address,
    device: row.user_agent === null ? null : describeBrowser(row.user_agent),
    ended: row.ended,
  }));
}

/** The person has looked at all of them. */
export async function dismissOwnAlerts(deps: SessionDeps, userId: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const count = await dismissAlerts(tx, userId, deps.clock.now());
    if (count === 0) return;
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session-alerts.dismissed',
      objectType: 'user',
      objectId: userId,
      detail: { count },
    });
  });
}

/** Once an hour: what ended long ago goes. */
export async function cleanSessions(deps: SessionDeps): Promise<void> {
  const now = deps.clock.now().getTime();
  await writeTransaction(deps.db, async (tx) => {
    await deleteSpentSessions(tx, new Date(now - KEEP_SPENT_SESSIONS_MS));
    await deleteOldAlerts(tx, new Date(now - KEEP_ALERTS_MS));
  });
}

function toItem(row: SessionRow, currentId: string): SessionItem {
  const ends = Math.min(row.idle_expires_at.getTime(), row.absolute_expires_at.getTime());
  return {
    id: row.id,
    device: describeBrowser(row.user_agent),
    address: row.address,
    lastAddress: row.seen_address,
    createdAt: row.created_at.toISOString(),
    lastUsedAt: row.last_seen_at.toISOString(),
    authenticatedAt: row.authenticated_at.toISOString(),
    methods: row.methods as SignInMethod[],
    endsAt: new Date(ends).toISOString(),
    current: row.id === currentId,
  };
}

function noSuchPerson(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such person');
}
