import { sql } from 'kysely';
import type { Database } from '../lib/db.ts';

/** States and sizes; ids only of runs, which are ours. */
export async function countForSupport(db: Database) {
  const [tables, runs, migrations] = await Promise.all([
    sql<{ name: string; rows: string; bytes: string }>`
      select relname as name, n_live_tup::text as rows, pg_total_relation_size(relid)::text as bytes
      from pg_stat_user_tables order by relname`.execute(db),
    db
      .selectFrom('runs')
      .select(['id', 'kind', 'state', 'created_at', 'started_at', 'finished_at'])
      .orderBy('created_at', 'desc')
      .limit(50)
      .execute(),
    sql<{ version: string; size: string }>`
      select version() as version, pg_database_size(current_database())::text as size`.execute(db),
  ]);
  return { database: migrations.rows[0] ?? null, tables: tables.rows, runs };
}
