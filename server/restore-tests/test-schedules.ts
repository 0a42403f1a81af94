/** What tests are due by the schedules, and whether the last due ones happened. */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { tellWait } from '../lib/hours.ts';
import {
  findFirstDueAfter,
  findLastPassedAt,
  findWaitingSince,
  listTestSchedules,
  type TestSchedule,
  type WaitingKind,
} from './queries.ts';
import type { TestScheduleState } from './schema.ts';

const DAY_MS = 24 * 3_600_000;
/** A due test may take this long to have run. */
const OVERDUE_GRACE_MS = DAY_MS;
/** People have to come together for a drill. */
const DRILL_GRACE_MS = 14 * DAY_MS;
/** And a kit has to be fetched for a test that the appliance cannot do itself. */
export const KIT_GRACE_MS = 7 * DAY_MS;

/** Overdue for so long, it goes up to the owners: another weekly one was missed, or half of a month went by without a full one. */
const ESCALATE_MS = { quick: 7 * DAY_MS, full: 14 * DAY_MS };

type ScheduleDeps = { db: Database; clock: Clock };

/** Every schedule of tests that is on, in the order of their names. */
export async function readTestSchedules(deps: ScheduleDeps): Promise<TestScheduleState[]> {
  const schedules = (await listTestSchedules(deps.db)).filter(({ enabled }) => enabled);
  const now = deps.clock.now();
  return Promise.all(schedules.map((schedule) => stateOf(deps.db, schedule, now)));
}

async function stateOf(db: Database, schedule: TestSchedule, now: Date): Promise<TestScheduleState> {
  const drill = isDrill(schedule);
  const full = schedule.input.mode === 'full';
  const lastPassedAt = await findLastPassedAt(db, {
    ...(full ? { mode: 'full' } : {}),
    ...(drill ? { keySource: 'recovery-kit' } : {}),
  });
  const waitingSince = await findWaitingSince(db, lastPassedAt, waitingKind(schedule));
  return {
    name: schedule.name,
    nextDueAt: schedule.nextDueAt?.toISOString() ?? null,
    lastPassedAt: lastPassedAt?.toISOString() ?? null,
    overdue:
      drill || waitingSince === undefined
        ? isOverdue(schedule, lastPassedAt, now, drill ? DRILL_GRACE_MS : OVERDUE_GRACE_MS)
        : isWaitOverdue(schedule, waitingSince, now),
    waitsForKit: waitingSince !== undefined,
    escalatedSince: drill
      ? null
      : await findEscalation(db, schedule, { lastPassedAt, waits: waitingSince !== undefined, now }),
    waits: tellDueWait(schedule, now),
  };
}

/**
 * By the first that fell due since one passed: a test that fails each week is due anew each week, and would never be late for longer.
 *
 * @returns since when one is missing, when that is long enough for owners.
 */
async function findEscalation(
  db: Database,
  schedule: TestSchedule,
  { lastPassedAt, waits, now }: { lastPassedAt: Date | undefined; waits: boolean; now: Date },
): Promise<string | null> {
  const mode = schedule.input.mode === 'full' ? 'full' : 'quick';
  const { nextDueAt } = schedule;
  // Nobody queued it, as when it waits for its hours.
  const unqueued = nextDueAt !== null && nextDueAt <= now ? nextDueAt : undefined;
  const since = (await findFirstDueAfter(db, lastPassedAt, mode)) ?? unqueued;
  if (since === undefined) return null;
  const graceMs = (waits ? KIT_GRACE_MS : OVERDUE_GRACE_MS) + ESCALATE_MS[mode];
  return now.getTime() - since.getTime() > graceMs ? since.toISOString() : null;
}

function tellDueWait({ nextDueAt, hours }: TestSchedule, now: Date): string | null {
  return nextDueAt === null || nextDueAt > now ? null : (tellWait(hours, now) ?? null);
}

/** It is due again and again while it waits: what counts is since when. Nobody queueing it is overdue as ever. */
function isWaitOverdue({ nextDueAt }: TestSchedule, since: Date, now: Date): boolean {
  if (now.getTime() - since.getTime() > KIT_GRACE_MS) return true;
  return isOverdue({ nextDueAt, lastDueAt: null }, undefined, now);
}

export function waitingKind(schedule: Pick<TestSchedule, 'input'>): WaitingKind {
  return { drill: isDrill(schedule), mode: schedule.input.mode === 'full' ? 'full' : 'quick' };
}

/** Only a person with the kit does one. */
export function isDrill({ input }: Pick<TestSchedule, 'input'>): boolean {
  return input.drill === true;
}

/** When a test that runs by itself is due next, and whether the last due one is missing. */
export async function readTestSchedule(
  deps: ScheduleDeps,
): Promise<{ nextDueAt: string | null; overdue: boolean; schedules: TestScheduleState[] }> {
  const schedules = await readTestSchedules(deps);
  const own = schedules.filter(({ name }) => name !== 'restore-drill');
  const [nextDueAt = null] = own.flatMap((schedule) => schedule.nextDueAt ?? []).sort();
  return { nextDueAt, overdue: own.some(({ overdue }) => overdue), schedules };
}

/**
 * Due, and not passed since, some time after it was due; also when the time it was due has gone by without anyone queueing it. A test
 * that failed or waits for a kit does not count. Pure.
 */
export function isOverdue(
  schedule: { nextDueAt: Date | null; lastDueAt: Date | null },
  lastPassedAt: Date | undefined,
  now: Date,
  graceMs = OVERDUE_GRACE_MS,
): boolean {
  const due = [schedule.lastDueAt, schedule.nextDueAt]
    .filter((at) => at !== null)
    .filter((at) => now.getTime() - at.getTime() > graceMs);
  return due.some((at) => lastPassedAt === undefined || lastPassedAt < at);
}
