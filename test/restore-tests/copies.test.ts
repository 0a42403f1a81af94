/** Which copy a test restores, what it then proves, what it is held to, and what is due. */
import { randomUUID } from 'node:crypto';
import { cp, rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import type { Overview } from '../../server/appliance/schema.ts';
import { changeSchedule, ensureSchedules, startDueRuns } from '../../server/lib/schedules.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { chooseCopies } from '../../server/restore-tests/choose-copy.ts';
import { remindOfKit, verifyReport } from '../../server/restore-tests/index.ts';
import type { Preflight, RestoreTest, RestoreTestPage } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { lendFromKit } from './open-kit.ts';

const DAY_MS = 86_400_000;
let appliance: StockedAppliance;
let older: string;
let newest: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  older = await appliance.takeSnapshot();
  newest = await appliance.takeSnapshot();
  await ensureSchedules(appliance.deps);
}, 180_000);
afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});
afterEach(async () => {
  appliance.clock.offsetMs = 0;
  await hold(null, null);
  await appliance.deps.db.deleteFrom('restore_tests').execute();
  await appliance.deps.db
    .updateTable('schedules')
    .set({ enabled: false, next_due_at: null, last_due_at: null })
    .execute();
});

const hold = (rtoMinutes: number | null, rpoMinutes: number | null) =>
  expectStatus(
    appliance.owner.call('PUT', '/settings/restore-tests', { rtoMinutes, rpoMinutes, assertionSeconds: 10 }),
    200,
  );
const start = (body: object) =>
  appliance.owner.call<RestoreTest>('POST', '/restore-tests', {
    ...{ mode: 'quick', keySource: 'test-identity' },
    ...body,
  });
const page = () => expectStatus(appliance.owner.call<RestoreTestPage>('GET', '/restore-tests'), 200);
const show = (id: string) =>
  expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${id}`), 200);
/** Time passes between start and run: sessions would end meanwhile. */
const performLater = async (laterMs: number) => {
  appliance.clock.offsetMs = laterMs;
  await appliance.performRun();
  appliance.clock.offsetMs = 0;
};
const runTest = async (body: object, laterMs = 0) => {
  const { id } = await expectStatus(start(body), 202);
  await performLater(laterMs);
  return show(id);
};
const checkOf = ({ checks }: RestoreTest, id: string) => checks.find((check) => check.id === id);

/** As if it had been drawn: chance decides elsewhere. */
const asDrawn = (id: string) =>
  appliance.deps.db
    .updateTable('restore_tests')
    .set({ choice: 'random', drawn_from: 2 })
    .where('id', '=', id)
    .execute();

describe('a copy', () => {
  test('that does not say enough is refused', async () => {
    const { targetId } = appliance;
    for (const body of [
      { choice: 'certain' },
      { choice: 'certain', snapshotId: newest },
      { choice: 'latest', snapshotId: newest, targetId },
      { choice: 'random', everyTarget: true },
      { choice: 'latest', everyTarget: true, targetId },
      { choice: 'latest', keySource: 'recovery-kit', lent: await lendFromKit(appliance) },
    ])
      expect((await start(body)).status).toBe(400);
    expect((await page()).total).toBe(0);
  });

  test('that is the newest is found by the server, on a target or on any', async () => {
    for (const choice of [{}, { targetId: appliance.targetId }]) {
      const [copy] = await chooseCopies(appliance.deps.db, { choice: 'latest', ...choice });

      expect(copy).toMatchObject({ snapshotId: newest, newest: true, drawnFrom: null });
    }
  });

  test('is drawn among all with the same chance', async () => {
    const drawn = new Map<string, number>();
    for (let count = 0; count < 400; count += 1) {
      const [copy] = await chooseCopies(appliance.deps.db, { choice: 'random' });
      expect(copy?.drawnFrom).toBe(2);
      drawn.set(copy?.snapshotId ?? '', (drawn.get(copy?.snapshotId ?? '') ?? 0) + 1);
    }

    expect([...drawn.keys()].sort()).toEqual([older, newest].sort());
    // Beyond five deviations on either side: once in two million runs.
    for (const times of drawn.values()) expect(Math.abs(times - 200)).toBeLessThan(50);
  });

  test('of each target is tested with a report of its own, and one that cannot be stops no other', async () => {
    const { db } = appliance.deps;
    const second = randomUUID();
    const row = await db.selectFrom('targets').selectAll().executeTakeFirstOrThrow();
    const path = `${appliance.targetPath}-2`;
    await cp(appliance.targetPath, path, { recursive: true });
    const settings = { ...(row.settings as object), path };
    await db
      .insertInto('targets')
      .values({ ...row, id: second, name: 'second', settings: JSON.stringify(settings), probe: null })
      .execute();
    await db
      .insertInto('snapshot_targets')
      .values({ snapshot_id: newest, target_id: second, state: 'stored' })
      .execute();

    const first = await runTest({ choice: 'latest', everyTarget: true });

    const { items } = await page();
    const failed = items.flatMap(({ checks }) => checks.filter((check) => check.state === 'failed'));
    expect(
      items.map(({ state, targetName, snapshotId }) => [state, targetName, snapshotId]),
      JSON.stringify(failed),
    ).toEqual(
      expect.arrayContaining([
        ['passed', 'copy', newest],
        ['passed', 'second', newest],
      ]),
    );
    expect(new Set(items.map(({ runId }) => runId))).toEqual(new Set([first.runId]));
    expect(new Set(items.map(({ reportSha256 }) => reportSha256)).size).toBe(2);
    await rm(path, { recursive: true });
    await runTest({ choice: 'latest', everyTarget: true });
    const states = (await page()).items.slice(0, 2).map(({ state, targetName }) => [targetName, state]);
    expect(Object.fromEntries(states)).toEqual({ copy: 'passed', second: 'failed' });
    await db.deleteFrom('snapshot_targets').where('target_id', '=', second).execute();
    await db.deleteFrom('targets').where('id', '=', second).execute();
  }, 120_000);
});

describe('an older copy', () => {
  const LATER_MS = DAY_MS / 2;
  const newerWasDue = async () => {
    await appliance.deps.db
      .updateTable('schedules')
      .set({ enabled: true, last_due_at: appliance.clock.now() })
      .where('name', '=', 'snapshot')
      .execute();
  };

  test('that was drawn is not failed for its age, and does not prove the newest', async () => {
    await newerWasDue();
    const { id } = await expectStatus(
      start({ choice: 'certain', snapshotId: older, targetId: appliance.targetId }),
      202,
    );
    await asDrawn(id);
    await performLater(LATER_MS);

    const ended = await show(id);

    expect(ended).toMatchObject({ state: 'passed', newest: false });
    expect(checkOf(ended, 'freshness')?.found).toContain('it does not prove the newest');
    const overview = await expectStatus(appliance.owner.call<Overview>('GET', '/overview'), 200);
    expect(overview.lastProven).toBeNull();
  }, 60_000);

  test('that a person chose is failed for its age all the same', async () => {
    await newerWasDue();
    const { targetId } = appliance;

    const ended = await runTest({ choice: 'certain', snapshotId: older, targetId }, LATER_MS);

    expect(ended.state).toBe('failed');
    expect(checkOf(ended, 'freshness')?.state).toBe('failed');
  }, 60_000);
});

describe('an objective', () => {
  test('that is met is a passed check, with what was reached', async () => {
    await hold(60, 60);

    const ended = await runTest({ choice: 'latest' });

    expect(ended).toMatchObject({ state: 'passed', rtoObjectiveMs: 3_600_000, rpoObjectiveMs: 3_600_000 });
    expect(checkOf(ended, 'objective-rto')).toMatchObject({ state: 'passed', expected: 'at most 60 min' });
    expect(checkOf(ended, 'objective-rpo')?.state).toBe('passed');
  }, 60_000);

  test('that is missed is a warning in the signed report and an alert, and does not fail the test', async () => {
    await hold(60, 1);

    const ended = await runTest({ choice: 'latest' }, 10 * 60_000);

    expect(ended.state).toBe('passed');
    expect(checkOf(ended, 'objective-rpo')).toMatchObject({ state: 'warned', expected: 'at most 60.0 s' });
    const response = await appliance.app.inject({
      url: `/api/v1/restore-tests/${ended.id}/report`,
      headers: { cookie: appliance.owner.cookie },
    });
    const trustRoot = Buffer.from(appliance.kit.trustRoot, 'base64');
    expect(await verifyReport(response.rawPayload, { trustRoot })).toMatchObject({
      objectives: { rtoMs: 3_600_000, rpoMs: 60_000 },
      copy: { choice: 'latest', newest: true },
    });
    const alerts = await checkForAlerts(appliance.deps);
    expect(alerts.find(({ name }) => name === 'restore objectives')).toMatchObject({
      state: 'warn',
      message: expect.stringContaining('what may be lost (RPO)') as string,
    });
  }, 60_000);

  test.each([
    [0, null],
    [1.5, null],
    [null, 43_201],
  ])('of %s and %s minutes is refused', async (rto, rpo) => {
    const body = { rtoMinutes: rto, rpoMinutes: rpo, assertionSeconds: 10 };

    expect((await appliance.owner.call('PUT', '/settings/restore-tests', body)).status).toBe(400);
  });
});

describe('before it starts', () => {
  const preflight = (query: string) =>
    expectStatus(appliance.owner.call<Preflight>('GET', `/restore-tests/preflight?${query}`), 200);

  test('a test says what it needs, where it unpacks and how long the last ones took', async () => {
    const before = await preflight('choice=latest&mode=quick');
    await runTest({ choice: 'latest' });

    const after = await preflight('choice=random&mode=quick&keySource=test-identity');

    expect(before).toMatchObject({ ok: true, estimateMs: null });
    expect(before.needsBytes).toBeGreaterThan(256 * 1024 ** 2);
    expect(before.place).toContain(appliance.dataDir);
    expect(before.checks.map(({ name }) => name)).toEqual([
      ...['space', 'memory', 'key', 'worker', 'target copy', 'assertions'],
    ]);
    expect(after.estimateMs).toBeGreaterThan(0);
    expect(after.estimatedFrom).toBe(1);
  }, 60_000);

  test('another that is under way is told', async () => {
    await expectStatus(start({ choice: 'latest' }), 202);

    const { ok, checks } = await preflight('choice=latest&mode=quick');

    expect(ok).toBe(false);
    expect(checks.find(({ name }) => name === 'worker')?.state).toBe('bad');
    expect((await start({ choice: 'latest' })).status).toBe(409);
    await appliance.performRun();
  }, 60_000);
});

describe('the drill', () => {
  const due = async () => {
    await writeTransaction(appliance.deps.db, (tx) =>
      changeSchedule(tx, appliance.clock, 'restore-drill', { cron: '0 9 15 1 *', enabled: true }),
    );
    const { db } = appliance.deps;
    const past = new Date(appliance.clock.now().getTime() - 60_000);
    await db
      .updateTable('schedules')
      .set({ next_due_at: past })
      .where('name', '=', 'restore-drill')
      .execute();
    await startDueRuns(appliance.deps);
    await appliance.performRun();
  };
  const drillAlert = async () =>
    (await checkForAlerts(appliance.deps)).find(({ name }) => name === 'recovery drill')?.state;
  const mailedTo = async () => {
    const rows = await appliance.deps.db.selectFrom('mail_messages').select('user_id').execute();
    await appliance.deps.db.deleteFrom('mail_messages').execute();
    return rows.map(({ user_id: id }) => id);
  };

  test('waits for the kit, reminds administrators each week, and owners by an alert when it is overdue', async () => {
    const admin = await appliance.addPerson('admin');
    await mailedTo();

    await due();

    const waiting = (await page()).schedules.find(({ name }) => name === 'restore-drill');
    expect(waiting).toMatchObject({ waitsForKit: true, overdue: false });
    expect(await drillAlert()).toBe('warn');
    expect(await remindOfKit(appliance.deps)).toBe(1);
    expect(await remindOfKit(appliance.deps)).toBe(0);
    expect(await mailedTo()).toEqual([admin.userId]);
    appliance.clock.offsetMs = 8 * DAY_MS;
    expect(await remindOfKit(appliance.deps)).toBe(1);
    appliance.clock.offsetMs = 15 * DAY_MS;
    expect(await remindOfKit(appliance.deps)).toBe(0);
    expect(await drillAlert()).toBe('bad');
  }, 60_000);

  test('is done by a full test with the kit, and by no other', async () => {
    await due();
    await runTest({ choice: 'latest' });
    const { targetId } = appliance;
    const lent = await lendFromKit(appliance);
    await runTest({ choice: 'latest', targetId, keySource: 'recovery-kit', lent });
    expect(await drillAlert()).toBe('warn');

    const ended = await runTest({
      choice: 'latest',
      targetId,
      mode: 'full',
      keySource: 'recovery-kit',
      lent,
    });

    expect(ended).toMatchObject({ state: 'passed', grade: 'kit-proven' });
    expect(await drillAlert()).toBeUndefined();
  }, 120_000);
});

test('a schedule of tests says which copy it takes; that of snapshots takes none', async () => {
  const put = (name: string, copy?: string) =>
    appliance.owner.call('PUT', `/schedules/${name}`, {
      cron: '0 5 1 * *',
      enabled: true,
      ...(copy ? { copy } : {}),
    });

  expect((await put('restore-test-full', 'random')).body).toMatchObject({ copy: 'random' });
  expect((await put('restore-test-full')).body).toMatchObject({ copy: 'random' });
  expect((await put('snapshot', 'random')).status).toBe(400);
  expect((await put('restore-drill', 'random')).status).toBe(400);
  expect((await put('restore-test-full', 'oldest')).status).toBe(400);
});
