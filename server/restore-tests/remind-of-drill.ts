/**
 * Hourly: who is to do a drill that is due. Administrators first, each week; when it is overdue the alert `recovery drill` tells owners
 * too, with the reminders of alerts.
 */
import { listAdminIds, listOwnerIds, type PeopleDeps } from '../identity/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { queueMail } from '../mail/index.ts';
import { lockWaitingDrill, noteReminded } from './queries.ts';
import { readTestSchedules } from './test-schedules.ts';

const EVERY_MS = 7 * 24 * 3_600_000;

/** @returns how many people were told. */
export async function remindOfDrill(deps: PeopleDeps): Promise<number> {
  const drill = (await readTestSchedules(deps)).find(({ name }) => name === 'restore-drill');
  if (drill?.waitsForKit !== true || drill.overdue) return 0;
  const now = deps.clock.now();
  return writeTransaction(deps.db, async (tx) => {
    const waiting = await lockWaitingDrill(tx);
    const told = waiting?.reminded_at ?? null;
    // A clock that was set back must not keep it quiet: the distance counts.
    if (waiting === undefined || (told !== null && Math.abs(now.getTime() - told.getTime()) < EVERY_MS))
      return 0;
    const admins = await listAdminIds(tx);
    const people = admins.length > 0 ? admins : await listOwnerIds(tx);
    const line = {
      event: told === null ? ('raised' as const) : ('reminded' as const),
      ...{ state: 'warn' as const, name: 'recovery drill' },
      message: 'The yearly recovery drill is due',
      hint: 'Start a full restore test with the recovery kit, under Restore tests. Two weeks after it was due owners are told too.',
      since: waiting.created_at.toISOString(),
    };
    for (const userId of people)
      await queueMail(tx, deps, { to: { userId }, template: 'alert', data: { lines: [line], more: 0 } });
    await noteReminded(tx, waiting.id, now);
    return people.length;
  });
}
