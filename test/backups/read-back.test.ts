/** Reading targets back in parts, by a schedule: what is read when, what is kept of it, and when somebody is told. */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { describeReadBack, listLateReadBacks } from '../../server/backups/read-back/keep-cycle.ts';
import { getTarget } from '../../server/backups/queries.ts';
import type { Schedule } from '../../server/backups/schema.ts';
import { startDueRuns } from '../../server/lib/schedules.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { diskOf } from '../helpers/second-target.ts';
import {
  queueScheduledRun,
  startStockedAppliance,
  stock,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const DAY_MS = 24 * 3_600_000;
let appliance: StockedAppliance;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  for (let count = 0; count < 6; count++) {
    await appliance.upload(`${String(count)}.bin`, randomBytes(50_000));
    await appliance.takeSnapshot();
  }
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  await appliance.deps.db.deleteFrom('target_read_backs').execute();
  await plan({ days: 3 });
});

function put(name: string, body: object) {
  return appliance.owner.call<Schedule>('PUT', `/schedules/${name}`, body);
}
/** Anew each time: that it is switched on again counts as a change. */
async function plan({ days, cron = '0 3 * * *' }: { days: number; cron?: string }): Promise<void> {
  await expectStatus(put('verify', { cron, enabled: false }), 200);
  expect(await expectStatus(put('verify', { cron, enabled: true, days }), 200)).toMatchObject({ days });
}
const later = (days: number) => (appliance.clock.offsetMs += days * DAY_MS);
const readBack = async () =>
  describeReadBack(appliance.deps, await getTarget(appliance.deps.db, appliance.targetId));

/** As the appliance does each minute. @returns undefined when nothing was due. */
async function dayGoesBy(days = 1) {
  later(days);
  const started = await startDueRuns(appliance.deps);
  return started.includes('verify') ? appliance.performRun() : undefined;
}

async function packBytes(): Promise<number> {
  const packs = join(appliance.targetPath, 'packs');
  return readdirSync(packs, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.age'))
    .reduce((sum, name) => sum + readFileSync(join(packs, name)).length, 0);
}

function closings() {
  return appliance.deps.db
    .selectFrom('audit_entries')
    .select(['object_id', 'detail'])
    .where('action', '=', 'backups.cycle.closed')
    .execute();
}

test('a number of days is from 1 to 365, and of reading back alone', async () => {
  for (const days of [0, 366, 1.5])
    expect((await put('verify', { cron: '0 3 * * *', enabled: true, days })).status).toBe(400);
  expect((await put('snapshot', { cron: '0 2 * * *', enabled: false, days: 3 })).status).toBe(400);
  expect((await put('verify', { cron: '0 3 * * *', enabled: true, copy: 'random' })).status).toBe(400);
  expect((await put('verify', { cron: '0 3 * * *', enabled: true })).body).toMatchObject({ days: 3 });
});

test('a part a day reads every byte once in a cycle, which is closed, kept and begun anew', async () => {
  expect(await readBack()).toMatchObject({
    parts: 3,
    partsDone: 0,
    startedAt: null,
    closedAt: null,
    late: false,
  });
  const seen: number[] = [];
  for (const done of [1, 2]) {
    expect(await dayGoesBy()).toMatchObject({ state: 'succeeded', result: { partsRead: 1, problems: 0 } });
    const now = await readBack();
    expect(now).toMatchObject({ partsDone: done, closedAt: null });
    seen.push(now.bytesRead);
  }
  expect(seen[1]).toBeGreaterThanOrEqual(seen[0] ?? 0);
  const before = (await closings()).length;

  const run = await dayGoesBy();

  expect(run?.lines.join('\n')).toContain('all was read back once');
  const size = await packBytes();
  expect(await readBack()).toMatchObject({
    ...{ partsDone: 0, startedAt: null, bytesRead: 0 },
    ...{ closedParts: 3, closedBytes: size, closedAt: expect.any(String) as string },
  });
  expect((await closings()).slice(before)).toEqual([
    { object_id: appliance.targetId, detail: expect.objectContaining({ parts: 3, bytes: size }) as object },
  ]);
  expect(await dayGoesBy()).toMatchObject({ result: { partsRead: 1 } });
  expect(await readBack()).toMatchObject({ partsDone: 1, closedBytes: size });
});

test('days that were missed, the target being away or the appliance off, are read with the next', async () => {
  await plan({ days: 6 });
  expect(await dayGoesBy()).toMatchObject({ result: { partsRead: 1 } });
  const disk = diskOf(appliance.targetPath);
  await disk.away();
  expect(await dayGoesBy()).toMatchObject({ state: 'failed', error: { code: 'unavailable' } });
  expect(await readBack()).toMatchObject({ partsDone: 1 });
  await disk.back();

  expect(await dayGoesBy(2)).toMatchObject({ state: 'succeeded', result: { partsRead: 3 } });

  expect(await readBack()).toMatchObject({ partsDone: 4 });
  expect(await listLateReadBacks(appliance.deps)).toEqual([]);
});

test('a second run on a day reads nothing, and one that a person asks for reads a part ahead', async () => {
  expect(await dayGoesBy()).toMatchObject({ result: { partsRead: 1 } });
  await queueScheduledRun(appliance, 'verify', { part: true });
  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { partsRead: 0 } });
  appliance.clock.offsetMs = 0;
  await expectStatus(appliance.owner.call('POST', `/targets/${appliance.targetId}/verify?part=true`), 202);

  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { partsRead: 1 } });

  expect(await readBack()).toMatchObject({ partsDone: 2 });
});

test('everything read at once closes the cycle, and another number of days begins a new one', async () => {
  await dayGoesBy();
  appliance.clock.offsetMs = 0;
  await expectStatus(appliance.owner.call('POST', `/targets/${appliance.targetId}/verify`), 202);
  const run = await appliance.performRun();
  expect(run.result).not.toHaveProperty('partsRead');
  expect(await readBack()).toMatchObject({ partsDone: 0, closedParts: 1, closedBytes: await packBytes() });
  await dayGoesBy();
  appliance.clock.offsetMs = 0;

  await plan({ days: 9 });

  expect(await readBack()).toMatchObject({ parts: 9, partsDone: 0, startedAt: null });
});

test('one day means everything each time', async () => {
  await plan({ days: 1 });

  expect(await dayGoesBy()).toMatchObject({ state: 'succeeded', result: { partsRead: 1 } });

  expect(await readBack()).toMatchObject({ parts: 1, closedParts: 1, closedBytes: await packBytes() });
});

describe('damage', () => {
  test('that one part found is told by the next parts too, until it is mended', async () => {
    const packs = join(appliance.targetPath, 'packs');
    const [name = ''] = readdirSync(packs, { recursive: true, encoding: 'utf8' })
      .filter((one) => one.endsWith('.age'))
      // That of the first part: it is damaged before any is read.
      .filter((one) => Number.parseInt(one.split('/')[1]?.slice(0, 8) ?? '', 16) % 3 === 0);
    const file = join(packs, name);
    const whole = readFileSync(file);
    chmodSync(file, 0o600);
    writeFileSync(file, randomBytes(whole.length));
    const damage = async () =>
      (await checkForAlerts(appliance.deps)).filter((check) => check.name === 'verification');

    expect(await dayGoesBy()).toMatchObject({ state: 'failed', error: { code: 'integrity_failure' } });
    expect(await readBack()).toMatchObject({ partsDone: 1 });
    expect(await dayGoesBy()).toMatchObject({ state: 'failed', error: { code: 'integrity_failure' } });
    expect(await damage()).toHaveLength(1);
    writeFileSync(file, whole);

    const run = await dayGoesBy();
    expect(run, run?.lines.join('\n')).toMatchObject({ state: 'succeeded', result: { problems: 0 } });
    expect(await damage()).toEqual([]);
  });
});

describe('the schedule', () => {
  test('waits for a snapshot that is due as well, and a due snapshot for it', async () => {
    await expectStatus(put('snapshot', { cron: '0 2 * * *', enabled: true }), 200);
    later(1);
    expect(await startDueRuns(appliance.deps)).toEqual(['snapshot']);
    expect(await startDueRuns(appliance.deps)).toEqual([]);
    expect((await appliance.performRun()).kind).toBe('snapshot');

    expect(await startDueRuns(appliance.deps)).toEqual(['verify']);

    later(1);
    expect(await startDueRuns(appliance.deps)).toEqual([]);
    expect((await appliance.performRun()).kind).toBe('verify');
    expect(await startDueRuns(appliance.deps)).toEqual(['snapshot']);
    await appliance.performRun();
    appliance.clock.offsetMs = 0;
    await expectStatus(put('snapshot', { cron: '0 2 * * *', enabled: false }), 200);
  });

  test('begins no further part while a snapshot is due', async () => {
    await plan({ days: 6 });
    await dayGoesBy();
    await appliance.deps.db
      .updateTable('schedules')
      .set({ enabled: true, next_due_at: appliance.clock.now() })
      .where('name', '=', 'snapshot')
      .execute();
    later(3);
    await queueScheduledRun(appliance, 'verify', { part: true });

    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { partsRead: 1 } });

    appliance.clock.offsetMs = 0;
    await expectStatus(put('snapshot', { cron: '0 2 * * *', enabled: false }), 200);
  });
});

test('a cycle that is not closed in time raises an alert, until it is; switched off, none', async () => {
  const alerts = async () =>
    (await checkForAlerts(appliance.deps)).filter((check) => check.name === 'reading back copy');
  later(4.9);
  expect(await alerts()).toEqual([]);
  later(2);

  const [alert] = await alerts();

  expect(alert).toMatchObject({
    state: 'warn',
    message: expect.stringContaining('within 3 days: 0 of 3 parts were, and all of it never') as string,
  });
  for (let count = 0; count < 3; count++) await dayGoesBy();
  expect(await alerts()).toEqual([]);
  later(30);
  expect(await alerts()).toHaveLength(1);
  appliance.clock.offsetMs = 0;
  await expectStatus(put('verify', { cron: '0 3 * * *', enabled: false }), 200);
  later(60);
  expect(await alerts()).toEqual([]);
});
