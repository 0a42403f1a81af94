import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RestoreTest } from '../../../server/restore-tests/schema.ts';
import type { PointInTimeStatus } from '../../../server/backups/wal/schema.ts';
import { expectStatus } from '../../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { lendFromKit } from '../../restore-tests/open-kit.ts';
import { databaseNow, startShipping, switchOn, takeAnySnapshot, type Shipping } from './shipping.ts';

let appliance: StockedAppliance;
let shipping: Shipping;
let moment: Date;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  await switchOn(appliance);
  shipping = await startShipping(appliance);
  await shipping.caughtUp();
  await takeAnySnapshot(appliance);
  await appliance.upload('in between', Buffer.from('in between'));
  await shipping.caughtUp();
  moment = await databaseNow(appliance);
  await appliance.upload('afterwards', Buffer.from('afterwards'));
  await shipping.caughtUp();
}, 120_000);

afterAll(async () => {
  await shipping.stop();
  await appliance.close();
});

async function testMoment(time: string): Promise<RestoreTest> {
  const body = { targetId: appliance.targetId, time, mode: 'full' };
  const test = await expectStatus(
    appliance.owner.call<RestoreTest>('POST', '/restore-tests/point-in-time', body),
    202,
  );
  await appliance.performRun();
  return expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${test.id}`), 200);
}

test('the status tells which moments can be restored', async () => {
  const status = await expectStatus(appliance.owner.call<PointInTimeStatus>('GET', '/point-in-time'), 200);

  const [target] = status.targets;
  expect(target).toMatchObject({ state: 'shipping', late: false, needsBase: false, gaps: [] });
  expect(target?.windows).toHaveLength(1);
  expect(Date.parse(target?.windows[0]?.to ?? '')).toBeGreaterThanOrEqual(moment.getTime());
});

test('a restore test of a moment passes all its checks, and says what was asked for and reached', async () => {
  const test = await testMoment(moment.toISOString());

  expect(test.checks.filter((check) => check.state !== 'passed')).toEqual([]);
  expect(test.state).toBe('passed');
  expect(test.checks.find((check) => check.id === 'log')?.found).toContain(
    'files that came after the snapshot',
  );
  expect(test.point?.time).toBe(moment.toISOString());
  expect(Date.parse(test.point?.reachedAt ?? '')).toBeLessThanOrEqual(moment.getTime());
}, 120_000);

test('the recovery kit alone opens a moment too, and proves itself by it', async () => {
  const lent = await lendFromKit(appliance);
  const body = { targetId: appliance.targetId, time: moment.toISOString(), mode: 'full', lent };
  const started = await expectStatus(
    appliance.owner.call<RestoreTest>('POST', '/restore-tests/point-in-time', body),
    202,
  );
  await appliance.performRun();

  const test = await expectStatus(
    appliance.owner.call<RestoreTest>('GET', `/restore-tests/${started.id}`),
    200,
  );

  expect(test.checks.filter((check) => check.state !== 'passed')).toEqual([]);
  expect(test).toMatchObject({ state: 'passed', grade: 'kit-proven', keySource: 'recovery-kit' });
  expect(test.point?.time).toBe(moment.toISOString());
}, 120_000);

test('a moment that was not shipped is refused before anything starts', async () => {
  const body = { targetId: appliance.targetId, time: '2020-01-01T00:00:00Z', mode: 'quick' };
  const reply = await appliance.owner.call<{ error: { message: string } }>(
    'POST',
    '/restore-tests/point-in-time',
    body,
  );

  expect(reply.status).toBe(404);
  expect(reply.body.error.message).toContain('before the first moment');
});

function piecePaths(): string[] {
  const folder = join(appliance.targetPath, 'wal');
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.age'))
    .sort()
    .map((name) => join(folder, name));
}

test('a damaged piece is named, and nothing is recovered over it', async () => {
  const paths = piecePaths();
  const path = paths.at(-1) ?? '';
  const whole = readFileSync(path);
  const changed = Buffer.from(whole);
  changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
  writeFileSync(path, changed);
  const status = await appliance.owner.call<PointInTimeStatus>('GET', '/point-in-time');
  const last = status.body.targets[0]?.windows.at(-1)?.to ?? '';

  const test = await testMoment(last);
  writeFileSync(path, whole);

  expect(test.state).toBe('failed');
  expect(test.checks.find((check) => check.id === 'log')).toMatchObject({
    state: 'failed',
    found: expect.stringContaining('missing or damaged') as string,
  });
  expect(test.checks.find((check) => check.id === 'database-recovery')?.state).toBe('skipped');
}, 120_000);

test('a withheld piece leaves a gap, in which nothing is recovered', async () => {
  const paths = piecePaths();
  const path = paths.at(-1) ?? '';
  renameSync(path, `${path}.hidden`);
  const status = await appliance.owner.call<PointInTimeStatus>('GET', '/point-in-time');
  const last = status.body.targets[0]?.windows.at(-1)?.to ?? '';

  const test = await testMoment(last);
  renameSync(`${path}.hidden`, path);

  expect(test.checks.find((check) => check.id === 'log')).toMatchObject({ state: 'failed' });
}, 120_000);
