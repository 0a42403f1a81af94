import type { Selectable, Updateable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { Targets, TargetSpace } from '../lib/tables.ts';

export interface TargetSpaceRow extends Pick<
  Selectable<Targets>,
  'id' | 'name' | 'kind' | 'settings' | 'same_disk'
> {
  free_bytes: string | null;
  measured_at: Date | null;
  quota_bytes: string | null;
  /** What the snapshots on it that are not forgotten wrote. */
  stored_bytes: number;
}

/** Of targets in use, oldest first. */
export async function listTargetSpace(db: Database): Promise<TargetSpaceRow[]> {
  const rows = await db
    .selectFrom('targets')
    .leftJoin('target_space', 'target_space.target_id', 'targets.id')
    .select(['targets.id', 'targets.name', 'targets.kind', 'targets.settings', 'targets.same_disk'])
    .select(['target_space.free_bytes', 'target_space.measured_at', 'target_space.quota_bytes'])
    .select((eb) =>
      eb
        .selectFrom('snapshot_targets')
        .innerJoin('snapshots', 'snapshots.id', 'snapshot_targets.snapshot_id')
        .select((inner) => inner.fn.sum<string>('snapshots.stored_bytes').as('bytes'))
        .whereRef('snapshot_targets.target_id', '=', 'targets.id')
        .where('snapshot_targets.state', '=', 'stored')
        .where('snapshots.state', '!=', 'forgotten')
        .as('stored_bytes'),
    )
    .where('targets.state', '=', 'active')
    .orderBy('targets.created_at')
    .execute();
  return rows.map((row) => ({ ...row, stored_bytes: Number(row.stored_bytes ?? 0) }));
}

export async function findTarget(
  db: Database,
  id: string,
): Promise<{ id: string; quota_bytes: string | null } | undefined> {
  return db
    .selectFrom('targets')
    .leftJoin('target_space', 'target_space.target_id', 'targets.id')
    .select(['targets.id', 'target_space.quota_bytes'])
    .where('targets.id', '=', id)
    .executeTakeFirst();
}

export async function saveSpace(
  db: Database,
  targetId: string,
  change: Omit<Updateable<TargetSpace>, 'target_id'>,
): Promise<void> {
  await db
    .insertInto('target_space')
    .values({ ...change, target_id: targetId })
    .onConflict((conflict) => conflict.column('target_id').doUpdateSet(change))
    .execute();
}
