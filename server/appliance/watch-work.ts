/** Whether the work that protects the data is done: what alerts look at beside the health of the appliance. */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { listSchedules, tellScheduleWait } from '../lib/schedules.ts';
import { findUnusual, listLateReadBacks } from '../backups/index.ts';
import { checkCapacity, checkOutgoing, checkRuns, ESCALATED_TESTS } from '../monitoring/index.ts';
import { readTestSchedule } from '../restore-tests/index.ts';
import { countUnmanaged } from '../workspaces/index.ts';
import { checkEverything, type OverviewDeps } from './overview.ts';
import {
  findLastEndedRun,
  findMissedObjectives,
  findNewestSnapshot,
  findTestThatNeedsKit,
} from './overview-queries.ts';
import type { HealthCheck } from './schema.ts';
import { isOverdue } from './schedule-state.ts';
import { checkLog } from './watch-log.ts';

type WorkDeps = Pick<OverviewDeps, 'db' | 'clock'>;

/** Everything that an alert is raised for. */
export async function checkForAlerts(deps: OverviewDeps): Promise<HealthCheck[]> {
  return [
    ...(await checkEverything(deps)),
    ...(await checkSnapshots(deps)),
    ...(await checkTests(deps)),
    ...(await checkReadBacks(deps)),
    ...(await checkManagers(deps)),
    ...(await checkOutgoing(deps)),
    ...(await checkRuns(deps)),
    ...(await checkCapacity(deps)),
    ...(await checkLog(deps)),
    ...[(await findUnusual(deps.db)) ?? []].flat(),
  ];
}

/** The last manager may be deactivated or become an auditor, which nobody in the workspace decides. */
async function checkManagers(deps: WorkDeps): Promise<HealthCheck[]> {
  const count = await countUnmanaged(deps.db);
  if (count === 0) return [];
  const message = `${count === 1 ? 'A workspace has' : `${count} workspaces have`} members and no manager who can sign in`;
  const hint = 'See People, Workspaces, and make somebody manager.';
  return [{ name: 'workspaces', state: 'warn', message, hint }];
}

const LONGER_HOURS = 'Start it by hand, which runs at any hour, or give its schedule longer hours.';

async function checkSnapshots(deps: WorkDeps): Promise<HealthCheck[]> {
  const name = 'snapshots';
  const [schedule, newest, last] = [
    (await listSchedules(deps.db)).find((row) => row.name === 'snapshot'),
    await findNewestSnapshot(deps.db),
    await findLastEndedRun(deps.db, 'snapshot'),
  ];
  const checks: HealthCheck[] = [];
  const now = deps.clock.now();
  const facts = schedule && {
    enabled: schedule.enabled,
    nextDueAt: schedule.next_due_at,
    lastDueAt: schedule.last_due_at,
  };
  if (last?.state === 'failed')
    checks.push({
      name,
      state: 'bad',
      message: `The last snapshot failed: ${last.error?.message ?? 'see its log'}`,
      hint: last.error?.hint ?? 'The log of the run says more. Take one again when the cause is gone.',
    });
  const waits = tellScheduleWait(schedule, now);
  if (isOverdue(facts, newest?.taken_at ?? null, now))
    checks.push({
      name,
      state: 'bad',
      message: `The last due snapshot was not taken${waits === undefined ? '' : `: ${waits}`}`,
      hint: waits === undefined ? 'Look at the runs, and take one now.' : LONGER_HOURS,
    });
  if (last?.state === 'partial')
    checks.push({
      name,
      state: 'warn',
      message: last.error?.message ?? 'The newest snapshot is partial',
      hint: last.error?.hint ?? 'Its page lists what it lacks.',
    });
  // Somebody may not want one; then nothing is due, and nobody would ever hear of it.
  if (schedule?.enabled === false && newest !== undefined)
    checks.push({
      name,
      state: 'warn',
      message: 'Snapshots are not taken by themselves',
      hint: 'Switch the schedule on, under Settings, Schedules.',
    });
  return checks;
}

async function checkReadBacks(deps: WorkDeps): Promise<HealthCheck[]> {
  return (await listLateReadBacks(deps)).map(({ name, days, done, closedAt, waits }) => ({
    name: `reading back ${name}`,
    state: 'warn',
    message: `Not every byte on it was read back within ${days === 1 ? 'a day' : `${String(days)} days`}: ${String(done)} of ${String(days)} parts were, ${closedAt === null ? 'and all of it never' : `and all of it last on ${closedAt.toISOString().slice(0, 10)}`}${waits === undefined ? '' : `; ${waits}`}`,
    hint: 'See the runs of kind verify: the target may have been away, or a part takes too long. More days make smaller parts (Settings, Schedules).',
  }));
}

async function checkTests(deps: { db: Database; clock: Clock }): Promise<HealthCheck[]> {
  const checks: HealthCheck[] = [];
  const { overdue, schedules } = await readTestSchedule(deps);
  const waits = schedules.find((one) => one.overdue && one.waits !== null)?.waits;
  if (overdue)
    checks.push({
      name: 'restore tests',
      state: 'bad',
      message: `The last due restore test did not pass in time${waits == null ? '' : `: ${waits}`}`,
      hint: waits == null ? 'Start one, or see the log of the last.' : LONGER_HOURS,
    });
  const waiting = await findTestThatNeedsKit(deps.db);
  if (waiting !== undefined)
    checks.push({
      name: 'restore tests',
      state: 'warn',
      message: 'A restore test is due, and only a recovery kit opens the backups',
      hint: 'Start a restore test with the kit.',
    });
  const missed = await findMissedObjectives(deps.db);
  if (missed !== undefined)
    checks.push({
      name: 'restore objectives',
      state: 'warn',
      message: `The newest restore test, of ${missed.targetName}, missed ${missed.what}`,
      hint: 'Its report has the times. Take snapshots more often, use a quicker target, or change the objective.',
    });
  return [
    ...checks,
    ...checkEscalated(schedules),
    ...checkDrill(schedules.find(({ name }) => name === 'restore-drill')),
  ];
}

/** An alert of its own: whoever took care of the other one does not keep owners from hearing of this. */
function checkEscalated(schedules: Awaited<ReturnType<typeof readTestSchedule>>['schedules']): HealthCheck[] {
  return schedules.flatMap(({ name, escalatedSince }) => {
    if (escalatedSince === null) return [];
    const kind = name === 'restore-test-full' ? 'full' : 'quick';
    const message = `No ${kind} restore test has passed since one was due on ${escalatedSince.slice(0, 10)}: whether the backups can be restored is not known`;
    const hint =
      'Start one, and see the log of the last. Owners are told, and only an owner takes care of this alert.';
    return [{ name: ESCALATED_TESTS[kind], state: 'bad', message, hint }];
  });
}

/** First it is asked for, of administrators (`remindOfKit`); when it is overdue this is told to everybody who is told of problems. */
function checkDrill(
  drill: Awaited<ReturnType<typeof readTestSchedule>>['schedules'][number] | undefined,
): HealthCheck[] {
  const name = 'recovery drill';
  const hint = 'Start a full restore test with the recovery kit.';
  if (drill?.overdue === true) {
    const message = 'The yearly recovery drill did not pass within two weeks after it was due';
    return [{ name, state: 'bad', message, hint }];
  }
  if (drill?.waitsForKit !== true) return [];
  return [{ name, state: 'warn', message: 'The yearly recovery drill is due', hint }];
}
