/** How schedules read in the browser: lines that a person chose, and those that only an expert writes. */
import { expect, test } from 'vitest';
import { cronOf, nextRuns, parseCron, shiftPlan } from '../../web/lib/cron.ts';

test.each([
  ['5 * * * *', 'hour'],
  ['0 2 * * *', 'day'],
  ['0 4 * * 0', 'week'],
  ['0 5 1 * *', 'month'],
  ['0 9 15 1 *', 'year'],
  ['0 9 31 1 *', 'custom'],
  ['0 9 15 13 *', 'custom'],
  ['0 9 15 1 1', 'custom'],
  ['*/5 * * * *', 'custom'],
  ['0 2 * * 1-5', 'custom'],
])('%s is of each %s, and stays what it is', (cron, every) => {
  const plan = parseCron(cron);

  expect(plan.every).toBe(every);
  expect(cronOf(plan)).toBe(cron);
});

test('a yearly plan says its next three days, and is the same on every clock', () => {
  const plan = parseCron('0 9 28 2 *');

  const found = nextRuns(plan, Date.UTC(2026, 10, 23), 3).map((date) => date.toISOString());

  expect(found).toEqual(['2027-02-28T09:00:00.000Z', '2028-02-28T09:00:00.000Z', '2029-02-28T09:00:00.000Z']);
  expect(shiftPlan(plan, 60)).toEqual(plan);
});
