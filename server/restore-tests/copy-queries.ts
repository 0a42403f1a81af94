/** Which copies there are to test: a snapshot on a target in use. */
import { sql } from 'kysely';
import type { Database } from '../lib/db.ts';

export interface KeptCopy {
  snapshotId: string;
  targetId: string;
  targetName: string;
  takenAt: Date;
  sizeBytes: number;
  sources: unknown;
}

export interface CopyFilter {
  targetId?: string | undefined;
  /** A part that the test reads: a copy whose target keeps it no more cannot be tested so. One that never had it can. */
  needs?: string | undefined;
}

/** Stored there, not being forgotten there, and with the part that is needed. */
function kept(db: Database, { targetId, needs }: CopyFilter) {
  const all = db
    .selectFrom('snapshots')
    .innerJoin('snapshot_targets', 'snapshot_targets.snapshot_id', 'snapshots.id')
    .innerJoin('targets', 'targets.id', 'snapshot_targets.target_id')
    .where('snapshots.state', '!=', 'forgotten')
    .where('snapshot_targets.forgetting', 'is', null)
    .where('snapshot_targets.state', '=', 'stored')
    .where('targets.state', '=', 'active');
  const there = targetId === undefined ? all : all.where('targets.id', '=', targetId);
  if (needs === undefined) return there;
  const lost = JSON.stringify([{ sections: [needs] }]);
  return there.where(sql<boolean>`not coalesce(snapshot_targets.expired, '[]'::jsonb) @> ${lost}::jsonb`);
}

const COLUMNS = [
  ...([
    'snapshots.id as snapshot_id',
    'snapshots.taken_at',
    'snapshots.size_bytes',
    'snapshots.sources',
  ] as const),
  ...(['targets.id as target_id', 'targets.name as target_name'] as const),
] as const;

interface Row {
  snapshot_id: string;
  taken_at: Date;
  size_bytes: string;
  sources: unknown;
  target_id: string;
  target_name: string;
}

const toCopy = (row: Row): KeptCopy => ({
  ...{ snapshotId: row.snapshot_id, targetId: row.target_id, targetName: row.target_name },
  ...{ takenAt: row.taken_at, sizeBytes: Number(row.size_bytes), sources: row.sources },
});

/** Of a target, or of any. */
export async function findNewestCopy(db: Database, filter: CopyFilter = {}): Promise<KeptCopy | undefined> {
  const row = await kept(db, filter)
    .select(COLUMNS)
    .orderBy('snapshots.number', 'desc')
    // Several targets hold the newest: one elsewhere proves more.
    .orderBy('targets.same_disk')
    .orderBy('targets.created_at')
    .limit(1)
    .executeTakeFirst();
  return row && toCopy(row);
}

/** One for each target that holds any, the oldest target first. */
export async function listNewestCopies(db: Database, filter: CopyFilter = {}): Promise<KeptCopy[]> {
  const rows = await kept(db, filter)
    .select(COLUMNS)
    .distinctOn('targets.id')
    .orderBy('targets.id')
    .orderBy('snapshots.number', 'desc')
    .execute();
  return rows.map(toCopy);
}

export async function countCopies(db: Database, filter: CopyFilter = {}): Promise<number> {
  const row = await kept(db, filter)
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** By its place in an order that has nothing to do with age. */
export async function findCopyAt(
  db: Database,
  place: number,
  filter: CopyFilter = {},
): Promise<KeptCopy | undefined> {
  const row = await kept(db, filter)
    .select(COLUMNS)
    .orderBy('snapshots.id')
    .orderBy('targets.id')
    .offset(place)
    .limit(1)
    .executeTakeFirst();
  return row && toCopy(row);
}

/** The one that takes most room to unpack, by the whole size. */
export async function findLargestCopy(db: Database, filter: CopyFilter = {}): Promise<KeptCopy | undefined> {
  const row = await kept(db, filter)
    .select(COLUMNS)
    .orderBy('snapshots.size_bytes', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && toCopy(row);
}

/** That snapshot on that target, also where it is said to be missing. */
export async function findCertainCopy(
  db: Database,
  snapshotId: string,
  targetId: string,
): Promise<KeptCopy | undefined> {
  const row = await db
    .selectFrom('snapshots')
    .innerJoin('snapshot_targets', 'snapshot_targets.snapshot_id', 'snapshots.id')
    .innerJoin('targets', 'targets.id', 'snapshot_targets.target_id')
    .select(COLUMNS)
    .where('snapshots.id', '=', snapshotId)
    .where('targets.id', '=', targetId)
    .where('snapshots.state', '!=', 'forgotten')
    .executeTakeFirst();
  return row && toCopy(row);
}
