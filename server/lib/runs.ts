/**
 * Long work as rows: queued by whoever wants it, taken by the worker, watched by anyone. A row is the truth about its
 * run; notifications only save waiting. At most one run of a kind is open unless the kind allows more.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { sql, type Selectable } from 'kysely';
import type { Clock } from './clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from './db.ts';
import { HoldfastError } from './errors.ts';
import type { Run, RunKind, RunLogLine, RunProgress, RunState } from './run-schema.ts';
import type { Problem } from './shapes.ts';
import type { JsonObject, Runs } from './tables.ts';

/** Channel on which every change of a run is announced; the payload is the run's id. */
export const RUN_CHANNEL = 'holdfast_run';

export const FINAL_STATES: readonly RunState[] = ['succeeded', 'partial', 'failed', 'cancelled'];

/** One of them at a time: the worker's other place is for backups, and for the single file that somebody waits for. */
export const LONG_RESTORES: readonly RunKind[] = ['restore-folder', 'restore-directory', 'restore-test'];

/** What brings back what was stored. */
export const RESTORE_KINDS: readonly RunKind[] = ['restore-file', ...LONG_RESTORES];

/** Lines kept of a run's log; later ones are dropped, and the last line says so. */
const MAX_LOG_LINES = 5_000;

export interface NewRun {
  kind: RunKind;
  input?: JsonObject;
  cause: Run['cause'];
  requestedBy?: string | undefined;
  /** Given when the caller must know it before, for example to lend a key to the run. */
  id?: string;
}

/** What a run function is given. */
export interface RunContext {
  runId: string;
  kind: RunKind;
  input: JsonObject;
  cause: Run['cause'];
  requestedBy: string | undefined;
  signal: AbortSignal;
  /** Cheap: written at most twice a second. */
  report(progress: RunProgress): void;
  step(name: string): Promise<void>;
  log(level: RunLogLine['level'], message: string): Promise<void>;
}

/** How a run ended, apart from throwing (`failed`) and being cancelled. */
export interface RunOutcome {
  state: 'succeeded' | 'partial' | 'failed';
  result: JsonObject;
  error?: Problem;
}

/** @throws HoldfastError `wrong_state` when a run of that kind is open. */
export async function enqueueRun(tx: WriteTransaction, clock: Clock, run: NewRun): Promise<string> {
  const open = await findOpenRun(tx, run.kind);
  if (open !== undefined) {
    throw new HoldfastError('wrong_state', `A ${run.kind} is under way already`, {
      hint: 'Wait for it to end, or cancel it, then try again.',
      detail: open,
    });
  }
  const id = run.id ?? randomUUID();
  await tx
    .insertInto('runs')
    .values({
      id,
      kind: run.kind,
      state: 'queued',
      input: JSON.stringify(run.input ?? {}),
      cause: run.cause,
      requested_by: run.requestedBy ?? null,
      created_at: clock.now(),
    })
    .execute();
  await announce(tx, id);
  return id;
}

/** Id of the run of that kind that is queued or under way. */
export async function findOpenRun(db: Database, kind: RunKind): Promise<string | undefined> {
  const row = await db
    .selectFrom('runs')
    .select('id')
    .where('kind', '=', kind)
    .where('state', 'in', ['queued', 'running'])
    .executeTakeFirst();
  return row?.id;
}

/** The newest of its kind, however it ended. */
export async function findLastRun(
  db: Database,
  kind: RunKind,
): Promise<{ createdAt: Date; input: JsonObject } | undefined> {
  const row = await db
    .selectFrom('runs')
    .select(['created_at', 'input'])
    .where('kind', '=', kind)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && { createdAt: row.created_at, input: row.input as JsonObject };
}

export function toRun(row: Selectable<Runs>): Run {
  return {
    id: row.id,
    kind: row.kind as RunKind,
    state: row.state as RunState,
    cause: row.cause as Run['cause'],
    step: row.step,
    progress: row.progress as RunProgress,
    result: row.result as Run['result'],
    error: row.error as Run['error'],
    createdAt: row.created_at.toISOString(),
    startedAt: row.started_at?.toISOString() ?? null,
    finishedAt: row.finished_at?.toISOString() ?? null,
    cancelRequested: row.cancel_requested_at !== null,
    progressedAt: row.progressed_at?.toISOString() ?? null,
    stoppedBecause: row.stopped_because,
  };
}

export async function findRun(db: Database, id: string): Promise<Run | undefined> {
  const row = await db.selectFrom('runs').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toRun(row);
}

export async function getRun(db: Database, id: string): Promise<Run> {
  const run = await findRun(db, id);
  if (run === undefined) throw new HoldfastError('not_found', 'There is no such run');
  return run;
}

interface RunFilter {
  kind?: RunKind | undefined;
  state?: RunState | undefined;
  open?: boolean;
  limit: number;
}

export async function listRuns(db: Database, filter: RunFilter): Promise<Run[]> {
  let query = db.selectFrom('runs').selectAll().orderBy('created_at', 'desc').limit(filter.limit);
  if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind);
  if (filter.state !== undefined) query = query.where('state', '=', filter.state);
  if (filter.open) query = query.where('state', 'in', ['queued', 'running']);
  return (await query.execute()).map(toRun);
}

export async function listRunLog(db: Database, runId: string, afterNumber = 0): Promise<RunLogLine[]> {
  const rows = await db
    .selectFrom('run_log')
    .selectAll()
    .where('run_id', '=', runId)
    .where('number', '>', afterNumber)
    .orderBy('number')
    .limit(MAX_LOG_LINES)
    .execute();
  return rows.map((row) => ({
    number: row.number,
    at: row.at.toISOString(),
    level: row.level as RunLogLine['level'],
    message: row.message,
  }));
}

/** Takes the oldest queued run whose turn it is, or undefined. Safe for several workers. */
export async function takeQueuedRun(db: Database, clock: Clock): Promise<Selectable<Runs> | undefined> {
  return writeTransaction(db, async (tx) => {
    const result = await sql<Selectable<Runs>>`
      update runs set state = 'running', started_at = ${clock.now()}, heartbeat_at = ${clock.now()}, progressed_at = ${clock.now()}
      where id = (
        select id from runs where state = 'queued'
          and not (kind = any(${LONG_RESTORES}) and exists (
            select from runs as other where other.state = 'running' and other.kind = any(${LONG_RESTORES})
          ))
        order by created_at limit 1 for update skip locked
      ) returning *`.execute(tx);
    const row = result.rows[0];
    if (row !== undefined) await announce(tx, row.id);
    return row;
  });
}

/** Ends runs that a crash left open. */
export async function failInterruptedRuns(db: Database, clock: Clock): Promise<string[]> {
  return writeTransaction(db, async (tx) => {
    const rows = await tx
      .updateTable('runs')
      .set({
        state: 'failed',
        finished_at: clock.now(),
        error: JSON.stringify({
          code: 'unavailable',
          message: 'The appliance stopped while this was running',
          hint: 'Nothing that was stored is lost. Start it again; what is already there is used.',
        }),
      })
      .where('state', '=', 'running')
      .returning('id')
      .execute();
    for (const row of rows) await announce(tx, row.id);
    return rows.map((row) => row.id);
  });
}

export async function requestCancel(tx: WriteTransaction, clock: Clock, id: string): Promise<void> {
  const row = await tx.selectFrom('runs').select('state').where('id', '=', id).forUpdate().executeTakeFirst();
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such run');
  if (FINAL_STATES.includes(row.state as RunState)) {
    throw new HoldfastError('wrong_state', 'This run has ended already');
  }
  const queued = row.state === 'queued';
  await tx
    .updateTable('runs')
    .set({
      cancel_requested_at: clock.now(),
      ...(queued ? { state: 'cancelled', finished_at: clock.now() } : {}),
    })
    .where('id', '=', id)
    .execute();
  await announce(tx, id);
}

/** Records how a run ended; only the first ending counts. */
export async function finishRun(
  db: Database,
  clock: Clock,
  id: string,
  outcome: { state: RunState; result?: JsonObject; error?: Problem },
): Promise<void> {
  await writeTransaction(db, async (tx) => {
    await tx
      .updateTable('runs')
      .set({
        state: outcome.state,
        finished_at: clock.now(),
        result: outcome.result === undefined ? null : JSON.stringify(outcome.result),
        error: outcome.error === undefined ? null : JSON.stringify(outcome.error),
      })
      .where('id', '=', id)
      .where('state', 'in', ['queued', 'running'])
      .execute();
    await announce(tx, id);
  });
}

/** A database that was killed or whose disk was full is back by then, or the appliance has other worries. */
const SETTLE_MS = 120_000;

/** As `finishRun`, through a restart of PostgreSQL: a run whose end is not recorded would count as running for ever. */
export async function settleRun(...ending: Parameters<typeof finishRun>): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    try {
      return await finishRun(...ending);
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(1_000);
    }
  }
}

export async function updateRun(
  db: Database,
  clock: Clock,
  id: string,
  change: { step?: string; progress?: RunProgress },
): Promise<{ cancelRequested: boolean }> {
  const now = clock.now();
  const progress = change.progress === undefined ? undefined : JSON.stringify(change.progress);
  return writeTransaction(db, async (tx) => {
    const row = await tx
      .updateTable('runs')
      .set({
        heartbeat_at: now,
        ...(progress === undefined
          ? {}
          : {
              progress,
              // Saying the same again is no progress.
              progressed_at: sql<Date | null>`case when progress is distinct from ${progress}::jsonb then ${now} else progressed_at end`,
            }),
        ...(change.step === undefined ? {} : { step: change.step, progressed_at: now }),
      })
      .where('id', '=', id)
      .returning('cancel_requested_at')
      .executeTakeFirst();
    await announce(tx, id);
    return { cancelRequested: row?.cancel_requested_at != null };
  });
}

export async function appendRunLog(
  db: Database,
  clock: Clock,
  id: string,
  line: Omit<RunLogLine, 'number' | 'at'>,
): Promise<void> {
  await writeTransaction(db, async (tx) => {
    await sql`
    insert into run_log (run_id, number, at, level, message)
    select ${id}, n, ${clock.now()}, ${line.level},
      case when n = ${MAX_LOG_LINES} then 'further lines are not kept' else ${line.message.slice(0, 2_000)} end
    from (select coalesce(max(number), 0) + 1 as n from run_log where run_id = ${id}) as next
    where n <= ${MAX_LOG_LINES}`.execute(tx);
    await tx.updateTable('runs').set({ progressed_at: clock.now() }).where('id', '=', id).execute();
    await announce(tx, id);
  });
}

async function announce(tx: WriteTransaction, id: string): Promise<void> {
  await sql`select pg_notify(${RUN_CHANNEL}, ${id})`.execute(tx);
}
