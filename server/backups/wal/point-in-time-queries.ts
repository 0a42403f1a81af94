import { randomUUID } from 'node:crypto';
import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import type { PointInTime, WalGaps } from '../../lib/tables.ts';
import type { GapReason } from './wal-piece.ts';

export type PointInTimeRow = Selectable<PointInTime>;
export type WalGapRow = Selectable<WalGaps>;

export async function getPointInTime(db: Database): Promise<PointInTimeRow> {
  return db.selectFrom('point_in_time').selectAll().executeTakeFirstOrThrow();
}

/** Nobody else changes it until the transaction ends. */
export async function lockPointInTime(tx: WriteTransaction): Promise<PointInTimeRow> {
  return tx.selectFrom('point_in_time').selectAll().forUpdate().executeTakeFirstOrThrow();
}

export async function updatePointInTime(
  tx: WriteTransaction,
  change: Partial<{
    enabled: boolean;
    window_days: number;
    objective_seconds: number;
    pile_limit_bytes: number | null;
    slot: string | null;
    asked_base_at: Date;
    changed_at: Date;
  }>,
): Promise<void> {
  await tx.updateTable('point_in_time').set(change).execute();
}

export interface NewGap {
  targetId: string;
  reason: GapReason;
  fromLsn: string | null;
  since: Date | null;
  until: Date;
  declaredAt: Date;
}

export async function insertGap(tx: WriteTransaction, gap: NewGap): Promise<void> {
  await tx
    .insertInto('wal_gaps')
    .values({
      id: randomUUID(),
      target_id: gap.targetId,
      reason: gap.reason,
      from_lsn: gap.fromLsn,
      since: gap.since,
      until: gap.until,
      declared_at: gap.declaredAt,
    })
    .execute();
}

/** The newest first. */
export async function listGaps(db: Database, since: Date, limit = 200): Promise<WalGapRow[]> {
  return db
    .selectFrom('wal_gaps')
    .selectAll()
    .where('until', '>=', since)
    .orderBy('until', 'desc')
    .limit(limit)
    .execute();
}

export async function deleteGapsBefore(tx: WriteTransaction, before: Date): Promise<void> {
  await tx.deleteFrom('wal_gaps').where('until', '<', before).execute();
}

export interface BaseRow {
  snapshotId: string;
  number: number;
  takenAt: Date;
  endLsn: string;
  targetId: string;
  systemId: string;
  timeline: number;
  life: string;
}

/** Snapshots of the database that are on targets in use, oldest first: what pieces of the log can go on from. */
export async function listBases(db: Database): Promise<BaseRow[]> {
  const { rows } = await sql<BaseRow>`
    select s.id as "snapshotId", s.number::int as number, s.taken_at as "takenAt", s.end_lsn as "endLsn",
      p.target_id as "targetId", source ->> 'systemId' as "systemId",
      (source ->> 'timeline')::int as timeline, coalesce(source ->> 'life', '') as life
    from snapshots s
    join snapshot_targets p on p.snapshot_id = s.id and p.state = 'stored'
    join targets t on t.id = p.target_id and t.state = 'active'
    cross join lateral jsonb_array_elements(s.sources) as source
    where s.state in ('stored', 'partial') and s.end_lsn is not null and source ->> 'systemId' is not null
    order by s.number`.execute(db);
  return rows;
}

export async function hasOpenSnapshotRun(db: Database): Promise<boolean> {
  const row = await db
    .selectFrom('runs')
    .select('id')
    .where('kind', '=', 'snapshot')
    .where('state', 'in', ['queued', 'running'])
    .executeTakeFirst();
  return row !== undefined;
}
