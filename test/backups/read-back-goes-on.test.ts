/** What a seldom schedule left unread is read before its next time: beside snapshots, after other work, and on a target that was away. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { goOnReadingBack } from '../../server/backups/index.ts';
import { describeReadBack } from '../../server/backups/read-back/keep-cycle.ts';
import { getTarget } from '../../server/backups/queries.ts';
import { withAdvisoryLock } from '../../server/lib/lock.ts';
import { startDueRuns } from '../../server/lib/schedules.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { diskOf } from '../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
let appliance: StockedAppliance;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.upload('more.bin', randomBytes(50_000));
  await appliance.takeSnapshot();
  // A week from now, and then each week: all six parts are owed when its time comes.
  const now = appliance.clock.now();
  const cron = `${String(now.getUTCMinutes())} ${String(now.getUTCHours())} * * ${String(now.getUTCDay())}`;
  const schedule = { cron, enabled: true, days: 6 };
  await expectStatus(appliance.owner.call('PUT', '/schedules/verify', schedule), 200);
  const hourly = { cron: '0 * * * *', enabled: false };
  await expectStatus(appliance.owner.call('PUT', '/schedules/snapshot', hourly), 200);
});
afterAll(() => appliance.close());

const later = (ms: number) => (appliance.clock.offsetMs += ms);
const readBack = async () =>
  describeReadBack(appliance.deps, await getTarget(appliance.deps.db, appliance.targetId));

/** As if its time came now; else it is switched off. */
async function snapshotIsDue(due: boolean): Promise<void> {
  await appliance.deps.db
    .updateTable('schedules')
    .set({ enabled: due, next_due_at: due ? appliance.clock.now() : null })
    .where('name', '=', 'snapshot')
    .execute();
}

/** As the appliance does each minute. @returns undefined when nothing was queued */
async function goOn() {
  await goOnReadingBack(appliance.deps);
  const queued = await appliance.deps.db
    .selectFrom('runs')
    .select('kind')
    .where('state', '=', 'queued')
    .execute();
  return queued.length === 0 ? undefined : appliance.performRun();
}

async function weekGoesBy(): Promise<void> {
  later(7 * DAY_MS + MINUTE_MS);
  expect(await startDueRuns(appliance.deps)).toEqual(['verify']);
}

test('what is left when a snapshot is due is read a quarter of an hour after it', async () => {
  expect(await goOn()).toBeUndefined();
  await weekGoesBy();
  await snapshotIsDue(true);
  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { partsRead: 1 } });
  later(16 * MINUTE_MS);
  expect(await goOn()).toBeUndefined();
  expect(await startDueRuns(appliance.deps)).toEqual(['snapshot']);
  // While it is under way nothing is queued beside it.
  expect((await goOn())?.kind).toBe('snapshot');
  await snapshotIsDue(false);

  expect(await goOn()).toMatchObject({ kind: 'verify', state: 'succeeded', result: { partsRead: 5 } });

  expect(await readBack()).toMatchObject({ partsDone: 0, closedParts: 6 });
  later(16 * MINUTE_MS);
  expect(await goOn()).toBeUndefined();
});

test('a target that other work holds has its turn afterwards', async () => {
  await weekGoesBy();
  const { db } = appliance.deps;
  await withAdvisoryLock(
    db,
    'targetWork',
    async () =>
      expect(await appliance.performRun()).toMatchObject({ state: 'failed', error: { code: 'locked' } }),
    { of: appliance.targetId },
  );
  expect(await goOn()).toBeUndefined();
  later(16 * MINUTE_MS);

  expect(await goOn()).toMatchObject({ state: 'succeeded', result: { partsRead: 6 } });
});

test('a target that was away is tried again a day later', async () => {
  await weekGoesBy();
  const disk = diskOf(appliance.targetPath);
  await disk.away();
  expect(await appliance.performRun()).toMatchObject({ state: 'failed', error: { code: 'unavailable' } });
  await disk.back();
  later(16 * MINUTE_MS);
  expect(await goOn()).toBeUndefined();
  later(DAY_MS);

  expect(await goOn()).toMatchObject({ state: 'succeeded' });
});
