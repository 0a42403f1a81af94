/**
 * Hourly: who is to fetch a kit for a test that is due. Administrators first, again and again; when it is overdue the alerts `recovery drill`
 * and `restore tests` tell owners too, with the reminders of alerts.
 */
import { listAdminIds, listOwnerIds, type PeopleDeps } from '../identity/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { queueMail } from '../mail/index.ts';
import { listTestSchedules, lockWaiting, noteReminded, type TestSchedule } from './queries.ts';
import { isDrill, readTestSchedules, waitingKind } from './test-schedules.ts';

const DAY_MS = 24 * 3_600_000;

/** What is said, and how long until it is said again. */
const REMINDERS = {
  drill: {
    everyMs: 7 * DAY_MS,
    name: 'recovery drill',
    message: 'The yearly recovery drill is due',
    hint: 'Start a full restore test with the recovery kit, under Restore tests. Two weeks after it was due owners are told too.',
  },
  test: {
    everyMs: 3 * DAY_MS,
    name: 'restore tests',
    message: 'A restore test is due, and this appliance is write-only: only a recovery kit opens the backups',
    hint: 'Start one with the kit, under Restore tests. A week after it was due it is overdue, and owners are told too.',
  },
} as const;

/** @returns how many mails were sent. */
export async function remindOfKit(deps: PeopleDeps): Promise<number> {
  const states = await readTestSchedules(deps);
  let told = 0;
  for (const schedule of await listTestSchedules(deps.db)) {
    const state = states.find(({ name }) => name === schedule.name);
    if (state?.waitsForKit === true && !state.overdue) told += await remindOf(deps, schedule);
  }
  return told;
}

async function remindOf(deps: PeopleDeps, schedule: TestSchedule): Promise<number> {
  const { everyMs, ...words } = REMINDERS[isDrill(schedule) ? 'drill' : 'test'];
  const now = deps.clock.now();
  return writeTransaction(deps.db, async (tx) => {
    const waiting = await lockWaiting(tx, waitingKind(schedule));
    const told = waiting?.reminded_at ?? null;
    // A clock that was set back must not keep it quiet: the distance counts.
    if (waiting === undefined || (told !== null && Math.abs(now.getTime() - told.getTime()) < everyMs))
      return 0;
    const admins = await listAdminIds(tx);
    const people = admins.length > 0 ? admins : await listOwnerIds(tx);
    const line = {
      event: told === null ? ('raised' as const) : ('reminded' as const),
      state: 'warn' as const,
      ...words,
      since: waiting.created_at.toISOString(),
    };
    for (const userId of people)
      await queueMail(tx, deps, { to: { userId }, template: 'alert', data: { lines: [line], more: 0 } });
    await noteReminded(tx, waiting.id, now);
    return people.length;
  });
}
