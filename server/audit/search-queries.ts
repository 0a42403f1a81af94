/** Reading the log by filters. Every way through it goes along one index that has the order of the page. */
import { sql, type SelectQueryBuilder } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import type { DB } from '../lib/tables.ts';
import type { AuditRow } from './queries.ts';

/** Where a page goes on: behind this entry. */
export interface EntryFilter {
  actions?: readonly string[] | undefined;
  actorId?: string | undefined;
  actorKind?: 'user' | 'system' | 'console' | undefined;
  actorLabel?: string | undefined;
  objectId?: string | undefined;
  objectType?: string | undefined;
  result?: 'done' | 'refused' | 'failed' | undefined;
  address?: string | undefined;
  requestId?: string | undefined;
  entryId?: string | undefined;
  from?: Date | undefined;
  to?: Date | undefined;
  after?: PageMark | undefined;
  limit: number;
}

/** A filter that nobody waits longer for. */
const STATEMENT_LIMIT_MS = 10_000;

/** Newest first, by time. */
export async function listEntries(db: Database, filter: EntryFilter): Promise<AuditRow[]> {
  return db.transaction().execute(async (tx) => {
    await sql`set local statement_timeout = ${sql.lit(STATEMENT_LIMIT_MS)}`.execute(tx);
    // Several actions of a big log: the newest of each, from its own index, instead of all of them sorted.
    if ((filter.actions?.length ?? 0) > 1 && !isNarrow(filter)) return listByActions(tx, filter);
    return applyFilter(tx.selectFrom('audit_entries').selectAll(), filter).execute();
  });
}

/** Another filter has an index of its own that leads to fewer entries than the actions do. */
function isNarrow({ actorKind, result, ...filter }: EntryFilter): boolean {
  const kind = actorKind !== undefined && actorKind !== 'user';
  const outcome = result !== undefined && result !== 'done';
  const { actorId, actorLabel, objectId, address, requestId, entryId } = filter;
  return (
    kind ||
    outcome ||
    [actorId, actorLabel, objectId, address, requestId, entryId].some((one) => one !== undefined)
  );
}

async function listByActions(db: Database, filter: EntryFilter): Promise<AuditRow[]> {
  const wanted = sql<{ name: string }>`(select unnest(${[...(filter.actions ?? [])]}::text[]) as name)`.as(
    'wanted',
  );
  return db
    .selectFrom(wanted)
    .innerJoinLateral(
      (eb) =>
        applyFilter(eb.selectFrom('audit_entries').selectAll(), { ...filter, actions: undefined })
          .whereRef('action', '=', sql.ref('wanted.name'))
          .as('found'),
      (join) => join.onTrue(),
    )
    .selectAll('found')
    .orderBy('found.at', 'desc')
    .orderBy('found.number', 'desc')
    .limit(filter.limit)
    .execute();
}

type EntryQuery = SelectQueryBuilder<DB, 'audit_entries', AuditRow>;

function applyFilter(all: EntryQuery, filter: EntryFilter): EntryQuery {
  const { actions, after } = filter;
  let query = all.orderBy('at', 'desc').orderBy('number', 'desc').limit(filter.limit);
  if (after !== undefined) {
    // The row's own instant: one that was put in past us may have microseconds, which a Date loses and the page would leave out.
    const at = sql`coalesce((select e.at from audit_entries e where e.number = ${after.id}::bigint), ${after.at})`;
    query = query.where(sql<boolean>`(at, number) < (${at}, ${after.id}::bigint)`);
  }
  if (filter.from !== undefined) query = query.where('at', '>=', filter.from);
  if (filter.to !== undefined) query = query.where('at', '<', filter.to);
  if (actions !== undefined) {
    query =
      actions.length === 1
        ? query.where('action', '=', actions[0] ?? '')
        : query.where('action', 'in', [...actions]);
  }
  if (filter.actorId !== undefined) query = query.where('actor_id', '=', filter.actorId);
  if (filter.actorKind !== undefined) query = query.where('actor_kind', '=', filter.actorKind);
  // Said once more in the words of the partial index, which the planner does not see in a parameter.
  if (filter.actorKind !== undefined && filter.actorKind !== 'user')
    query = query.where('actor_kind', '<>', 'user');
  if (filter.actorLabel !== undefined) query = query.where('actor_label', '=', filter.actorLabel);
  if (filter.objectType !== undefined) query = query.where('object_type', '=', filter.objectType);
  if (filter.objectId !== undefined) query = query.where('object_id', '=', filter.objectId);
  if (filter.address !== undefined) query = query.where('address', '=', filter.address);
  if (filter.requestId !== undefined) query = query.where('request_id', '=', filter.requestId);
  if (filter.entryId !== undefined) query = query.where('id', '=', filter.entryId);
  if (filter.result !== undefined) query = query.where('result', '=', filter.result);
  if (filter.result !== undefined && filter.result !== 'done') query = query.where('result', '<>', 'done');
  return query;
}

/** Every action that was ever written, by name: one step in the index for each, not one for each entry. */
export async function listActions(db: Database): Promise<string[]> {
  const { rows } = await sql<{ action: string }>`
    with recursive found as (
      (select action from audit_entries order by action limit 1)
      union all
      select (select e.action from audit_entries e where e.action > found.action order by e.action limit 1)
      from found where found.action is not null
    )
    select action from found where action is not null`.execute(db);
  return rows.map((row) => row.action);
}

export interface SavedFilterRow {
  id: string;
  name: string;
  query: string;
  created_at: Date;
}

export async function listFilterRows(db: Database, userId: string): Promise<SavedFilterRow[]> {
  return db
    .selectFrom('audit_filters')
    .select(['id', 'name', 'query', 'created_at'])
    .where('user_id', '=', userId)
    .orderBy('name')
    .execute();
}

/** Replaces the one of that name. @returns its id. */
export async function saveFilterRow(
  db: Database,
  row: SavedFilterRow & { user_id: string },
): Promise<string> {
  const saved = await db
    .insertInto('audit_filters')
    .values(row)
    .onConflict((conflict) => conflict.columns(['user_id', 'name']).doUpdateSet({ query: row.query }))
    .returning('id')
    .executeTakeFirstOrThrow();
  return saved.id;
}

/** @returns false when that person has none with the id. */
export async function deleteFilterRow(db: Database, userId: string, id: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('audit_filters')
    .where('user_id', '=', userId)
    .where('id', '=', id)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

export async function countPending(db: Database): Promise<number> {
  const { rows } = await sql<{ count: string }>`select count(*) as count from audit_pending`.execute(db);
  return Number(rows[0]?.count ?? 0);
}
