import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { Users } from '../../lib/tables.ts';

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
