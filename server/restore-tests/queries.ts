import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RestoreTests } from '../lib/tables.ts';
import type { Grade, KeySource, RestoreTestMode, RestoreTestState } from './schema.ts';

export type RestoreTestRow = Selectable<RestoreTests>;

export interface NewRestoreTest {
  id: string;
  runId: string;
  snapshotId: string;
  snapshotTakenAt: Date;
  targetId: string;
  mode: RestoreTestMode;
  keySource: KeySource;
  kitId: string | null;
  state: RestoreTestState;
  createdAt: Date;
}

export async function insertRestoreTest(tx: WriteTransaction, test: NewRestoreTest): Promise<void> {
  await tx
    .insertInto('restore_tests')
    .values({
      id: test.id,
      run_id: test.runId,
      snapshot_id: test.snapshotId,
      snapshot_taken_at: test.snapshotTakenAt,
      target_id: test.targetId,
      mode: test.mode,
      key_source: test.keySource,
      kit_id: test.kitId,
      state: test.state,
      created_at: test.createdAt,
    })
    .execute();
}

export interface RestoreTestEnd {
  state: Exclude<RestoreTestState, 'running'>;
  grade: Grade | null;
  finishedAt: Date;
  rtoMs: number | null;
  rpoMs: number | null;
  report: Buffer | null;
  reportSha256: Buffer | null;
}

/** Only the first ending counts. @returns false when it had ended. */
export async function finishRestoreTest(
  tx: WriteTransaction,
  id: string,
  end: RestoreTestEnd,
): Promise<boolean> {
  const result = await tx
    .updateTable('restore_tests')
    .set({
      state: end.state,
      grade: end.grade,
      finished_at: end.finishedAt,
      rto_ms: end.rtoMs,
      rpo_ms: end.rpoMs,
      report: end.report,
      report_sha256: end.reportSha256,
    })
    .where('id', '=', id)
    .where('state', '=', 'running')
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** Ends tests whose run ended without them: a killed worker, a crash. @returns their ids. */
export async function failOrphanedTests(tx: WriteTransaction, now: Date): Promise<string[]> {
  const result = await sql<{ id: string }>`
    update restore_tests t
    set state = case when r.state = 'cancelled' then 'cancelled' else 'failed' end, finished_at = ${now}
    from runs r
    where r.id = t.run_id and t.state = 'running' and r.state in ('failed', 'cancelled', 'succeeded', 'partial')
    returning t.id`.execute(tx);
  return result.rows.map((row) => row.id);
}

export async function getRestoreTest(db: Database, id: string): Promise<RestoreTestRow> {
  const row = await db.selectFrom('restore_tests').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such restore test');
  return row;
}

/** Newest first. */
export async function listRestoreTests(
  db: Database,
  page: { limit: number; before?: PageMark | undefined },
): Promise<RestoreTestRow[]> {
  let query = db.selectFrom('restore_tests').selectAll();
  if (page.before !== undefined) {
    const { at, id } = page.before;
    query = query.where(sql<boolean>`(created_at, id) < (${at}, ${id}::uuid)`);
  }
  return query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(page.limit).execute();
}

export async function countRestoreTests(db: Database): Promise<number> {
  const row = await db
    .selectFrom('restore_tests')
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

export async function findTestSchedule(
  db: Database,
): Promise<{ enabled: boolean; nextDueAt: Date | null; lastDueAt: Date | null } | undefined> {
  const row = await db
    .selectFrom('schedules')
    .selectAll()
    .where('name', '=', 'restore-test')
    .executeTakeFirst();
  return row && { enabled: row.enabled, nextDueAt: row.next_due_at, lastDueAt: row.last_due_at };
}

/** When a snapshot was last due; undefined when none ever was. */
export async function findSnapshotDueAt(db: Database): Promise<Date | undefined> {
  const row = await db
    .selectFrom('schedules')
    .select('last_due_at')
    .where('name', '=', 'snapshot')
    .where('enabled', '=', true)
    .executeTakeFirst();
  return row?.last_due_at ?? undefined;
}

export async function findLastPassedAt(db: Database): Promise<Date | undefined> {
  const row = await db
    .selectFrom('restore_tests')
    .select('finished_at')
    .where('state', '=', 'passed')
    .orderBy('finished_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row?.finished_at ?? undefined;
}

export interface TestableSnapshot {
  takenAt: Date;
  number: string;
  sizeBytes: number;
  sources: unknown;
}

export async function findTestableSnapshot(
  db: Database,
  id: string,
  targetId: string,
): Promise<TestableSnapshot | undefined> {
  const row = await db
    .selectFrom('snapshots')
    .innerJoin('snapshot_targets', 'snapshot_targets.snapshot_id', 'snapshots.id')
    .select(['snapshots.taken_at', 'snapshots.number', 'snapshots.size_bytes', 'snapshots.sources'])
    .where('snapshots.id', '=', id)
    .where('snapshot_targets.target_id', '=', targetId)
    .where('snapshots.state', '!=', 'forgotten')
    .executeTakeFirst();
  return (
    row && {
      takenAt: row.taken_at,
      number: row.number,
      sizeBytes: Number(row.size_bytes),
      sources: row.sources,
    }
  );
}

export async function listTargetNames(db: Database): Promise<Map<string, string>> {
  const rows = await db.selectFrom('targets').select(['id', 'name']).execute();
  return new Map(rows.map((row) => [row.id, row.name]));
}
