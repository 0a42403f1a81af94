/** Daily: who has something due is told before and after; owners are told once that something is overdue. */
import { writeTransaction } from '../../lib/db.ts';
import { queueMail } from '../../mail/index.ts';
import { reminderDue } from '../access-reviews/review-times.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { listOwnerIds } from '../people/queries.ts';
import { openEntries } from './list-entries.ts';
import { getRegisterSettings, listEntryRows, noteReminded } from './queries.ts';
import type { RegisterEntry } from './schema.ts';

const MOST_IN_A_MAIL = 40;

export async function remindOfRegisters(deps: PersonLifeDeps): Promise<void> {
  const { remind_days: days } = await getRegisterSettings(deps.db);
  const now = deps.clock.now();
  const told = new Map(
    (await listEntryRows(deps.db)).map((row) => [row.id, row.reminded_at ?? row.created_at]),
  );
  const before = [days, 7, 1].filter((one) => one > 0 && one <= days);
  const due = (await openEntries(deps)).filter(
    ({ id, dueOn, state }) =>
      (state === 'soon' || state === 'overdue') &&
      // The day after is the first on which it is late.
      reminderDue(dayAfter(dueOn ?? ''), told.get(id) ?? now, now, before),
  );
  if (due.length === 0) return;
  await writeTransaction(deps.db, async (tx) => {
    await noteReminded(
      tx,
      due.map(({ id }) => id),
      now,
    );
    for (const [userId, entries] of Map.groupBy(due, (entry) => entry.person.id)) {
      await queueMail(tx, deps, {
        ...{ to: { userId }, template: 'register-due' },
        data: {
          entries: entries.slice(0, MOST_IN_A_MAIL).map(toLine),
          more: Math.max(0, entries.length - MOST_IN_A_MAIL),
        },
      });
    }
    const late = due.filter(
      ({ id, state, dueOn }) => state === 'overdue' && isNew(told.get(id), dueOn),
    ).length;
    for (const userId of late === 0 ? [] : await listOwnerIds(tx)) {
      await queueMail(tx, deps, { to: { userId }, template: 'register-overdue', data: { count: late } });
    }
  });
}

function isNew(told: Date | undefined, dueOn: string | null): boolean {
  return told === undefined || told < dayAfter(dueOn ?? '');
}

function dayAfter(day: string): Date {
  return new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000);
}

const toLine = ({ kind, what, dueOn, state }: RegisterEntry) => ({
  ...{ kind, what, dueOn: dueOn ?? '', overdue: state === 'overdue' },
});
