/** Work that nobody asked for begins in the hours that were set for it, waits aloud outside of them, and by hand it runs at any hour. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { applyRetentionWhenDue, goOnReadingBack } from '../../server/backups/index.ts';
import type { Schedule, TargetReply } from '../../server/backups/schema.ts';
import type { WorkHours } from '../../server/lib/hours.ts';
import { startDueRuns } from '../../server/lib/schedules.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { atNext } from '../helpers/at-next.ts';
import {
  addSecondTarget,
  catchUp,
  holdersOf,
  requestCopy,
  setRule,
  showTarget,
  type SecondTarget,
} from '../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const HOUR_MS = 3_600_000;
const KEEP_MANY = {
  kind: 'rules',
  ...{ last: 99, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
  ...{ minimumCount: 1, maximumAgeDays: null, timeZone: 'UTC' },
};
const DAYS = [1, 2, 3, 4, 5, 6, 7];
let appliance: StockedAppliance;
let second: SecondTarget;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  second = await addSecondTarget(appliance, 'second');
  await catchUp(appliance);
});
afterAll(() => appliance.close());
beforeEach(async () => {
  await appliance.deps.db.updateTable('targets').set({ work_hours: null }).execute();
  await appliance.deps.db.updateTable('schedules').set({ hours: null, enabled: false }).execute();
});

const inHours = (hours: number) => new Date(appliance.clock.now().getTime() + hours * HOUR_MS);
const clockAt = (hours: number) => inHours(hours).toISOString().slice(11, 16);
/** The owner stays signed in. */
async function pass(hours: number): Promise<void> {
  appliance.clock.offsetMs += hours * HOUR_MS;
  const now = appliance.clock.now();
  await appliance.deps.db
    .updateTable('sessions')
    .set({ last_seen_at: now, authenticated_at: now, renewed_at: now })
    .set({ idle_expires_at: inHours(1), absolute_expires_at: inHours(10) })
    .execute();
}
/** Every day, from and until so many hours from now. */
const between = (from: number, to: number): WorkHours => ({
  windows: [{ from: clockAt(from), to: clockAt(to), days: DAYS }],
  timeZone: 'UTC',
});
const CLOSED = () => between(3, 5);
const put = (hours: unknown, id = second.id) =>
  appliance.owner.call<TargetReply>('PUT', `/targets/${id}/work-hours`, { hours });
const putSchedule = (name: string, change: object) =>
  appliance.owner.call<Schedule>('PUT', `/schedules/${name}`, {
    cron: '0 * * * *',
    enabled: true,
    ...change,
  });
const alerts = async (name: string) =>
  (await checkForAlerts(appliance.deps)).filter((one) => one.name === name);
const queued = async () =>
  appliance.deps.db.selectFrom('runs').select('kind').where('state', '=', 'queued').execute();
const cancelQueued = () =>
  appliance.deps.db
    .updateTable('runs')
    .set({ state: 'cancelled', finished_at: appliance.clock.now() })
    .where('state', '=', 'queued')
    .execute();
/** As if its time had come so many hours ago. */
const due = (name: string, hoursAgo: number) =>
  appliance.deps.db
    .updateTable('schedules')
    .set({ enabled: true, next_due_at: inHours(-hoursAgo), last_due_at: inHours(-hoursAgo - 24) })
    .where('name', '=', name)
    .execute();
const more = () => appliance.upload(`${randomUUID()}.bin`, randomBytes(300_000));
/** A snapshot that the schedule asks for. */
async function scheduledSnapshot() {
  await due('snapshot', 0);
  expect(await startDueRuns(appliance.deps)).toEqual(['snapshot']);
  return appliance.performRun();
}

describe('hours', () => {
  test.each([
    { windows: [], timeZone: 'UTC' },
    { windows: [{ from: '02:00', to: '02:30', days: DAYS }], timeZone: 'UTC' },
    { windows: [{ from: '24:00', to: '02:30', days: DAYS }], timeZone: 'UTC' },
    { windows: [{ from: '22:00', to: '02:30', days: [] }], timeZone: 'UTC' },
    { windows: [{ from: '22:00', to: '02:30', days: [8] }], timeZone: 'UTC' },
    { windows: [{ from: '22:00', to: '02:30', days: DAYS }], timeZone: 'Europe/Nowhere' },
    { windows: Array(8).fill({ from: '22:00', to: '02:30', days: DAYS }), timeZone: 'UTC' },
  ])('that make no sense are refused: %j', async (hours) => {
    expect((await put(hours)).status).toBe(400);
    expect((await putSchedule('snapshot', { hours })).status).toBe(400);
    expect((await showTarget(appliance, second.id)).workHours).toBeNull();
  });

  test('are shown, with what waits for them, and each change stands in the audit log', async () => {
    const hours = CLOSED();
    const shown = await expectStatus(put(hours), 200);
    expect(shown).toMatchObject({ workHours: hours });
    expect(shown.waitsUntil?.slice(11, 16)).toBe(hours.windows[0]?.from);
    expect((await putSchedule('restore-drill', { cron: '0 9 15 1 *', hours })).status).toBe(400);
    const schedule = await expectStatus(putSchedule('snapshot', { hours }), 200);
    expect(schedule).toMatchObject({ hours, waitsUntil: null });
    expect(await expectStatus(putSchedule('snapshot', {}), 200)).toMatchObject({ hours });
    expect(await expectStatus(putSchedule('snapshot', { hours: null }), 200)).toMatchObject({ hours: null });

    const { detail } = await appliance.deps.db
      .selectFrom('audit_entries')
      .select('detail')
      .where('action', '=', 'backups.target.hours-changed')
      .executeTakeFirstOrThrow();
    expect(detail).toEqual({ before: null, after: hours });
  });
});

describe('a target outside of its hours', () => {
  test('is not caught up but by hand; the snapshot that lacks it says what it waits for', async () => {
    await expectStatus(put(CLOSED()), 200);
    await more();

    const run = await scheduledSnapshot();

    expect(run).toMatchObject({ state: 'partial', result: { have: 1, needed: 2 } });
    expect(run.error?.hint).toMatch(/Nothing begins on second now: it waits for its hours, until/);
    expect(await catchUp(appliance)).toBeUndefined();
    const [copies] = await alerts('copies');
    expect(copies).toMatchObject({ state: 'bad' });
    // An hour later it is behind, and that says why too.
    await pass(1.5);
    expect(await alerts('copies on second')).toMatchObject([
      { message: expect.stringMatching(/behind by a snapshot, .* it waits for its hours, until/) as string },
    ]);

    await requestCopy(appliance, second.id);
    expect(await appliance.performRun()).toMatchObject({ kind: 'copy', state: 'succeeded' });
  });

  test('leads no scheduled snapshot while another one can', async () => {
    await expectStatus(put(CLOSED(), appliance.targetId), 200);
    await setRule(appliance, 1);
    await more();

    const run = await scheduledSnapshot();

    expect(run).toMatchObject({ state: 'succeeded', result: { targetId: second.id } });
    await setRule(appliance, null);
    await expectStatus(put(null, appliance.targetId), 200);
    expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded' });
  });

  test('gets scheduled snapshots all the same when no other is open, and those by hand', async () => {
    for (const id of [appliance.targetId, second.id]) await expectStatus(put(CLOSED(), id), 200);
    await more();
    expect(await scheduledSnapshot()).toMatchObject({ result: { targetId: appliance.targetId, have: 1 } });

    const id = await appliance.takeSnapshot();

    expect(await holdersOf(appliance, id)).toEqual([appliance.targetId, second.id]);
  });

  test('its policy is carried out when they come', async () => {
    await cancelQueued();
    const { db } = appliance.deps;
    for (const id of [appliance.targetId, second.id])
      await expectStatus(appliance.owner.call('PUT', `/targets/${id}/retention`, { policy: KEEP_MANY }), 200);
    await db.updateTable('target_retention').set({ tried_at: null }).execute();
    for (const id of [appliance.targetId, second.id]) await expectStatus(put(CLOSED(), id), 200);
    await applyRetentionWhenDue(appliance.deps);
    expect(await queued()).toEqual([]);

    await db.updateTable('targets').set({ work_hours: null }).execute();
    await applyRetentionWhenDue(appliance.deps);
    expect(await queued()).toEqual([{ kind: 'prune' }]);
    await cancelQueued();
  });
});

test('copying stops between two packs when the hours end, and goes on from there with the next', async () => {
  while ((await catchUp(appliance)) !== undefined);
  await expectStatus(put(CLOSED()), 200);
  await more();
  await scheduledSnapshot();
  await expectStatus(put(between(-1, 2)), 200);
  atNext('backups.copy.pack.verified', () => (appliance.clock.offsetMs += 3 * HOUR_MS));

  const stopped = await catchUp(appliance);
  await pass(0);

  expect(stopped).toMatchObject({
    ...{ kind: 'copy', state: 'partial', result: { copied: 0 } },
    error: { code: 'unavailable', message: expect.stringMatching(/^The hours of second are over/) as string },
  });
  expect(await catchUp(appliance)).toBeUndefined();
  // No failure after which it would have to wait ever longer.
  await pass(21.5);
  expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { left: 0 } });
});

describe('a schedule', () => {
  test('keeps what is due until its hours come, and the overdue alert says so', async () => {
    await expectStatus(putSchedule('snapshot', { hours: between(3, 5) }), 200);
    await due('snapshot', 2);

    expect(await startDueRuns(appliance.deps)).toEqual([]);
    expect((await alerts('snapshots'))[0]).toMatchObject({
      state: 'bad',
      message: expect.stringMatching(
        /^The last due snapshot was not taken: it waits for its hours/,
      ) as string,
    });
    await pass(4);
    expect(await startDueRuns(appliance.deps)).toEqual(['snapshot']);
    expect(await appliance.performRun()).toMatchObject({ kind: 'snapshot', cause: 'catch-up' });
  });

  test('of restore tests, too', async () => {
    await expectStatus(putSchedule('restore-test', { hours: between(3, 5) }), 200);
    await due('restore-test', 30);

    expect(await startDueRuns(appliance.deps)).toEqual([]);
    expect((await alerts('restore tests'))[0]?.message).toMatch(
      /did not pass in time: it waits for its hours/,
    );
  });

  test('of reading back: no part begins outside of its hours or of those of the target', async () => {
    await expectStatus(putSchedule('verify', { cron: '0 3 * * *', days: 2 }), 200);
    await pass(1);
    await due('verify', 0);
    await expectStatus(put(CLOSED(), appliance.targetId), 200);
    await expectStatus(put(CLOSED()), 200);
    expect(await startDueRuns(appliance.deps)).toEqual(['verify']);
    const read = await appliance.performRun();
    expect(read).toMatchObject({ state: 'succeeded' });
    expect(read.lines.filter((line) => line.includes('it waits for its hours'))).toHaveLength(2);
    await pass(0.5);
    await goOnReadingBack(appliance.deps);
    expect(await queued()).toEqual([]);

    await appliance.deps.db.updateTable('targets').set({ work_hours: null }).execute();
    await appliance.deps.db
      .updateTable('schedules')
      .set({ hours: JSON.stringify(CLOSED()) })
      .where('name', '=', 'verify')
      .execute();
    await goOnReadingBack(appliance.deps);
    expect(await queued()).toEqual([]);
    await appliance.deps.db.updateTable('schedules').set({ hours: null }).execute();
    await goOnReadingBack(appliance.deps);
    expect(await queued()).toEqual([{ kind: 'verify' }]);
    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });
  });

  test('a late cycle says that it waits', async () => {
    await expectStatus(putSchedule('verify', { cron: '0 3 * * *', days: 1 }), 200);
    await pass(10 * 24);
    await expectStatus(put(CLOSED()), 200);

    expect((await alerts('reading back second'))[0]?.message).toMatch(/; it waits for its hours, until/);
  });
});
