import { sql, type Insertable, type Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import { prepareQuery } from '../../lib/prepared-query.ts';
import type { SessionAlerts, SessionLimits, Sessions, SessionSettings } from '../../lib/tables.ts';
import type { Role } from '../schema.ts';

export type SessionRow = Selectable<Sessions>;
export type AlertRow = Selectable<SessionAlerts>;

export async function insertSession(db: Database, row: Insertable<Sessions>): Promise<void> {
  await db.insertInto('sessions').values(row).execute();
}

export type FoundSessionRow = SessionRow & {
  role: string;
  disabled_at: Date | null;
  members_need_second_factor: boolean | null;
};

/** Of any state; by the unique index on the hash of the token's first half. */
export const findSession = prepareQuery<FoundSessionRow, [tokenHash: Buffer]>('find-session', (db) =>
  db
    .selectFrom('sessions')
    .innerJoin('users', 'users.id', 'sessions.user_id')
    .selectAll('sessions')
    .select((of) => [
      'users.role',
      'users.disabled_at',
      of.selectFrom('sign_in_settings').select('members_need_second_factor').as('members_need_second_factor'),
    ])
    .where('sessions.token_hash', '=', Buffer.alloc(0)),
);

/** The role under which a session may be used at the moment; undefined when it may not. `idleFrom`: when it must not have idled out. */
export async function findLiveRole(
  db: Database,
  id: string,
  { now, idleFrom = now }: { now: Date; idleFrom?: Date },
): Promise<string | undefined> {
  const row = await db
    .selectFrom('sessions')
    .innerJoin('users', 'users.id', 'sessions.user_id')
    .select('users.role')
    .where('sessions.id', '=', id)
    .where('ended_at', 'is', null)
    .where('idle_expires_at', '>', idleFrom)
    .where('absolute_expires_at', '>', now)
    .where('users.disabled_at', 'is', null)
    .executeTakeFirst();
  return row?.role;
}

export async function findSessionById(db: Database, id: string): Promise<SessionRow | undefined> {
  return db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Those that can be used, the last used first. */
export async function listLiveSessions(db: Database, userId: string, now: Date): Promise<SessionRow[]> {
  return db
    .selectFrom('sessions')
    .selectAll()
    .where('user_id', '=', userId)
    .where('ended_at', 'is', null)
    .where('idle_expires_at', '>', now)
    .where('absolute_expires_at', '>', now)
    .orderBy('last_seen_at', 'desc')
    .execute();
}

/** From where and with what a person was here, as far back as sessions are kept. */
export async function listKnownDevices(
  db: Database,
  userId: string,
): Promise<Pick<SessionRow, 'id' | 'address' | 'seen_address' | 'user_agent'>[]> {
  return db
    .selectFrom('sessions')
    .select(['id', 'address', 'seen_address', 'user_agent'])
    .where('user_id', '=', userId)
    .orderBy('created_at', 'desc')
    .limit(500)
    .execute();
}

export async function touchSession(
  db: Database,
  id: string,
  seenAt: Date,
  idleExpiresAt: Date,
): Promise<void> {
  await db
    .updateTable('sessions')
    .set({ last_seen_at: seenAt, idle_expires_at: idleExpiresAt })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .execute();
}

/** From now on the time of the secret before runs out. Keeps the first instant. */
export async function markSecretUsed(
  db: Database,
  id: string,
  secretHash: Buffer,
  at: Date,
): Promise<boolean> {
  const result = await db
    .updateTable('sessions')
    .set({ renewal_used_at: at })
    .where('id', '=', id)
    .where('secret_hash', '=', secretHash)
    .where('renewal_used_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** @returns false when it has ended, or another request renewed it first. */
export async function renewSecret(
  db: Database,
  id: string,
  change: { from: Buffer; to: Buffer; nonce: Buffer; at: Date },
): Promise<boolean> {
  const result = await db
    .updateTable('sessions')
    .set({
      secret_hash: change.to,
      previous_secret_hash: change.from,
      renewal_nonce: change.nonce,
      renewed_at: change.at,
      renewal_used_at: null,
    })
    .where('id', '=', id)
    .where('secret_hash', '=', change.from)
    .where('ended_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** @returns false when another request noted that address first. */
export async function noteAddress(db: Database, id: string, address: string): Promise<boolean> {
  const result = await db
    .updateTable('sessions')
    .set({ seen_address: address })
    .where('id', '=', id)
    .where(sql<boolean>`seen_address is distinct from ${address}::inet`)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export async function updateProof(db: Database, id: string, at: Date, methods: string[]): Promise<void> {
  await db
    .updateTable('sessions')
    .set({ authenticated_at: at, methods })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .execute();
}

export type WhichSessions = { id: string } | { user_id: string; except?: string | undefined };

/** @returns how many were still open. */
export async function endSessions(
  db: Database,
  which: WhichSessions,
  at: Date,
  reason: string,
): Promise<number> {
  let update = db
    .updateTable('sessions')
    .set({ ended_at: at, end_reason: reason })
    .where('ended_at', 'is', null);
  if ('id' in which) update = update.where('id', '=', which.id);
  else update = update.where('user_id', '=', which.user_id);
  if ('except' in which && which.except !== undefined) update = update.where('id', '!=', which.except);
  const result = await update.executeTakeFirst();
  return Number(result.numUpdatedRows);
}

/** Sessions that cannot be used any more since before `before`. */
export async function deleteSpentSessions(db: Database, before: Date): Promise<number> {
  const result = await db
    .deleteFrom('sessions')
    .where((eb) => eb.or([eb('absolute_expires_at', '<', before), eb('ended_at', '<', before)]))
    .executeTakeFirst();
  return Number(result.numDeletedRows);
}

export async function listLimits(db: Database): Promise<Selectable<SessionLimits>[]> {
  return db.selectFrom('session_limits').selectAll().execute();
}

export async function getLimits(db: Database, role: Role): Promise<Selectable<SessionLimits>> {
  return db.selectFrom('session_limits').selectAll().where('role', '=', role).executeTakeFirstOrThrow();
}

/** Open sessions of that role end no later than the new limits say; none is made longer. */
export async function setLimits(db: Database, limits: Selectable<SessionLimits>): Promise<void> {
  const { role, idle_minutes: idle, absolute_hours: hours } = limits;
  await db
    .updateTable('session_limits')
    .set({ idle_minutes: idle, absolute_hours: hours })
    .where('role', '=', role)
    .execute();
  await sql`
    update sessions s set
      absolute_expires_at = least(s.absolute_expires_at, s.created_at + make_interval(hours => ${hours})),
      idle_expires_at = least(s.idle_expires_at, s.last_seen_at + make_interval(mins => ${idle}),
        s.created_at + make_interval(hours => ${hours}))
    from users u where u.id = s.user_id and u.role = ${role} and s.ended_at is null`.execute(db);
}

export async function getSessionSettings(db: Database): Promise<Selectable<SessionSettings>> {
  return db.selectFrom('session_settings').selectAll().executeTakeFirstOrThrow();
}

/** Networks that a person was told of count as known from then on. */
export async function listToldAddresses(db: Database, userId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('session_alerts')
    .select('address')
    .where('user_id', '=', userId)
    .where('kind', '=', 'new-network')
    .where('address', 'is not', null)
    .orderBy('at', 'desc')
    .limit(500)
    .execute();
  return rows.flatMap(({ address }) => address ?? []);
}

/** Locked until the transaction ends. */
export async function lockSessionSettings(db: Database): Promise<Selectable<SessionSettings>> {
  return db.selectFrom('session_settings').selectAll().forUpdate().executeTakeFirstOrThrow();
}

export async function updateSessionSettings(
  db: Database,
  row: Pick<Selectable<SessionSettings>, 'proof_minutes' | 'likely_theft_ends'>,
): Promise<void> {
  await db.updateTable('session_settings').set(row).execute();
}

export async function insertAlert(db: Database, row: Insertable<SessionAlerts>): Promise<void> {
  await db.insertInto('session_alerts').values(row).execute();
}

/** That the person has not looked at, the newest first. */
export async function listOpenAlerts(db: Database, userId: string): Promise<AlertRow[]> {
  return db
    .selectFrom('session_alerts')
    .selectAll()
    .where('user_id', '=', userId)
    .where('dismissed_at', 'is', null)
    .orderBy('at', 'desc')
    .limit(50)
    .execute();
}

export async function dismissAlerts(db: Database, userId: string, at: Date): Promise<number> {
  const result = await db
    .updateTable('session_alerts')
    .set({ dismissed_at: at })
    .where('user_id', '=', userId)
    .where('dismissed_at', 'is', null)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

export async function deleteOldAlerts(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('session_alerts').where('at', '<', before).execute();
}
