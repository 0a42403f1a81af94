/** How far behind a target was at worst, when the database was off meanwhile. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { recordAudit, systemActor } from '../../../server/audit/index.ts';
import { openShipState } from '../../../server/backups/wal/ship-state.ts';
import { offBefore, onTimeMs } from '../../../server/backups/wal/time-off.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { writeTransaction } from '../../../server/lib/db.ts';
import { readStartedAt, withClient } from '../../../server/lib/postgres/index.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { look, startShipping, switchOn } from './shipping.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

describe('the time off', () => {
  test('ends when PostgreSQL was started, and begins after the last that is known of before', () => {
    expect(offBefore(100 * MINUTE_MS, 10 * MINUTE_MS)).toEqual({
      ...{ fromMs: 10.5 * MINUTE_MS, toMs: 100 * MINUTE_MS },
    });
    expect(offBefore(100 * MINUTE_MS, 10 * MINUTE_MS, 70 * MINUTE_MS)).toEqual({
      ...{ fromMs: 70 * MINUTE_MS, toMs: 100 * MINUTE_MS },
    });
  });

  test('is none when PostgreSQL was on at the last look, or started right after it', () => {
    expect(offBefore(100 * MINUTE_MS, 101 * MINUTE_MS)).toBeUndefined();
    expect(offBefore(100 * MINUTE_MS, 99.8 * MINUTE_MS)).toBeUndefined();
  });

  test('counts only between the two instants', () => {
    const offs = [
      { fromMs: 0, toMs: 10 },
      { fromMs: 20, toMs: 30 },
      { fromMs: 90, toMs: 200 },
    ];
    expect(onTimeMs(offs, new Date(5), new Date(100))).toBe(70);
    expect(onTimeMs(offs, new Date(100), new Date(5))).toBe(0);
  });
});

describe('a start after hours', () => {
  let appliance: StockedAppliance;
  let startedMs = 0;

  beforeAll(async () => {
    appliance = await startStockedAppliance();
    await stock(appliance);
    await appliance.takeSnapshot();
    await switchOn(appliance);
    await shipOnce();
    startedMs = await withClient(appliance.database.adminAddress, 'test', async (client) =>
      (await readStartedAt(client)).getTime(),
    );
  }, 120_000);
  afterAll(() => appliance.close());
  beforeEach(() => lookedLast(startedMs - 5 * HOUR_MS));

  async function shipOnce(): Promise<void> {
    const shipping = await startShipping(appliance);
    await appliance.upload(`file ${String(Math.random())}`, Buffer.from('more'));
    await shipping.caughtUp();
    await shipping.stop();
  }

  /** The last look was then, a minute after the last commit that was shipped. */
  function lookedLast(atMs: number): void {
    const { targetId } = appliance;
    const state = openShipState(appliance.dataDir);
    try {
      const report = state.reports().get(targetId);
      if (report === undefined) throw new Error('nothing was told');
      state.report(targetId, { ...report, lookedAt: new Date(atMs).toISOString() });
      state.setComplete(targetId, new Date(atMs - MINUTE_MS));
    } finally {
      state.close();
    }
  }

  /** Since the server was started it is on, and the minute before the last look counts. */
  const least = () => (MINUTE_MS + Date.now() - startedMs) / 1000;
  const worstSeconds = () => look(appliance, (view) => view.worstLag(appliance.targetId, new Date(0))) ?? 0;

  test('in which the database was off was not hours behind', async () => {
    const before = least();
    await shipOnce();

    expect(worstSeconds()).toBeGreaterThanOrEqual(before);
    expect(worstSeconds()).toBeLessThan(before + 600);
  }, 60_000);

  test('in which somebody acted was behind up to that act', async () => {
    const actedAt = new Date(startedMs - 2 * HOUR_MS);
    await writeTransaction(appliance.deps.db, (tx) =>
      recordAudit(tx, { ...systemClock, now: () => actedAt }, systemActor('test'), {
        action: 'test.thing.acted',
        objectType: 'test',
      }),
    );
    const before = least();
    await shipOnce();

    expect(worstSeconds()).toBeGreaterThanOrEqual(before + (3 * HOUR_MS) / 1000);
    expect(worstSeconds()).toBeLessThan(before + (3 * HOUR_MS) / 1000 + 600);
  }, 60_000);
});
