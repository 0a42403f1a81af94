import type { Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { RunKind } from '../lib/run-schema.ts';
import type { Runs } from '../lib/tables.ts';

interface OwnRuns {
  userId: string;
  kinds: readonly RunKind[];
  /** Of those that have ended: not before. */
  endedSince: Date;
  limit: number;
}

/** Those queued or under way first, then the newest. */
export async function listRunsOf(
  db: Database,
  { userId, kinds, endedSince, limit }: OwnRuns,
): Promise<Selectable<Runs>[]> {
  return db
    .selectFrom('runs')
    .selectAll()
    .where('requested_by', '=', userId)
    .where('kind', 'in', kinds)
    .where((eb) => eb.or([eb('finished_at', 'is', null), eb('finished_at', '>=', endedSince)]))
    .orderBy((eb) => eb('finished_at', 'is not', null))
    .orderBy('created_at', 'desc')
    .limit(limit)
    .execute();
}

export async function listTakenAt(
  db: Database,
  snapshotIds: readonly string[],
): Promise<ReadonlyMap<string, Date>> {
  if (snapshotIds.length === 0) return new Map();
  const rows = await db
    .selectFrom('snapshots')
    .select(['id', 'taken_at'])
    .where('id', 'in', snapshotIds)
    .execute();
  return new Map(rows.map((row) => [row.id, row.taken_at]));
}

interface ReadableRow {
  id: string;
  number: string;
  state: string;
  taken_at: Date;
}

/** Snapshots that a target holds, newest first. @param below number of the last one of the page before */
export async function listReadable(
  db: Database,
  { below, limit }: { below: string | undefined; limit: number },
): Promise<ReadableRow[]> {
  let query = db
    .selectFrom('snapshots')
    .select(['id', 'number', 'state', 'taken_at'])
    .where('state', '!=', 'forgotten')
    .where((eb) =>
      eb.exists(
        eb
          .selectFrom('snapshot_targets')
          .select('target_id')
          .whereRef('snapshot_id', '=', 'snapshots.id')
          .where('snapshot_targets.state', '=', 'stored'),
      ),
    )
    .orderBy('number', 'desc')
    .limit(limit);
  if (below !== undefined) query = query.where('number', '<', below);
  return query.execute();
}
