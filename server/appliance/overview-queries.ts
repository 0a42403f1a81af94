/**
 * The overview's look across the tables of the modules to the left: counts and newest rows, read only. One place, so that
 * "are we safe?" is one set of questions and not a dozen calls that could disagree.
 */
import { sql, type Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { RunKind } from '../lib/run-schema.ts';
import type { RestoreTests, Snapshots, Targets } from '../lib/tables.ts';

export interface TargetFacts extends Pick<
  Selectable<Targets>,
  'id' | 'name' | 'kind' | 'settings' | 'same_disk' | 'last_ok_at' | 'last_error' | 'probe'
> {
  /** Snapshots that are not forgotten. */
  snapshot_count: number;
  /** Complete ones among them. */
  complete_count: number;
  stored_bytes: number;
  proven_at: Date | null;
}

/** Targets in use, in their order. */
export async function listTargetFacts(db: Database): Promise<TargetFacts[]> {
  const rows = await db
    .selectFrom('targets')
    .select(['id', 'name', 'kind', 'settings', 'same_disk', 'last_ok_at', 'last_error', 'probe'])
    .select((eb) => [
      eb
        .selectFrom('restore_tests')
        .select((inner) => inner.fn.max('finished_at').as('at'))
        .whereRef('restore_tests.target_id', '=', 'targets.id')
        .where('restore_tests.state', '=', 'passed')
        .as('proven_at'),
    ])
    .where('state', '=', 'active')
    .orderBy('position')
    .orderBy('created_at')
    .execute();
  const counts = await db
    .selectFrom('snapshot_targets')
    .innerJoin('snapshots', 'snapshots.id', 'snapshot_targets.snapshot_id')
    .select((eb) => [
      'snapshot_targets.target_id',
      eb.fn.countAll<string>().as('snapshot_count'),
      eb.fn.countAll<string>().filterWhere('snapshots.state', '=', 'stored').as('complete_count'),
      eb.fn.sum<string>('snapshots.stored_bytes').as('stored_bytes'),
    ])
    .where('snapshot_targets.state', '=', 'stored')
    .where('snapshots.state', '!=', 'forgotten')
    .groupBy('snapshot_targets.target_id')
    .execute();
  return rows.map((row) => {
    const count = counts.find((candidate) => candidate.target_id === row.id);
    return {
      ...row,
      proven_at: row.proven_at,
      snapshot_count: Number(count?.snapshot_count ?? 0),
      complete_count: Number(count?.complete_count ?? 0),
      stored_bytes: Number(count?.stored_bytes ?? 0),
    };
  });
}

export async function findNewestSnapshot(
  db: Database,
): Promise<Pick<Selectable<Snapshots>, 'id' | 'taken_at' | 'state' | 'size_bytes'> | undefined> {
  return db
    .selectFrom('snapshots')
    .select(['id', 'taken_at', 'state', 'size_bytes'])
    .where('state', '!=', 'forgotten')
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
}

/**
 * On how many of the targets in use the newest snapshot is. One whose run still copies it does not count yet; one that a target's policy
 * let go counts as there.
 */
export async function countNewestCopies(
  db: Database,
): Promise<{ have: number; elsewhere: number } | undefined> {
  const { rows } = await sql<{ have: string; elsewhere: string }>`
    select count(t.id) as have, count(t.id) filter (where not t.same_disk) as elsewhere
    from (
      select id from snapshots s
      where state <> 'forgotten'
        and not exists (select from runs r where r.id = s.run_id and r.state = 'running')
      order by number desc limit 1
    ) newest
    left join snapshot_targets p on p.snapshot_id = newest.id and p.state in ('stored', 'forgotten', 'reduced')
    left join targets t on t.id = p.target_id and t.state = 'active'
    group by newest.id`.execute(db);
  const [row] = rows;
  return row && { have: Number(row.have), elsewhere: Number(row.elsewhere) };
}

export interface ProofFacts extends Pick<
  Selectable<RestoreTests>,
  | 'id'
  | 'snapshot_id'
  | 'snapshot_taken_at'
  | 'finished_at'
  | 'grade'
  | 'key_source'
  | 'rto_ms'
  | 'rpo_ms'
  | 'rto_objective_ms'
  | 'rpo_objective_ms'
> {
  target_name: string;
  same_disk: boolean;
}

/** The newest passed restore test; one of a target elsewhere before one of a local copy. */
export async function findNewestProof(db: Database): Promise<ProofFacts | undefined> {
  return (
    db
      .selectFrom('restore_tests')
      .innerJoin('targets', 'targets.id', 'restore_tests.target_id')
      .select([
        'restore_tests.id',
        'restore_tests.snapshot_id',
        'restore_tests.snapshot_taken_at',
        'restore_tests.finished_at',
        'restore_tests.grade',
        'restore_tests.key_source',
        'restore_tests.rto_ms',
        'restore_tests.rpo_ms',
        'restore_tests.rto_objective_ms',
        'restore_tests.rpo_objective_ms',
        'targets.name as target_name',
        'targets.same_disk',
      ])
      .where('restore_tests.state', '=', 'passed')
      // An older copy that was drawn proves itself, not what would be restored.
      .where(sql<boolean>`not (restore_tests.choice = 'random' and restore_tests.newest is false)`)
      .orderBy('targets.same_disk')
      .orderBy('restore_tests.finished_at', 'desc')
      .limit(1)
      .executeTakeFirst()
  );
}

/**
 * Of each target in use, the newest restore test and the newest verification that came to an end by themselves, where they found something
 * wrong: a good one elsewhere does not mend it.
 */
export async function findDamage(db: Database): Promise<{
  tests: { finishedAt: Date; targetName: string }[];
  verifications: { finishedAt: Date; targetName: string }[];
}> {
  const [tests, verified] = await Promise.all([
    db
      .selectFrom('restore_tests')
      .innerJoin('targets', 'targets.id', 'restore_tests.target_id')
      .distinctOn('restore_tests.target_id')
      .select(['restore_tests.state', 'restore_tests.finished_at', 'targets.name as target_name'])
      .where('restore_tests.state', 'in', ['passed', 'failed'])
      .where('restore_tests.mode', '<>', 'system')
      // One that was cut off, or had no room to unpack, has no report and says nothing about what is stored.
      .where('restore_tests.report_sha256', 'is not', null)
      .where('targets.state', '=', 'active')
      .orderBy('restore_tests.target_id')
      .orderBy('restore_tests.finished_at', 'desc')
      .execute(),
    db
      .selectFrom('targets')
      .leftJoin('target_read_backs', 'target_read_backs.target_id', 'targets.id')
      .select(['name', 'verify_problems'])
      .select(sql<Date | null>`greatest(verified_at, read_at)`.as('found_at'))
      .where('state', '=', 'active')
      .where('verify_problems', '>', 0)
      .orderBy('position')
      .execute(),
  ]);
  return {
    tests: tests.flatMap(({ state, finished_at: finishedAt, target_name: targetName }) =>
      state === 'failed' && finishedAt !== null ? [{ finishedAt, targetName }] : [],
    ),
    verifications: verified.flatMap(({ name: targetName, found_at: finishedAt }) =>
      finishedAt === null ? [] : [{ finishedAt, targetName }],
    ),
  };
}

/** Whether a restore test with the recovery kit ever passed. */
export async function hasPassedRestoreTest(db: Database): Promise<boolean> {
  const row = await db
    .selectFrom('restore_tests')
    .select('id')
    .where('state', '=', 'passed')
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Files as they are now. Counts every file: call it seldom. */
export async function countLiveFiles(db: Database): Promise<{ fileCount: number; sizeBytes: number }> {
  const row = await db
    .selectFrom('nodes')
    .innerJoin('file_versions', (join) =>
      join
        .onRef('file_versions.node_id', '=', 'nodes.id')
        .onRef('file_versions.version', '=', 'nodes.current_version'),
    )
    .select((eb) => [
      eb.fn.countAll<string>().as('count'),
      eb.fn.sum<string>('file_versions.size_bytes').as('bytes'),
    ])
    .executeTakeFirstOrThrow();
  return { fileCount: Number(row.count), sizeBytes: Number(row.bytes) };
}

export interface DayFacts {
  /** `YYYY-MM-DD`, UTC. */
  day: string;
  proven: boolean;
  stored: boolean;
  partial: boolean;
  failed: boolean;
}

/** Days since `from` on which a snapshot was taken or failed. */
export async function listCoverageDays(db: Database, from: Date): Promise<DayFacts[]> {
  const { rows } = await sql<DayFacts>`
    with snapshot_days as (
      select to_char(taken_at at time zone 'UTC', 'YYYY-MM-DD') as day,
        bool_or(exists (select 1 from restore_tests t where t.snapshot_id = s.id and t.state = 'passed')) as proven,
        bool_or(state = 'stored') as stored,
        bool_or(state = 'partial') as partial
      from snapshots s where taken_at >= ${from} and state <> 'forgotten' group by 1
    ), failed_days as (
      select distinct to_char(created_at at time zone 'UTC', 'YYYY-MM-DD') as day
      from runs where kind = 'snapshot' and state = 'failed' and created_at >= ${from}
    )
    select day, coalesce(proven, false) as proven, coalesce(stored, false) as stored,
      coalesce(partial, false) as partial, f is not null as failed
    from snapshot_days full join failed_days f using (day)`.execute(db);
  return rows;
}

/** The newest run of a kind that came to an end; one that a person stopped says nothing. */
export async function findLastEndedRun(
  db: Database,
  kind: RunKind,
): Promise<{ state: string; error: { message?: string; hint?: string } | null } | undefined> {
  const row = await db
    .selectFrom('runs')
    .select(['state', 'error'])
    .where('kind', '=', kind)
    .where('state', 'in', ['succeeded', 'partial', 'failed'])
    .where('finished_at', 'is not', null)
    .orderBy('finished_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && { state: row.state, error: row.error as { message?: string; hint?: string } | null };
}

/** A due test that waits for a kit, with none passed since. */
export async function findTestThatNeedsKit(db: Database): Promise<{ id: string } | undefined> {
  return db
    .selectFrom('restore_tests as waiting')
    .select('waiting.id')
    .where('waiting.state', '=', 'needs-kit')
    .where('waiting.drill', '=', false)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('restore_tests as later')
            .select('later.id')
            .where('later.state', '=', 'passed')
            .whereRef('later.finished_at', '>', 'waiting.created_at'),
        ),
      ),
    )
    .limit(1)
    .executeTakeFirst();
}

/** What the newest passed test of a newest copy took longer for than was aimed at when it ran. */
export async function findMissedObjectives(
  db: Database,
): Promise<{ targetName: string; what: string } | undefined> {
  const row = await db
    .selectFrom('restore_tests')
    .innerJoin('targets', 'targets.id', 'restore_tests.target_id')
    .select(['targets.name', 'rto_ms', 'rpo_ms', 'rto_objective_ms', 'rpo_objective_ms'])
    .where('restore_tests.state', '=', 'passed')
    .where('restore_tests.newest', '=', true)
    .orderBy('restore_tests.finished_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const isMissed = (reached: string | null, objective: string | null): boolean =>
    reached !== null && objective !== null && Number(reached) > Number(objective);
  const what = [
    ...(isMissed(row.rto_ms, row.rto_objective_ms) ? ['the time to restore (RTO)'] : []),
    ...(isMissed(row.rpo_ms, row.rpo_objective_ms) ? ['what may be lost (RPO)'] : []),
  ];
  return what.length === 0 ? undefined : { targetName: row.name, what: what.join(' and ') };
}
