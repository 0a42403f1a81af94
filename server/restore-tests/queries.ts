import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkHours } from '../lib/hours.ts';
import { hoursOf } from '../lib/schedules.ts';
import type { JsonObject, RestoreTests, RestoreTestSettings } from '../lib/tables.ts';
import type { ChosenCopy } from './choose-copy.ts';
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
  choice: ChosenCopy['choice'];
  drawnFrom: number | null;
  newest: boolean;
  drill: boolean;
  /** Of a test of a chosen moment, one of the two. */
  pointTime?: Date | undefined;
  pointLsn?: string | undefined;
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
      choice: test.choice,
      drawn_from: test.drawnFrom,
      newest: test.newest,
      drill: test.drill,
      point_time: test.pointTime ?? null,
      point_lsn: test.pointLsn ?? null,
    })
    .execute();
}

export interface RestoreTestEnd {
  state: Exclude<RestoreTestState, 'running'>;
  grade: Grade | null;
  finishedAt: Date;
  rtoMs: number | null;
  rpoMs: number | null;
  rtoObjectiveMs: number | null;
  rpoObjectiveMs: number | null;
  report: Buffer | null;
  reportSha256: Buffer | null;
  /** Of a test of a chosen moment. */
  reachedAt?: Date | undefined;
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
      rto_objective_ms: end.rtoObjectiveMs,
      rpo_objective_ms: end.rpoObjectiveMs,
      report: end.report,
      report_sha256: end.reportSha256,
      reached_at: end.reachedAt ?? null,
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

export interface TestSchedule {
  name: string;
  input: JsonObject;
  enabled: boolean;
  nextDueAt: Date | null;
  lastDueAt: Date | null;
  hours: WorkHours | null;
}

/** Those of tests. */
export async function listTestSchedules(db: Database): Promise<TestSchedule[]> {
  const rows = await db
    .selectFrom('schedules')
    .selectAll()
    .where('kind', '=', 'restore-test')
    .orderBy('name')
    .execute();
  return rows.map((row) => ({
    ...{ name: row.name, enabled: row.enabled, input: row.input as JsonObject },
    ...{ nextDueAt: row.next_due_at, lastDueAt: row.last_due_at },
    hours: hoursOf(row),
  }));
}

/** Since when one that fell due by its schedule has been missing; undefined when none fell due since. Drills are another matter. */
export async function findFirstDueAfter(
  db: Database,
  lastPassedAt: Date | undefined,
  mode: 'quick' | 'full',
): Promise<Date | undefined> {
  const row = await db
    .selectFrom('runs')
    .select('created_at')
    .where('kind', '=', 'restore-test')
    .where('cause', 'in', ['schedule', 'catch-up'])
    .where(sql<boolean>`input ->> 'mode' = ${mode} and coalesce(input ->> 'drill', 'false') <> 'true'`)
    .where('created_at', '>', lastPassedAt ?? new Date(0))
    .orderBy('created_at')
    .limit(1)
    .executeTakeFirst();
  return row?.created_at;
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

/**
 * When one last passed that proves the newest copy: an older one that was drawn at random proves itself only.
 *
 * @param only - also of that scope, or opened with a kit.
 */
export async function findLastPassedAt(
  db: Database,
  only: { mode?: RestoreTestMode; keySource?: KeySource } = {},
): Promise<Date | undefined> {
  let query = db
    .selectFrom('restore_tests')
    .select('finished_at')
    .where('state', '=', 'passed')
    .where(sql<boolean>`not (choice = 'random' and newest is false)`);
  if (only.mode !== undefined) query = query.where('mode', '=', only.mode);
  if (only.keySource !== undefined) query = query.where('key_source', '=', only.keySource);
  const row = await query.orderBy('finished_at', 'desc').limit(1).executeTakeFirst();
  return row?.finished_at ?? undefined;
}

/** Which of those that are due and wait for a kit. */
export interface WaitingKind {
  drill: boolean;
  mode: RestoreTestMode;
}

/** A due one waits for a kit already, and no test of that scope passed since. */
export async function isWaiting(db: Database, mode: RestoreTestMode): Promise<boolean> {
  const lastPassedAt = await findLastPassedAt(db, mode === 'full' ? { mode } : {});
  const row = await db
    .selectFrom('restore_tests')
    .select('created_at')
    .where('state', '=', 'needs-kit')
    .where('drill', '=', false)
    .where('mode', '=', mode)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row !== undefined && (lastPassedAt === undefined || row.created_at > lastPassedAt);
}

/** Ends those that wait for a kit since before `since`, but for drills, which have their own. @returns their ids. */
export async function failUnopened(tx: WriteTransaction, since: Date, now: Date): Promise<string[]> {
  const rows = await tx
    .updateTable('restore_tests')
    .set({ state: 'failed', finished_at: now })
    .where('state', '=', 'needs-kit')
    .where('drill', '=', false)
    .where('created_at', '<', since)
    .where(
      sql<boolean>`not exists (
      select 1 from restore_tests p
      where p.state = 'passed' and p.finished_at > restore_tests.created_at
        and (restore_tests.mode = 'quick' or p.mode = 'full'))`,
    )
    .returning('id')
    .execute();
  return rows.map(({ id }) => id);
}

/** Since when a due one has waited for a kit, of those after `since`. */
export async function findWaitingSince(
  db: Database,
  since: Date | undefined,
  { drill, mode }: WaitingKind,
): Promise<Date | undefined> {
  let query = db
    .selectFrom('restore_tests')
    .select('created_at')
    .where('state', 'in', ['needs-kit', 'failed'])
    // Whoever starts one has a kit: of the others nobody came.
    .where('key_source', '=', 'recovery-kit')
    .where('kit_id', 'is', null)
    .where('drill', '=', drill)
    .where('mode', '=', mode);
  if (since !== undefined) query = query.where('created_at', '>', since);
  const row = await query.orderBy('created_at').limit(1).executeTakeFirst();
  return row?.created_at;
}

/** How long the last passed tests of that scope took, the newest first. */
export async function listDurations(db: Database, mode: RestoreTestMode, count: number): Promise<number[]> {
  const rows = await db
    .selectFrom('restore_tests')
    .innerJoin('runs', 'runs.id', 'restore_tests.run_id')
    .select(['runs.started_at', 'restore_tests.finished_at'])
    .where('restore_tests.state', 'in', ['passed', 'checked'])
    .where('restore_tests.mode', '=', mode)
    // A run of several tests took the time of all.
    .where(
      sql<boolean>`not exists (select 1 from restore_tests o where o.run_id = runs.id and o.id <> restore_tests.id)`,
    )
    .orderBy('restore_tests.finished_at', 'desc')
    .limit(count)
    .execute();
  return rows.flatMap(({ started_at: from, finished_at: to }) =>
    from === null || to === null ? [] : [to.getTime() - from.getTime()],
  );
}

export async function listTargetNames(db: Database): Promise<Map<string, string>> {
  const rows = await db.selectFrom('targets').select(['id', 'name']).execute();
  return new Map(rows.map((row) => [row.id, row.name]));
}

type SettingsRow = Omit<Selectable<RestoreTestSettings>, 'singleton'>;

export async function readSettingsRow(db: Database): Promise<SettingsRow> {
  return db
    .selectFrom('restore_test_settings')
    .select(['rto_minutes', 'rpo_minutes', 'assertion_seconds'])
    .executeTakeFirstOrThrow();
}

export async function writeSettingsRow(tx: WriteTransaction, row: SettingsRow): Promise<void> {
  await tx.updateTable('restore_test_settings').set(row).execute();
}

/** The newest one that waits for a kit; held until the transaction ends. */
export async function lockWaiting(
  tx: WriteTransaction,
  { drill, mode }: WaitingKind,
): Promise<Pick<RestoreTestRow, 'id' | 'created_at' | 'reminded_at'> | undefined> {
  return tx
    .selectFrom('restore_tests')
    .select(['id', 'created_at', 'reminded_at'])
    .where('state', '=', 'needs-kit')
    .where('drill', '=', drill)
    .where('mode', '=', mode)
    .orderBy('created_at', 'desc')
    .limit(1)
    .forUpdate()
    .executeTakeFirst();
}

export async function noteReminded(tx: WriteTransaction, id: string, at: Date): Promise<void> {
  await tx.updateTable('restore_tests').set({ reminded_at: at }).where('id', '=', id).execute();
}
