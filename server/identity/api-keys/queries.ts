import { sql, type Insertable, type Selectable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import { prepareQuery } from '../../lib/prepared-query.ts';
import type { ApiKeys, ApiLog, ApiLogSettings } from '../../lib/tables.ts';

export type KeyRow = Selectable<ApiKeys>;
export type LogRow = Selectable<ApiLog>;

export type FoundKeyRow = KeyRow & {
  role: string;
  disabled_at: Date | null;
  members_need_second_factor: boolean | null;
  has_second_factor: unknown;
};

/** With what decides about the person it acts for. By the unique index on the prefix. */
export const findKeyByPrefix = prepareQuery<FoundKeyRow, [prefix: string]>('find-key', (db) =>
  db
    .selectFrom('api_keys')
    .innerJoin('users', 'users.id', 'api_keys.user_id')
    .selectAll('api_keys')
    .select((of) => [
      'users.role',
      'users.disabled_at',
      of.selectFrom('sign_in_settings').select('members_need_second_factor').as('members_need_second_factor'),
      of
        .or([
          of.exists(of.selectFrom('passkeys').select('id').whereRef('passkeys.user_id', '=', 'users.id')),
          of.exists(
            of
              .selectFrom('authenticator_apps')
              .select('user_id')
              .whereRef('authenticator_apps.user_id', '=', 'users.id')
              .where('confirmed_at', 'is not', null),
          ),
        ])
        .as('has_second_factor'),
    ])
    .where('prefix', '=', ''),
);

export async function insertKey(db: Database, row: Insertable<ApiKeys>): Promise<KeyRow> {
  return db.insertInto('api_keys').values(row).returningAll().executeTakeFirstOrThrow();
}

export async function lockKey(db: Database, id: string): Promise<KeyRow | undefined> {
  return db.selectFrom('api_keys').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function updateKey(db: Database, id: string, change: Updateable<ApiKeys>): Promise<KeyRow> {
  return db.updateTable('api_keys').set(change).where('id', '=', id).returningAll().executeTakeFirstOrThrow();
}

/** The newest first; of everybody when no person is given. */
export async function listKeyRows(db: Database, userId: string | undefined): Promise<KeyRow[]> {
  let query = db.selectFrom('api_keys').selectAll().orderBy('created_at', 'desc').limit(2000);
  if (userId !== undefined) query = query.where('user_id', '=', userId);
  return query.execute();
}

/** Of somebody who is not let in any more: as many as there can be. */
export async function countLiveKeys(db: Database, userId: string, now: Date): Promise<number> {
  // One maker at a time, so that the limit holds also for two at once.
  const user = await db
    .selectFrom('users')
    .select('disabled_at')
    .where('id', '=', userId)
    .forUpdate()
    .executeTakeFirst();
  if (user?.disabled_at !== null) return Number.POSITIVE_INFINITY;
  const { count } = await db
    .selectFrom('api_keys')
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** @returns how many were open. */
export async function revokeAllKeys(
  db: Database,
  userId: string,
  at: Date,
  because: string,
): Promise<number> {
  const { numUpdatedRows } = await db
    .updateTable('api_keys')
    .set({ revoked_at: at, revoked_because: because })
    .where('user_id', '=', userId)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  return Number(numUpdatedRows);
}

export async function lockEndingKeys(db: Database, now: Date, before: Date): Promise<KeyRow[]> {
  return db
    .selectFrom('api_keys')
    .selectAll()
    .where('revoked_at', 'is', null)
    .where('told_at', 'is', null)
    .where('expires_at', '>', now)
    .where('expires_at', '<', before)
    .limit(500)
    .forUpdate()
    .skipLocked()
    .execute();
}

export interface KeyUse {
  id: string;
  at: Date;
  address: string;
}

export async function noteUses(db: Database, uses: readonly KeyUse[]): Promise<void> {
  await sql`
    update api_keys k set last_used_at = greatest(k.last_used_at, u.at), last_used_address = u.address
    from unnest(${uses.map((use) => use.id)}::uuid[], ${uses.map((use) => use.at.toISOString())}::timestamptz[],
      ${uses.map((use) => use.address)}::text[]) as u (id, at, address)
    where k.id = u.id`.execute(db);
}

export async function insertLogRows(db: Database, rows: readonly Insertable<ApiLog>[]): Promise<void> {
  if (rows.length > 0) await db.insertInto('api_log').values(rows).execute();
}

export async function addDrops(db: Database, scope: string, day: Date, count: number): Promise<void> {
  await sql`
    insert into api_log_drops (scope, day, count) values (${scope}, ${day.toISOString().slice(0, 10)}::date, ${count})
    on conflict (scope, day) do update set count = api_log_drops.count + excluded.count`.execute(db);
}

export async function countDrops(db: Database, scope: string, since: Date): Promise<number> {
  const { rows } = await sql<{ count: string }>`
    select coalesce(sum(count), 0) as count from api_log_drops
    where scope = ${scope} and day >= ${since.toISOString().slice(0, 10)}::date`.execute(db);
  return Number(rows[0]?.count ?? 0);
}

export interface LogFilter {
  scope: string;
  /** Only of these keys' person. */
  userId?: string | undefined;
  keyId?: string | undefined;
  route?: string | undefined;
  method?: string | undefined;
  failed?: boolean | undefined;
  before?: string | undefined;
  limit: number;
}

/** Newest first. */
export async function listLogRows(db: Database, filter: LogFilter): Promise<LogRow[]> {
  let query = db
    .selectFrom('api_log')
    .selectAll()
    .where('scope', '=', filter.scope)
    .orderBy('number', 'desc')
    .limit(filter.limit);
  if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
  if (filter.keyId !== undefined) query = query.where('key_id', '=', filter.keyId);
  if (filter.method !== undefined) query = query.where('method', '=', filter.method);
  if (filter.failed === true) query = query.where('status', '>=', 400);
  if (filter.route !== undefined) query = query.where(sql<boolean>`position(${filter.route} in route) > 0`);
  if (filter.before !== undefined) query = query.where('number', '<', filter.before);
  return query.execute();
}

export async function findLogSettings(
  db: Database,
  scope: string,
): Promise<Selectable<ApiLogSettings> | undefined> {
  return db.selectFrom('api_log_settings').selectAll().where('scope', '=', scope).executeTakeFirst();
}

export async function listLogSettings(db: Database): Promise<Selectable<ApiLogSettings>[]> {
  return db.selectFrom('api_log_settings').selectAll().execute();
}

export async function saveLogSettings(db: Database, row: Insertable<ApiLogSettings>): Promise<void> {
  await db
    .insertInto('api_log_settings')
    .values(row)
    .onConflict((conflict) => conflict.column('scope').doUpdateSet(row))
    .execute();
}

/** Takes away what is older than its scope's setting says, or than the usual time. @returns how many. */
export async function deleteOldLogRows(db: Database, now: Date, usualDays: number): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from api_log l where l.at < ${now}::timestamptz - interval '1 day' * coalesce(
      (select s.days from api_log_settings s where s.scope = l.scope), ${usualDays}::integer)`.execute(db);
  await sql`delete from api_log_drops where day < ${now}::timestamptz - interval '400 days'`.execute(db);
  return Number(numAffectedRows ?? 0n);
}
