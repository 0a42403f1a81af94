/**
 * What is due when. A row per schedule is the truth: `next_due_at` is moved on in the same transaction that queues the
 * run, so a due run is started once, whichever process looks and however often; one that was missed while the appliance
 * was off is caught up once, not once per missed time.
 */
import { CronExpressionParser } from 'cron-parser';
import type { Selectable } from 'kysely';
import type { Clock } from './clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from './db.ts';
import { HoldfastError } from './errors.ts';
import { checkWorkHours, mayBegin, tellWait, type WorkHours } from './hours.ts';
import type { Logger } from './log.ts';
import type { RunKind } from './run-schema.ts';
import { enqueueRun } from './runs.ts';
import type { JsonObject, Schedules } from './tables.ts';

export type ScheduleName = 'snapshot' | 'restore-test' | 'restore-test-full' | 'restore-drill' | 'verify';

interface ScheduleDeps {
  db: Database;
  clock: Clock;
  log: Logger;
}

/**
 * Daily snapshot at 02:00; a thirtieth of each target read back at 03:00; quick restore test on Sunday at 04:00, full one on the first of a month at 05:00, the drill with the
 * recovery kit on 15 January at 09:00, when people are there; UTC. Off until somebody switches them on.
 */
const DEFAULTS: Record<ScheduleName, { kind: RunKind; cron: string; input: JsonObject }> = {
  snapshot: { kind: 'snapshot', cron: '0 2 * * *', input: {} },
  'restore-test': { kind: 'restore-test', cron: '0 4 * * 0', input: { mode: 'quick' } },
  'restore-test-full': { kind: 'restore-test', cron: '0 5 1 * *', input: { mode: 'full' } },
  'restore-drill': { kind: 'restore-test', cron: '0 9 15 1 *', input: { mode: 'full', drill: true } },
  verify: { kind: 'verify', cron: '0 3 * * *', input: { part: true, days: 30 } },
};

/** Later than this after its time, a run counts as caught up. */
const LATE_MS = 5 * 60_000;

/** None of these runs beside another: what is due of one waits for what is under way of the others. */
const ALONE: readonly RunKind[] = ['snapshot', 'verify', 'prune'];

/** A schedule that would run more often than this is refused. */
const SHORTEST_INTERVAL_MS = 10 * 60_000;

/**
 * The first time after `after` that a five-field cron expression names, in UTC.
 *
 * @throws HoldfastError `invalid_input` for an expression that is not valid or names no time.
 */
export function nextDue(expression: string, after: Date): Date {
  return parseCron(expression, after).next().toDate();
}

/** @throws HoldfastError `invalid_input` when it is not valid, or would run more often than every ten minutes. */
export function checkCron(expression: string, now: Date): void {
  const times = parseCron(expression, now);
  let before = times.next().getTime();
  for (let index = 0; index < 20; index += 1) {
    const time = times.next().getTime();
    if (time - before < SHORTEST_INTERVAL_MS) {
      throw new HoldfastError('invalid_input', 'This schedule would run more often than every ten minutes', {
        hint: 'Choose longer steps, for example every hour: 0 * * * *',
      });
    }
    before = time;
  }
}

function parseCron(expression: string, after: Date) {
  if (expression.trim().split(/\s+/).length !== 5) throw invalidCron(expression);
  try {
    const parsed = CronExpressionParser.parse(expression, { currentDate: after, tz: 'UTC' });
    parsed.hasNext();
    return parsed;
  } catch (error) {
    throw invalidCron(expression, error);
  }
}

function invalidCron(expression: string, cause?: unknown): HoldfastError {
  return new HoldfastError('invalid_input', `Not a cron expression of five fields: ${expression}`, {
    hint: 'Minute, hour, day of month, month, day of week; for example 0 2 * * * for 02:00 UTC each day.',
    cause,
  });
}

/** Makes the rows that are missing. */
export async function ensureSchedules(deps: ScheduleDeps): Promise<void> {
  const rows = await deps.db.selectFrom('schedules').select('name').execute();
  const present = new Set(rows.map((row) => row.name));
  const missing = (Object.keys(DEFAULTS) as ScheduleName[]).filter((name) => !present.has(name));
  if (missing.length === 0) return;
  await writeTransaction(deps.db, async (tx) => {
    for (const name of missing) {
      const { kind, cron, input } = DEFAULTS[name];
      await tx
        .insertInto('schedules')
        .values({ name, kind, cron, input: JSON.stringify(input), enabled: false })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  });
}

/** Changes when a schedule runs; its next time counts from now. What is due already, and waits for its hours, stays due. */
export async function changeSchedule(
  tx: WriteTransaction,
  clock: Clock,
  name: ScheduleName,
  change: {
    cron: string;
    enabled: boolean;
    input?: JsonObject | undefined;
    /** Left out: as they are. */
    hours?: WorkHours | null | undefined;
  },
): Promise<Selectable<Schedules>> {
  checkCron(change.cron, clock.now());
  if (change.hours != null) checkWorkHours(change.hours);
  const now = clock.now();
  const before = await tx
    .selectFrom('schedules')
    .select(['enabled', 'next_due_at'])
    .where('name', '=', name)
    .forUpdate()
    .executeTakeFirst();
  const waits = before?.enabled === true && before.next_due_at !== null && before.next_due_at <= now;
  const dueAt = waits ? before.next_due_at : nextDue(change.cron, now);
  const nextDueAt = change.enabled ? dueAt : null;
  const { kind, input } = DEFAULTS[name];
  const values = {
    ...{ cron: change.cron, enabled: change.enabled, next_due_at: nextDueAt },
    ...(change.input === undefined ? {} : { input: JSON.stringify({ ...input, ...change.input }) }),
    ...(change.hours === undefined
      ? {}
      : { hours: change.hours === null ? null : JSON.stringify(change.hours) }),
  };
  return tx
    .insertInto('schedules')
    .values({ name, kind, input: JSON.stringify(input), ...values })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(values))
    .returningAll()
    .executeTakeFirstOrThrow();
}

export function hoursOf({ hours }: Pick<Selectable<Schedules>, 'hours'>): WorkHours | null {
  return hours as WorkHours | null;
}

/** @returns why what is due by it has not begun; undefined when nothing is due, or its hours do not keep it. */
export function tellScheduleWait(
  row: Pick<Selectable<Schedules>, 'hours' | 'enabled' | 'next_due_at'> | undefined,
  now: Date,
): string | undefined {
  if (row?.enabled !== true || row.next_due_at === null || row.next_due_at > now) return undefined;
  return tellWait(hoursOf(row), now);
}

export async function listSchedules(db: Database): Promise<Selectable<Schedules>[]> {
  return db.selectFrom('schedules').selectAll().orderBy('name', 'desc').execute();
}

/** Queues what is due. @returns the names of what was queued. */
export async function startDueRuns(deps: ScheduleDeps): Promise<string[]> {
  const due = await deps.db
    .selectFrom('schedules')
    .select('name')
    .where('enabled', '=', true)
    .where('next_due_at', '<=', deps.clock.now())
    .orderBy('next_due_at')
    .execute();
  const started: string[] = [];
  for (const { name } of due) {
    if (await startDueRun(deps, name)) started.push(name);
  }
  return started;
}

async function startDueRun(deps: ScheduleDeps, name: string): Promise<boolean> {
  return writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    const row = await tx
      .selectFrom('schedules')
      .selectAll()
      .where('name', '=', name)
      .where('enabled', '=', true)
      .where('next_due_at', '<=', now)
      .forUpdate()
      .skipLocked()
      .executeTakeFirst();
    // It stays due, and is queued with its next hours.
    if (row?.next_due_at == null || !mayBegin(hoursOf(row), now)) return false;
    const open = await tx
      .selectFrom('runs')
      .select('id')
      .where('kind', 'in', besideNone(row.kind))
      .where('state', 'in', ['queued', 'running'])
      .executeTakeFirst();
    // One is under way: the due one waits for the next look, it is not lost.
    if (open !== undefined) return false;
    const late = now.getTime() - row.next_due_at.getTime() > LATE_MS;
    const runId = await enqueueRun(tx, deps.clock, {
      kind: row.kind as RunKind,
      input: row.input as JsonObject,
      cause: late ? 'catch-up' : 'schedule',
    });
    await tx
      .updateTable('schedules')
      .set({ last_due_at: row.next_due_at, next_due_at: nextDue(row.cron, now), last_run_id: runId })
      .where('name', '=', name)
      .execute();
    deps.log.info({ schedule: name, run: runId, late }, 'A scheduled run was queued');
    return true;
  });
}

function besideNone(kind: string): readonly string[] {
  return (ALONE as readonly string[]).includes(kind) ? ALONE : [kind];
}
