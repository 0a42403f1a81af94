import { sql, type Insertable, type Selectable, type Updateable } from 'kysely';
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

export async function listUsersByIds(db: Database, ids: readonly string[]): Promise<UserRow[]> {
  if (ids.length === 0) return [];
  return db
    .selectFrom('users')
    .selectAll()
    .where('id', 'in', [...ids])
    .execute();
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
    .set((eb) => ({
      ...{ password_hash: passwordHash, password_changed_at: at, password_leaked_at: null },
      version: eb('version', '+', '1'),
    }))
    .where('id', '=', id)
    .execute();
}

/** Whom the last row of a rebuild is of: lost with all others, it tells that the index is not whole. */
const SENTINEL = '00000000-0000-0000-0000-000000000000';

export async function isEmailIndexWhole(db: Database): Promise<boolean> {
  const row = await db
    .selectFrom('user_email_index')
    .select('user_id')
    .where('user_id', '=', SENTINEL)
    .executeTakeFirst();
  return row !== undefined;
}

/** Whoever else would enter something waits. */
export async function lockEmailIndex(db: Database): Promise<void> {
  await sql`lock table user_email_index in exclusive mode`.execute(db);
}

export async function completeEmailIndex(db: Database): Promise<void> {
  await db
    .insertInto('user_email_index')
    .values({ email_hash: Buffer.from([0]), user_id: SENTINEL })
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

// People are held with `for no key update` throughout: whoever only refers to a person (every act has its entry, its mail) holds them too,
// and `for update` would wait for that, while it waits for us.

/** The owners who can sign in, held until the transaction ends: of two acts at once the second sees what the first did. */
export async function lockOwnerIds(db: Database): Promise<string[]> {
  const rows = await db
    .selectFrom('users')
    .select('id')
    .where('role', '=', 'owner')
    .where('disabled_at', 'is', null)
    .orderBy('id')
    .forNoKeyUpdate()
    .execute();
  return rows.map((row) => row.id);
}

export async function lockUser(db: Database, id: string): Promise<UserRow | undefined> {
  return db.selectFrom('users').selectAll().where('id', '=', id).forNoKeyUpdate().executeTakeFirst();
}

/** By id, so that two acts at once wait for each other and not for ever. */
export async function lockUsers(db: Database, ids: readonly string[]): Promise<UserRow[]> {
  return db
    .selectFrom('users')
    .selectAll()
    .where('id', 'in', [...ids])
    .orderBy('id')
    .forNoKeyUpdate()
    .execute();
}

export async function updateUser(db: Database, id: string, change: Updateable<Users>): Promise<void> {
  await db
    .updateTable('users')
    .set((eb) => ({ ...change, version: eb('version', '+', '1') }))
    .where('id', '=', id)
    .execute();
}

export async function deleteEmailHashOf(db: Database, userId: string): Promise<void> {
  await db.deleteFrom('user_email_index').where('user_id', '=', userId).execute();
}

/** When each person, or one, was last here; who never was is left out. */
export async function listLastSeen(db: Database, userId?: string): Promise<Map<string, Date>> {
  let query = db
    .selectFrom('sessions')
    .select(['user_id', sql<Date>`max(last_seen_at)`.as('at')])
    .groupBy('user_id');
  if (userId !== undefined) query = query.where('user_id', '=', userId);
  const rows = await query.execute();
  return new Map(rows.map((row) => [row.user_id, row.at]));
}

/**
 * How many people, `beside` and themself left out, somebody has deactivated since then, or had deactivated, has demoted from owner or
 * administrator, or has given another address.
 */
export async function countBereft(
  db: Database,
  { by, since, beside }: { by: string; since: Date; beside: string },
): Promise<number> {
  const from = sql<string>`detail ->> 'from'`;
  const row = await db
    .selectFrom('audit_entries')
    .select((of) => of.fn.count<string>('object_id').distinct().as('count'))
    .where('actor_id', '=', by)
    .where('at', '>', since)
    .where('object_id', 'not in', [beside, by])
    .where((of) =>
      of.or([
        of('action', 'in', ['identity.user.deactivated', 'identity.user.email-changed']),
        of.and([
          of('action', '=', 'identity.user.role-changed'),
          of.or([of(from, '=', 'owner'), of(from, '=', 'admin')]),
          of(sql<string>`detail ->> 'to'`, '<>', 'owner'),
        ]),
      ]),
    )
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** Who of these was an owner or administrator since then, and is not because their role was changed. */
export async function listFormerAdministrators(
  db: Database,
  userIds: readonly string[],
  since: Date,
): Promise<string[]> {
  const rows = await db
    .selectFrom('audit_entries')
    .select('object_id')
    .distinct()
    .where('object_type', '=', 'user')
    .where('object_id', 'in', userIds)
    .where('action', '=', 'identity.user.role-changed')
    .where('at', '>', since)
    .where(sql<string>`detail ->> 'from'`, 'in', ['owner', 'admin'])
    .execute();
  return rows.flatMap(({ object_id: id }) => id ?? []);
}

/** Who can sign in and is an admin, not an owner. */
export async function listAdminIds(db: Database): Promise<string[]> {
  const rows = await db
    .selectFrom('users')
    .select('id')
    .where('role', '=', 'admin')
    .where('disabled_at', 'is', null)
    .execute();
  return rows.map(({ id }) => id);
}

/** People who could decide: owners and admins who can sign in. */
export async function listAdministratorIds(db: Database): Promise<string[]> {
  const rows = await db
    .selectFrom('users')
    .select('id')
    .where('role', 'in', ['owner', 'admin'])
    .where('disabled_at', 'is', null)
    .execute();
  return rows.map(({ id }) => id);
}

/** People who can sign in, by role. */
export async function countByRole(db: Database): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('users')
    .select(['role', sql<string>`count(*)`.as('count')])
    .where('disabled_at', 'is', null)
    .groupBy('role')
    .execute();
  return new Map(rows.map((row) => [row.role, Number(row.count)]));
}

export async function getPeopleSettings(db: Database): Promise<{ admins_advised: number }> {
  return db.selectFrom('people_settings').select('admins_advised').executeTakeFirstOrThrow();
}

export async function updatePeopleSettings(db: Database, adminsAdvised: number): Promise<void> {
  await db.updateTable('people_settings').set({ admins_advised: adminsAdvised }).execute();
}
