/** Room on disks and targets: levels with slack, the forecast, what is written down, and what is told of. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checkCapacity, recordCapacity } from '../../server/monitoring/index.ts';
import { forecast, forecastLevelOf, levelOf } from '../../server/monitoring/capacity/forecast.ts';
import { DATA_DISK, tellRoom } from '../../server/monitoring/capacity/measure.ts';
import type { CapacityReply } from '../../server/monitoring/capacity/schema.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

const DAY = 86_400_000;
const GIB = 2 ** 30;
const NOW = new Date('2026-11-23T12:00:00Z');
const line = (days: number, perDay: number, start = 100 * GIB) =>
  Array.from({ length: days }, (_, index) => ({
    at: new Date(NOW.getTime() - (days - 1 - index) * DAY),
    usedBytes: start + index * perDay,
  }));

describe('a level', () => {
  test('is reached at 80, 90 and 95 %, and left two percent below', () => {
    expect([79.9, 80, 89, 90, 94, 95, 100].map((percent) => levelOf(percent, 0))).toEqual([
      0, 1, 1, 2, 2, 3, 3,
    ]);
    expect([
      levelOf(78.5, 1),
      levelOf(77.9, 1),
      levelOf(93.5, 3),
      levelOf(92.9, 3),
      levelOf(88.5, 3),
      levelOf(50, 3),
    ]).toEqual([1, 0, 3, 2, 2, 0]);
  });

  test('does not change with what goes up and down by less than that', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 81, max: 100 }),
        fc.array(fc.double({ min: -0.9, max: 0.9, noNaN: true })),
        (base, noise) => {
          let level = levelOf(base, 0);
          const seen = noise.map((part) => (level = levelOf(base + part, level)));
          expect(new Set(seen).size).toBeLessThanOrEqual(2);
          expect(seen).toEqual([...seen].sort((a, b) => a - b));
        },
      ),
    );
  });

  test('of the forecast is reached below 30 and 7 days, and left later', () => {
    expect([30, 29, 7, 6].map((days) => forecastLevelOf(days, 0))).toEqual([0, 1, 1, 2]);
    expect([
      forecastLevelOf(34, 1),
      forecastLevelOf(35, 1),
      forecastLevelOf(8, 2),
      forecastLevelOf(null, 2),
    ]).toEqual([1, 0, 2, 0]);
  });
});

describe('the forecast', () => {
  test('follows the last thirty days', () => {
    const grown = [...line(30, GIB), { at: new Date(NOW.getTime() - 90 * DAY), usedBytes: 5000 * GIB }];

    expect(forecast(grown, 20 * GIB, NOW)).toEqual({ state: 'full-in', days: 20 });
  });

  test('needs seven days, an end, and growth', () => {
    expect(forecast(line(7, GIB), 20 * GIB, NOW)).toEqual({ state: 'too-early' });
    expect(forecast(line(8, GIB), 20 * GIB, NOW)).toEqual({ state: 'full-in', days: 20 });
    expect(forecast([], 20 * GIB, NOW)).toEqual({ state: 'too-early' });
    expect(forecast(line(30, GIB), null, NOW)).toEqual({ state: 'no-limit' });
    expect(forecast(line(30, 0), 20 * GIB, NOW)).toEqual({ state: 'not-growing' });
    expect(forecast(line(30, -GIB), 20 * GIB, NOW)).toEqual({ state: 'not-growing' });
    expect(forecast(line(30, 1), 20 * GIB, NOW)).toEqual({ state: 'not-growing' });
  });

  test('does not mind the order, nor many snapshots on one day', () => {
    const many = line(30, GIB).flatMap((point) => Array.from({ length: 9 }, () => point));

    expect(forecast(many.toReversed(), 20 * GIB, NOW)).toEqual({ state: 'full-in', days: 20 });
  });
});

test('what is told: targets by their level, refused files at the last level, and the forecast', () => {
  const room = { thing: 'a', name: 'Vault', usedBytes: 92, freeBytes: 8, quotaBytes: null, takesQuota: true };
  const early = { expected: { state: 'too-early' } as const, forecastLevel: 0 };
  expect(tellRoom(room, { level: 1, percent: 82, ...early })).toMatchObject([
    { name: 'room on Vault', state: 'warn' },
  ]);
  expect(tellRoom(room, { level: 2, percent: 92, ...early })).toMatchObject([{ state: 'bad' }]);
  const disk = { ...room, thing: DATA_DISK, name: 'data disk' };
  expect(tellRoom(disk, { level: 2, percent: 92, ...early })).toEqual([]);
  expect(tellRoom(disk, { level: 3, percent: 96, ...early })).toMatchObject([
    { name: 'uploads', state: 'bad', message: 'New files are refused: the data disk is 96 % full' },
  ]);
  const soon = { expected: { state: 'full-in', days: 5 } as const, forecastLevel: 2 };
  expect(tellRoom(disk, { level: 0, percent: 50, ...soon })).toMatchObject([
    { name: 'data disk', state: 'bad' },
  ]);
});

describe('an appliance', () => {
  let appliance: TestAppliance;
  let admin: TestCaller;
  let auditor: TestCaller;
  beforeAll(async () => {
    appliance = await startTestAppliance();
    await appliance.claim();
    admin = await appliance.addPerson('admin');
    auditor = await appliance.addPerson('auditor');
  }, 60_000);
  afterAll(() => appliance.close());
  beforeEach(async () => {
    const { db } = appliance.deps;
    for (const table of ['capacity_points', 'capacity_levels', 'targets'] as const)
      await db.deleteFrom(table).execute();
  });
  const at = (days: number) => {
    const now = new Date(appliance.clock.now().getTime() + days * DAY);
    return { ...appliance.deps, clock: { ...appliance.clock, now: () => now } };
  };
  const points = () => appliance.deps.db.selectFrom('capacity_points').selectAll().orderBy('at').execute();
  async function bucket(): Promise<string> {
    const id = randomUUID();
    const now = appliance.clock.now();
    await appliance.deps.db
      .insertInto('targets')
      .values({
        id,
        name: 'Bucket',
        kind: 's3',
        settings: '{}',
        same_disk: false,
        ...{ region: 'eu-north', region_known_by: 'declared' },
        state: 'active',
        created_at: now,
      })
      .execute();
    return id;
  }

  test('writes down a point a day, and drops those of long ago', async () => {
    for (const days of [0, 0.1, 0.9, 1.01, 1.5, 2.02]) await recordCapacity(at(days));
    expect((await points()).map(({ thing }) => thing)).toEqual([DATA_DISK, DATA_DISK, DATA_DISK]);

    await recordCapacity(at(402));
    expect(await points()).toHaveLength(2);
  });

  test('shows the data disk, and says that it knows too little yet', async () => {
    await recordCapacity(at(0));
    const { items } = await expectStatus(auditor.call<CapacityReply>('GET', '/capacity'), 200);

    expect(items).toMatchObject([
      { id: DATA_DISK, name: 'data disk', takesQuota: false, forecast: { state: 'too-early', days: null } },
    ]);
    expect(items[0]?.points).toHaveLength(1);
    expect(items[0]?.usedBytes).toBeGreaterThan(0);
  });

  test('counts a bucket to the room that somebody says it has, and tells when it is nearly full', async () => {
    const id = await bucket();
    const { db } = appliance.deps;
    await db
      .insertInto('snapshots')
      .values({
        ...{ id: randomUUID(), number: 1, repository_id: 'r', state: 'stored', keyring_epoch: '1' },
        ...{
          taken_at: appliance.clock.now(),
          stored_at: appliance.clock.now(),
          file_count: 1,
          size_bytes: 1,
        },
        ...{ added_bytes: 1, stored_bytes: 92 * GIB, duration_ms: 1, problems: '[]', sources: '[]' },
      })
      .execute();
    const snapshot = await db.selectFrom('snapshots').select('id').executeTakeFirstOrThrow();
    await db
      .insertInto('snapshot_targets')
      .values({ snapshot_id: snapshot.id, target_id: id, state: 'stored' })
      .execute();
    expect((await checkCapacity(appliance.deps)).filter(({ name }) => name.includes('Bucket'))).toEqual([]);

    expect((await auditor.call('PUT', `/targets/${id}/quota`, { quotaBytes: 100 * GIB })).status).toBe(403);
    for (const quotaBytes of [1, -1, 1.5, '9'])
      expect((await admin.call('PUT', `/targets/${id}/quota`, { quotaBytes })).status).toBe(400);
    expect((await admin.call('PUT', `/targets/${randomUUID()}/quota`, { quotaBytes: null })).status).toBe(
      404,
    );
    await expectStatus(admin.call('PUT', `/targets/${id}/quota`, { quotaBytes: 100 * GIB }), 200);

    expect(await checkCapacity(appliance.deps)).toContainEqual(
      expect.objectContaining({ name: 'room on Bucket', state: 'bad', message: '92 % in use, 8.0 GiB free' }),
    );
    // Once said it stays said until it is well below.
    await recordCapacity(appliance.deps);
    await db
      .updateTable('target_space')
      .set({ quota_bytes: String(104 * GIB) })
      .execute();
    expect((await checkCapacity(appliance.deps)).find(({ name }) => name === 'room on Bucket')?.state).toBe(
      'bad',
    );
    await db
      .updateTable('target_space')
      .set({ quota_bytes: String(200 * GIB) })
      .execute();
    expect((await checkCapacity(appliance.deps)).map(({ name }) => name)).not.toContain('room on Bucket');
    await db.deleteFrom('snapshot_targets').execute();
    await db.deleteFrom('snapshots').execute();
  });

  test('tells of the day when a target is full', async () => {
    const id = await bucket();
    await appliance.deps.db
      .insertInto('target_space')
      .values({ target_id: id, free_bytes: String(10 * GIB) })
      .execute();
    for (let day = 10; day >= 0; day -= 1)
      await appliance.deps.db
        .insertInto('capacity_points')
        .values({
          thing: id,
          at: at(-day).clock.now(),
          used_bytes: String((20 - day) * 2 * GIB),
          free_bytes: null,
        })
        .execute();
    await recordCapacity(appliance.deps);

    expect(await checkCapacity(appliance.deps)).toContainEqual(
      expect.objectContaining({
        ...{ name: 'room on Bucket', state: 'bad' },
        message: expect.stringContaining('Full in about') as string,
      }),
    );
  });
});
