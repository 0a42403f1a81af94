import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { Sessions, SignInFailures, Users } from '../lib/tables.ts';

export type UserRow = Selectable<Users>;

export async function insertUser(db: Database, row: Insertable<Users>): Promise<void> {
  await db.insertInto('users').values(row).execute();
}

export async function findUser(db: Database, id: string): Promise<UserRow | undefined> {
  return db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function findUserByEmailHash(db: Database, emailHash: Buffer): Promise<UserRow | undefined> {
  return db
    .selectFrom('users')
    .innerJoin('user_email_index', 'user_email_index.user_id', 'users.id')
    .selectAll('users')
    .where('user_email_index.email_hash', '=', emailHash)
    .executeTakeFirst();
}

/** By id, `after` excluded. */
export async function listUserRows(
  db: Database,
  after: string | undefined,
  limit: number,
): Promise<UserRow[]> {
  let query = db.selectFrom('users').selectAll().orderBy('id').limit(limit);
  if (after !== undefined) query = query.where('id', '>', after);
  return query.execute();
}

export async function listOwnerIds(db: Database): Promise<string[]> {
  const rows = await db
    .selectFrom('users')
    .select('id')
    .where('role', '=', 'owner')
    .where('disabled_at', 'is', null)
    .execute();
  return rows.map((row) => row.id);
}

export async function updatePasswordHash(
  db: Database,
  id: string,
  passwordHash: string,
  at: Date,
): Promise<void> {
  await db
    .updateTable('users')
    .set((eb) => ({ password_hash: passwordHash, password_changed_at: at, version: eb('version', '+', '1') }))
    .where('id', '=', id)
    .execute();
}

/** @returns false when the e-mail belongs to somebody already. */
export async function insertEmailHash(db: Database, emailHash: Buffer, userId: string): Promise<boolean> {
  const result = await db
    .insertInto('user_email_index')
    .values({ email_hash: emailHash, user_id: userId })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function deleteEmailHashes(db: Database): Promise<void> {
  await db.deleteFrom('user_email_index').execute();
}

export async function insertSession(db: Database, row: Insertable<Sessions>): Promise<void> {
  await db.insertInto('sessions').values(row).execute();
}

export type LiveSessionRow = Pick<
  Selectable<Sessions>,
  'id' | 'user_id' | 'last_seen_at' | 'absolute_expires_at' | 'idle_expires_at'
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

/** The row of a bucket, locked until the transaction ends; made when there is none. */
export async function lockFailures(
  db: Database,
  bucket: string,
  now: Date,
): Promise<Selectable<SignInFailures>> {
  await db
    .insertInto('sign_in_failures')
    .values({ bucket, failures: 0, first_at: now, last_at: now })
    .onConflict((conflict) => conflict.column('bucket').doNothing())
    .execute();
  return db
    .selectFrom('sign_in_failures')
    .selectAll()
    .where('bucket', '=', bucket)
    .forUpdate()
    .executeTakeFirstOrThrow();
}

export async function updateFailures(db: Database, row: Selectable<SignInFailures>): Promise<void> {
  await db
    .updateTable('sign_in_failures')
    .set({ failures: row.failures, first_at: row.first_at, last_at: row.last_at })
    .where('bucket', '=', row.bucket)
    .execute();
}

export async function deleteFailures(db: Database, bucket: string): Promise<void> {
  await db.deleteFrom('sign_in_failures').where('bucket', '=', bucket).execute();
}

export async function deleteOldFailures(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('sign_in_failures').where('last_at', '<', before).execute();
}
