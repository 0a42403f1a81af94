import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { Sessions } from '../../lib/tables.ts';

export async function insertSession(db: Database, row: Insertable<Sessions>): Promise<void> {
  await db.insertInto('sessions').values(row).execute();
}

export type LiveSessionRow = Pick<
  Selectable<Sessions>,
  | 'id'
  | 'user_id'
  | 'last_seen_at'
  | 'absolute_expires_at'
  | 'idle_expires_at'
  | 'authenticated_at'
  | 'methods'
> & { role: string };

export async function findSession(
  db: Database,
  tokenHash: Buffer,
  now: Date,
): Promise<LiveSessionRow | undefined> {
  return db
    .selectFrom('sessions')
    .innerJoin('users', 'users.id', 'sessions.user_id')
    .select([
      'sessions.id',
      'sessions.user_id',
      'sessions.last_seen_at',
      'sessions.absolute_expires_at',
      'sessions.idle_expires_at',
      'sessions.authenticated_at',
      'sessions.methods',
      'users.role',
    ])
    .where('sessions.token_hash', '=', tokenHash)
    .where('sessions.ended_at', 'is', null)
    .where('sessions.idle_expires_at', '>', now)
    .where('sessions.absolute_expires_at', '>', now)
    .where('users.disabled_at', 'is', null)
    .executeTakeFirst();
}

export async function findSessionTimes(
  db: Database,
  id: string,
): Promise<Pick<Selectable<Sessions>, 'idle_expires_at' | 'absolute_expires_at'> | undefined> {
  return db
    .selectFrom('sessions')
    .select(['idle_expires_at', 'absolute_expires_at'])
    .where('id', '=', id)
    .executeTakeFirst();
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

/** @returns how many were still open. */
export async function endSessions(
  db: Database,
  which: { id: string } | { user_id: string },
  at: Date,
  reason: string,
): Promise<number> {
  const update = db
    .updateTable('sessions')
    .set({ ended_at: at, end_reason: reason })
    .where('ended_at', 'is', null);
  const result =
    'id' in which
      ? await update.where('id', '=', which.id).executeTakeFirst()
      : await update.where('user_id', '=', which.user_id).executeTakeFirst();
  return Number(result.numUpdatedRows);
}

/** Sessions that cannot be used any more since before `before`. */
export async function deleteSpentSessions(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('sessions').where('absolute_expires_at', '<', before).execute();
}
