/** Runs that stand still, take too long, or are not begun: told of, and stopped where an administrator chose so. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import {
  appendRunLog,
  finishRun,
  getRun,
  listRunLog,
  takeQueuedRun,
  updateRun,
} from '../../server/lib/runs.ts';
import { checkRuns, stopOverdueRuns } from '../../server/monitoring/index.ts';
import { RunKind } from '../../server/lib/run-schema.ts';
import type { RunLimits } from '../../server/monitoring/run-limits/schema.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

const MINUTE = 60_000;
let appliance: TestAppliance;
let owner: TestCaller;
let admin: TestCaller;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  admin = await appliance.addPerson('admin');
}, 60_000);
afterAll(() => appliance.close());
beforeEach(async () => {
  await appliance.deps.db.deleteFrom('run_log').execute();
  await appliance.deps.db.deleteFrom('runs').execute();
  await appliance.deps.db.deleteFrom('run_limits').execute();
});

/** At that many minutes from now. */
const at = (minutes: number) => {
  const now = new Date(appliance.clock.now().getTime() + minutes * MINUTE);
  return { db: appliance.deps.db, clock: { ...appliance.clock, now: () => now } };
};
async function queue(kind = 'snapshot'): Promise<string> {
  const id = randomUUID();
  const created = appliance.clock.now();
  await appliance.deps.db
    .insertInto('runs')
    .values({ id, kind, state: 'queued', cause: 'schedule', created_at: created })
    .execute();
  return id;
}
async function start(kind = 'snapshot'): Promise<string> {
  const id = await queue(kind);
  await takeQueuedRun(appliance.deps.db, appliance.clock);
  return id;
}
const setLimit = (limit: object) =>
  owner.call<RunLimits>('PUT', '/settings/run-limits', {
    items: [{ kind: 'snapshot', stallMinutes: 30, limitMinutes: null, stops: false, ...limit }],
  });

describe('a run that stands still', () => {
  test('is told of after its time, with where it stands', async () => {
    const id = await start();
    const { db, clock } = at(2);
    await updateRun(db, clock, id, {
      step: 'Copying the files',
      progress: { filesDone: 12, filesTotal: 40 },
    });

    expect(await checkRuns(at(31))).toEqual([]);
    expect(await checkRuns(at(33))).toMatchObject([
      {
        name: 'run of snapshot',
        state: 'bad',
        message: 'A snapshot has not moved for 31 minutes (Copying the files, 12 of 40 files)',
      },
    ]);
    const names = (await checkForAlerts({ ...appliance.deps, ...at(33) })).map(({ name }) => name);
    expect(names).toContain('run of snapshot');
  });

  test('does not move by saying the same again; by a figure, a step or a line of its log it does', async () => {
    const id = await start();
    await updateRun(at(1).db, at(1).clock, id, { progress: { filesDone: 1 } });
    await updateRun(at(40).db, at(40).clock, id, { progress: { filesDone: 1 } });
    expect(await checkRuns(at(40))).toHaveLength(1);

    await updateRun(at(41).db, at(41).clock, id, { progress: { filesDone: 2 } });
    expect(await checkRuns(at(60))).toEqual([]);
    await appendRunLog(at(62).db, at(62).clock, id, { level: 'info', message: 'Still at it' });
    expect(await checkRuns(at(90))).toEqual([]);
    const moved = at(91);
    await updateRun(moved.db, moved.clock, id, { step: 'Storing what is left' });
    expect(await checkRuns(at(120))).toEqual([]);
    expect((await getRun(appliance.deps.db, id)).progressedAt).toBe(moved.clock.now().toISOString());
  });

  test('is not told of when its limit is taken away', async () => {
    await start();
    await expectStatus(setLimit({ stallMinutes: null }), 200);

    expect(await checkRuns(at(10_000))).toEqual([]);
  });
});

describe('a run beyond its limit', () => {
  test('is told of, and goes on', async () => {
    const id = await start();
    await expectStatus(setLimit({ stallMinutes: null, limitMinutes: 60 }), 200);

    expect(await checkRuns(at(59))).toEqual([]);
    expect(await checkRuns(at(61))).toMatchObject([
      { message: 'A snapshot is under way for 61 minutes; its limit is 60' },
    ]);
    expect(await stopOverdueRuns(at(61))).toEqual([]);
    expect((await getRun(appliance.deps.db, id)).cancelRequested).toBe(false);
  });

  test('is stopped once where an administrator chose so, says why, and stays an alert until the next is well', async () => {
    const id = await start();
    await expectStatus(setLimit({ limitMinutes: 60, stops: true }), 200);

    expect(await stopOverdueRuns(at(59))).toEqual([]);
    expect((await Promise.all([stopOverdueRuns(at(61)), stopOverdueRuns(at(61))])).flat()).toEqual([id]);

    const run = await getRun(appliance.deps.db, id);
    expect(run).toMatchObject({ cancelRequested: true, state: 'running' });
    expect(run.stoppedBecause).toBe('It took longer than its limit of 60 minutes');
    expect((await listRunLog(appliance.deps.db, id)).at(-1)).toMatchObject({ level: 'error' });
    const audited = await appliance.deps.db
      .selectFrom('audit_entries')
      .selectAll()
      .where('action', '=', 'monitoring.run.stopped')
      .execute();
    expect(audited).toMatchObject([{ object_id: id }]);
    await finishRun(at(62).db, at(62).clock, id, { state: 'cancelled' });
    expect(await checkRuns(at(63))).toMatchObject([
      {
        name: 'last snapshot',
        state: 'bad',
        message: expect.stringContaining('was stopped: It took longer') as string,
      },
    ]);
    const next = await start();
    await finishRun(at(70).db, at(70).clock, next, { state: 'succeeded' });
    expect(await checkRuns(at(71))).toEqual([]);
  });
});

test('a run that no worker takes is told of, but not one that waits for its turn', async () => {
  await queue();
  expect(await checkRuns(at(14))).toEqual([]);
  expect(await checkRuns(at(16))).toMatchObject([{ name: 'worker', state: 'bad' }]);

  await appliance.deps.db.deleteFrom('runs').execute();
  await start('verify');
  await start('restore-test');
  await queue();
  expect((await checkRuns(at(16))).map(({ name }) => name)).toEqual([]);
});

test('a verification of the audit log that failed is told of; one that a person cancelled is not', async () => {
  const id = await start('audit-verify');
  const error = { code: 'unavailable', message: 'The target is away', hint: 'Look at it' };
  await finishRun(at(1).db, at(1).clock, id, { state: 'failed', error });
  expect(await checkRuns(at(2))).toMatchObject([{ name: 'last audit-verify', state: 'warn' }]);
  const other = await start('verify');
  await finishRun(at(1).db, at(1).clock, other, { state: 'cancelled' });
  expect(await checkRuns(at(2))).toHaveLength(1);
});

test('limits are read by administrators, changed by owners with an entry in the audit log, and nonsense is refused', async () => {
  const { items } = await expectStatus(admin.call<RunLimits>('GET', '/settings/run-limits'), 200);
  expect(items.map(({ kind }) => kind).sort()).toEqual(RunKind.anyOf.map((one) => one.const).sort());
  expect(items[0]).toEqual({ kind: 'snapshot', stallMinutes: 30, limitMinutes: null, stops: false });
  for (const wrong of [
    { stallMinutes: 4 },
    { limitMinutes: 1 },
    { stops: true },
    { kind: 'nonsense' },
    { stallMinutes: 'x' },
  ])
    expect((await setLimit(wrong)).status).toBe(400);
  const twice = [items[0], items[0]];
  expect((await owner.call('PUT', '/settings/run-limits', { items: twice })).status).toBe(400);
  expect((await admin.call('PUT', '/settings/run-limits', { items })).status).toBe(403);
  const after = await expectStatus(setLimit({ limitMinutes: 600 }), 200);
  expect(after.items[0]).toMatchObject({ limitMinutes: 600 });
  const audited = await appliance.deps.db
    .selectFrom('audit_entries')
    .selectAll()
    .where('action', '=', 'monitoring.run-limits.changed')
    .execute();
  expect(audited.at(-1)?.detail).toMatchObject({ to: [{ kind: 'snapshot', limitMinutes: 600 }] });
});
