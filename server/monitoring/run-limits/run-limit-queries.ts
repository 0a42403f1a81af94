import { sql, type Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { RunLimits, Runs } from '../../lib/tables.ts';
import type { RunLimit } from './schema.ts';

export async function listLimitRows(db: Database): Promise<Selectable<RunLimits>[]> {
  return db.selectFrom('run_limits').selectAll().execute();
}

export async function saveLimit(db: Database, { kind, ...limit }: RunLimit): Promise<void> {
  const values = {
    ...{ stall_minutes: limit.stallMinutes, limit_minutes: limit.limitMinutes, stops: limit.stops },
  };
  await db
    .insertInto('run_limits')
    .values({ kind, ...values })
    .onConflict((conflict) => conflict.column('kind').doUpdateSet(values))
    .execute();
}

export type OpenRunRow = Pick<
  Selectable<Runs>,
  'id' | 'kind' | 'state' | 'step' | 'progress' | 'created_at' | 'started_at' | 'progressed_at'
> & { cancel_requested_at: Date | null };

export async function listOpenRuns(db: Database): Promise<OpenRunRow[]> {
  return db
    .selectFrom('runs')
    .select(['id', 'kind', 'state', 'step', 'progress', 'created_at', 'started_at', 'progressed_at'])
    .select('cancel_requested_at')
    .where('state', 'in', ['queued', 'running'])
    .orderBy('created_at')
    .execute();
}

/** Kinds whose newest ended run was stopped by the appliance, or failed by itself. */
export async function listBadEndings(
  db: Database,
): Promise<{ kind: string; state: string; stopped_because: string | null; error: unknown }[]> {
  const { rows } = await sql<{ kind: string; state: string; stopped_because: string | null; error: unknown }>`
    select kind, state, stopped_because, error from (
      select distinct on (kind) kind, state, stopped_because, error from runs
      where finished_at is not null and (state <> 'cancelled' or stopped_because is not null)
      order by kind, finished_at desc
    ) as newest
    where state = 'failed' or stopped_because is not null`.execute(db);
  return rows;
}

export async function noteStopped(db: Database, id: string, because: string): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('runs')
    .set({ stopped_because: because })
    .where('id', '=', id)
    .where('state', 'in', ['queued', 'running'])
    .where('cancel_requested_at', 'is', null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}
