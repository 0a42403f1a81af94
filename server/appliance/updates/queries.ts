/** What an update asks of databases: the live one for its runs, the rehearsed copy for what the old version still finds. */
import { sql } from 'kysely';
import type { ClientBase } from 'pg';
import type { Database } from '../../lib/db.ts';
import type { Run } from '../../lib/run-schema.ts';
import { toRun } from '../../lib/runs.ts';

/** A column as far as a program that was not written for its table depends on it. */
export interface ColumnFact {
  table: string;
  column: string;
  type: string;
  /** A row may be added without naming it. */
  optional: boolean;
}

/** Columns of every table of the product, in order. */
export async function readColumns(client: ClientBase): Promise<ColumnFact[]> {
  const { rows } = await client.query<ColumnFact>(`
    select c.relname::text as "table", a.attname::text as "column",
      format_type(a.atttypid, a.atttypmod) as type,
      not a.attnotnull or a.atthasdef or a.attidentity <> '' as optional
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
      and c.relname <> 'migrations'
    order by 1, a.attnum`);
  return rows;
}

/** The newest run of a part of an update. */
export async function findUpdateRun(
  db: Database,
  kind: 'update-rehearsal' | 'snapshot',
  updateId: string,
): Promise<Run | undefined> {
  const row = await db
    .selectFrom('runs')
    .selectAll()
    .where('kind', '=', kind)
    .where(sql`input ->> 'updateId'`, '=', updateId)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined ? undefined : toRun(row);
}
