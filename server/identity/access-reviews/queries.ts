import { sql, type Insertable, type Selectable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { AccessReviewItems, AccessReviews, AccessReviewSettings } from '../../lib/tables.ts';

export type ReviewRow = Selectable<AccessReviews>;
export type ItemRow = Selectable<AccessReviewItems>;

const CHUNK = 1_000;

/** @returns false when one is open. */
export async function insertReview(
  db: Database,
  row: Omit<Insertable<AccessReviews>, 'number'>,
): Promise<boolean> {
  // Without holes: of two at once the second is refused, by this number or because one is open.
  const number = sql<number>`(select coalesce(max(number), 0) + 1 from access_reviews)`;
  const result = await db
    .insertInto('access_reviews')
    .values({ ...row, number })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function insertItems(
  db: Database,
  rows: readonly Insertable<AccessReviewItems>[],
): Promise<void> {
  for (let at = 0; at < rows.length; at += CHUNK)
    await db
      .insertInto('access_review_items')
      .values(rows.slice(at, at + CHUNK))
      .execute();
}

/** The newest first. */
export async function listReviewRows(db: Database): Promise<ReviewRow[]> {
  return db.selectFrom('access_reviews').selectAll().orderBy('number', 'desc').limit(200).execute();
}

export async function findReview(db: Database, id: string): Promise<ReviewRow | undefined> {
  return db.selectFrom('access_reviews').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function findOpenReview(db: Database): Promise<ReviewRow | undefined> {
  return db.selectFrom('access_reviews').selectAll().where('state', '=', 'open').executeTakeFirst();
}

/** Held against a signing until the transaction ends; decisions do not wait for each other. */
export async function holdReview(db: Database, id: string): Promise<ReviewRow | undefined> {
  return db.selectFrom('access_reviews').selectAll().where('id', '=', id).forShare().executeTakeFirst();
}

/** Held against everything. */
export async function lockReview(db: Database, id: string): Promise<ReviewRow | undefined> {
  return db.selectFrom('access_reviews').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function updateReview(
  db: Database,
  id: string,
  change: Updateable<AccessReviews>,
): Promise<void> {
  await db.updateTable('access_reviews').set(change).where('id', '=', id).execute();
}

export async function listItemRows(db: Database, reviewId: string): Promise<ItemRow[]> {
  return db
    .selectFrom('access_review_items')
    .selectAll()
    .where('review_id', '=', reviewId)
    .orderBy('thing')
    .execute();
}

export async function lockItem(db: Database, reviewId: string, id: string): Promise<ItemRow | undefined> {
  return db
    .selectFrom('access_review_items')
    .selectAll()
    .where('review_id', '=', reviewId)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
}

/** Those of these that nobody has decided yet, held until the transaction ends. */
export async function lockOpenItems(db: Database, ids: readonly string[]): Promise<string[]> {
  const rows = await db
    .selectFrom('access_review_items')
    .select('id')
    .where('id', '=', anyOf(ids))
    .where('decision', 'is', null)
    .orderBy('id')
    .forUpdate()
    .execute();
  return rows.map((row) => row.id);
}

export async function updateItems(
  db: Database,
  ids: readonly string[],
  change: Updateable<AccessReviewItems>,
): Promise<void> {
  await db.updateTable('access_review_items').set(change).where('id', '=', anyOf(ids)).execute();
}

/** One parameter, however many: a statement has 65,535 at most. */
const anyOf = (ids: readonly string[]) => sql<string>`any(${[...ids]}::uuid[])`;

/** What was kept in the newest signed review: what was confirmed of each thing. */
export async function listKeptBefore(db: Database): Promise<Map<string, string>> {
  const rows = await db
    .selectFrom('access_review_items')
    .select(['thing', 'fingerprint'])
    .where('decision', '=', 'keep')
    .where('review_id', '=', (eb) =>
      eb
        .selectFrom('access_reviews')
        .select('id')
        .where('state', '=', 'signed')
        .orderBy('number', 'desc')
        .limit(1),
    )
    .execute();
  return new Map(rows.map((row) => [row.thing, row.fingerprint]));
}

/** How many items of each review have which decision; null: none yet. */
export async function countItems(
  db: Database,
  workspaceIds: readonly string[] | undefined,
): Promise<{ review_id: string; decision: string | null; count: number }[]> {
  let query = db
    .selectFrom('access_review_items')
    .select(['review_id', 'decision', sql<string>`count(*)`.as('count')])
    .groupBy(['review_id', 'decision']);
  if (workspaceIds !== undefined) {
    if (workspaceIds.length === 0) return [];
    query = query.where('kind', '=', 'workspace').where('workspace_id', 'in', [...workspaceIds]);
  }
  const rows = await query.execute();
  return rows.map((row) => ({ ...row, count: Number(row.count) }));
}

/** Open items of a review by workspace; null: those that owners decide. */
export async function countOpenByWorkspace(
  db: Database,
  reviewId: string,
): Promise<Map<string | null, number>> {
  const { rows } = await sql<{ workspace_id: string | null; count: string }>`
    select case when kind = 'workspace' then workspace_id end as workspace_id, count(*) as count
    from access_review_items where review_id = ${reviewId} and decision is null group by 1`.execute(db);
  return new Map(rows.map((row) => [row.workspace_id, Number(row.count)]));
}

export interface OpenCount {
  kind: string;
  /** Of items of workspaces. */
  workspace_id: string | null;
  /** The person who asks, where an item is theirs. */
  user_id: string | null;
  /** A team of theirs, where an item is that team's. */
  team_id: string | null;
  count: number;
}

/** Open items of a review, counted by what it takes to say who decides. @param only of these workspaces; all when left out. */
export async function countOpenItems(
  db: Database,
  reviewId: string,
  asker: { userId: string; teamIds: readonly string[] },
  only: readonly string[] | undefined,
): Promise<OpenCount[]> {
  const { rows } = await sql<Omit<OpenCount, 'count'> & { count: string }>`
    select kind, case when kind = 'workspace' then workspace_id end as workspace_id,
      case when user_id = ${asker.userId} then user_id end as user_id,
      case when user_id is null and team_id = any(${[...asker.teamIds]}::uuid[]) then team_id end as team_id,
      count(*) as count
    from access_review_items
    where review_id = ${reviewId} and decision is null
      and (${only === undefined} or (kind = 'workspace' and workspace_id = any(${[...(only ?? [])]}::uuid[])))
    group by 1, 2, 3, 4`.execute(db);
  return rows.map((row) => ({ ...row, count: Number(row.count) }));
}

/** Who is in the teams of this person, by team. */
export async function listTeammates(db: Database, userId: string): Promise<Map<string, string[]>> {
  const rows = await db
    .selectFrom('team_members')
    .select(['team_id', 'user_id'])
    .where('team_id', 'in', (of) =>
      of.selectFrom('team_members').select('team_id').where('user_id', '=', userId),
    )
    .execute();
  const byTeam = Map.groupBy(rows, (row) => row.team_id);
  return new Map([...byTeam].map(([id, members]) => [id, members.map((row) => row.user_id)]));
}

export async function getReviewSettings(db: Database): Promise<Selectable<AccessReviewSettings>> {
  return db.selectFrom('access_review_settings').selectAll().executeTakeFirstOrThrow();
}

export async function updateReviewSettings(
  db: Database,
  change: Updateable<AccessReviewSettings>,
): Promise<void> {
  await db.updateTable('access_review_settings').set(change).execute();
}

/** When the first person joined. */
export async function findFirstJoined(db: Database): Promise<Date | undefined> {
  const row = await db
    .selectFrom('users')
    .select((eb) => eb.fn.min('created_at').as('at'))
    .executeTakeFirst();
  return row?.at ?? undefined;
}

/** Second factors of everybody, or of one person: `user_id` and what it is. */
export async function listFactors(
  db: Database,
  userId?: string,
): Promise<{ user_id: string; factor: string }[]> {
  const { rows } = await sql<{ user_id: string; factor: string }>`
    select distinct user_id, factor from (
      select user_id, 'passkey' as factor from passkeys
      union all select user_id, 'authenticator app' from authenticator_apps where confirmed_at is not null
    ) f where ${userId ?? null}::uuid is null or user_id = ${userId ?? null}::uuid
    order by 1, 2`.execute(db);
  return rows;
}

export async function listTeamMembers(
  db: Database,
  userId?: string,
): Promise<{ user_id: string; team_id: string }[]> {
  let query = db.selectFrom('team_members').select(['user_id', 'team_id']).orderBy('team_id');
  if (userId !== undefined) query = query.where('user_id', '=', userId);
  return query.execute();
}

/** Keys that work, of everybody or of one person. */
export async function listLiveKeys(db: Database, now: Date, userId?: string) {
  let query = db
    .selectFrom('api_keys')
    .select(['id', 'user_id', 'workspace_id', 'name', 'prefix', 'rights', 'networks'])
    .select(['expires_at', 'last_used_at'])
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now);
  if (userId !== undefined) query = query.where('user_id', '=', userId);
  return query.execute();
}

/** Everybody, or one person. */
export async function listAccounts(db: Database, userId?: string) {
  let query = db.selectFrom('users').selectAll().orderBy('id');
  if (userId !== undefined) query = query.where('id', '=', userId);
  return query.execute();
}

/** The entries that this transaction has written, in their order. @param first the id of one before which there is none. */
export async function listEntriesOfTransaction(db: Database, first: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from audit_entries
    where number >= (select number from audit_entries where id = ${first}) and xmin = pg_current_xact_id()::xid
    order by number`.execute(db);
  return rows.map((row) => row.id);
}
