/** When a review begins by itself, and when somebody is reminded. */
import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../../lib/db.ts';
import { findFirstJoined, findOpenReview, getReviewSettings, listReviewRows } from './queries.ts';

const DAY_MS = 86_400_000;
const AFTER_WITHDRAWAL_DAYS = 30;
/** Before the due date, in days; afterwards once a week. */
const REMINDED_BEFORE_DAYS = [7, 1];

/** When the next one begins by itself; undefined: never, or one is open. */
export async function nextReviewAt(deps: { db: Database; clock: Clock }): Promise<Date | undefined> {
  const { every_months: months } = await getReviewSettings(deps.db);
  if (months === 0 || (await findOpenReview(deps.db)) !== undefined) return undefined;
  const rows = await listReviewRows(deps.db);
  const last = rows.find((row) => row.state === 'signed');
  const from = last?.started_at ?? (await findFirstJoined(deps.db));
  if (from === undefined) return undefined;
  const dueAt = addMonths(from, months);
  // A withdrawn one has confirmed nothing; who withdrew it has some time before the next begins by itself.
  const withdrawnAt = rows[0]?.withdrawn_at?.getTime() ?? 0;
  return new Date(Math.max(dueAt.getTime(), withdrawnAt + AFTER_WITHDRAWAL_DAYS * DAY_MS));
}

/** Whether a time to remind lies after the last reminder and is come. Several that were missed are one. */
export function reminderDue(
  dueAt: Date,
  last: Date,
  now: Date,
  beforeDays: readonly number[] = REMINDED_BEFORE_DAYS,
): boolean {
  const due = dueAt.getTime();
  const times = beforeDays.map((days) => due - days * DAY_MS);
  const weeks = Math.floor((now.getTime() - due) / (7 * DAY_MS));
  if (weeks >= 0) times.push(due + weeks * 7 * DAY_MS);
  return times.some((time) => time > last.getTime() && time <= now.getTime());
}

/** The same day so many months later, or the last one of that month. */
export function addMonths(from: Date, months: number): Date {
  const to = new Date(from);
  to.setUTCDate(1);
  to.setUTCMonth(to.getUTCMonth() + months);
  const days = new Date(Date.UTC(to.getUTCFullYear(), to.getUTCMonth() + 1, 0)).getUTCDate();
  to.setUTCDate(Math.min(from.getUTCDate(), days));
  return to;
}
