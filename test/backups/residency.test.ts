/** Copies stay where they may lie, and the signed report of a restore test says where that is. */
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readReport } from '../../server/restore-tests/report.ts';
import { openDatabase } from '../../server/lib/db.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus, SETTINGS } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

/** A restore test takes seconds, and much longer where much else runs. */
const LIMIT_MS = 120_000;

let appliance: StockedAppliance;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
}, LIMIT_MS);
afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

/** Its residency check, as the signed report has it. */
async function testNewest() {
  const { owner } = appliance;
  const snapshotId = await appliance.takeSnapshot();
  const body = { snapshotId, targetId: appliance.targetId, mode: 'quick', keySource: 'test-identity' };
  const begun = await expectStatus(owner.call<RestoreTest>('POST', '/restore-tests', body), 202);
  await appliance.performRun();
  const ended = await expectStatus(owner.call<RestoreTest>('GET', `/restore-tests/${begun.id}`), 200);
  const url = `/api/v1/restore-tests/${begun.id}/report`;
  const reply = await appliance.app.inject({ method: 'GET', url, headers: { cookie: owner.cookie } });
  const report = readReport(reply.rawPayload);
  return { state: ended.state, check: report.checks.find(({ id }) => id === 'residency') };
}

test(
  'the report says in which region the copy lies, and that all targets lie in allowed ones',
  { timeout: LIMIT_MS },
  async () => {
    expect(await testNewest()).toMatchObject({
      state: 'passed',
      check: {
        state: 'passed',
        expected: 'only eu-north',
        found: 'this copy: eu-north (a person said so); targets in use by region: eu-north 1',
      },
    });
  },
);

test('a region in which copies are kept stays allowed until the target is retired', async () => {
  const { owner } = appliance;
  const put = (allowedRegions: string[]) =>
    owner.call('PUT', '/settings/appliance', { ...SETTINGS, region: 'eu-west', allowedRegions });
  await expectStatus(put(['eu-west', 'eu-north']), 200);

  const refused = await put(['eu-west']);

  expect(refused.status).toBe(409);
  expect(JSON.stringify(refused.body)).toContain('copy in eu-north');
  const { body } = await owner.call<{ allowedRegions: string[] }>('GET', '/settings/appliance');
  expect(body.allowedRegions).toEqual(['eu-west', 'eu-north']);
});

test('a target outside fails the test, and the report names its region', { timeout: LIMIT_MS }, async () => {
  // As a database that somebody set back, or changed by hand, has it.
  const db = openDatabase(appliance.database.adminAddress, { name: 'test', max: 1 });
  await sql`update appliance set allowed_regions = '{eu-west}'`.execute(db);
  await db.destroy();

  expect(await testNewest()).toMatchObject({
    state: 'failed',
    check: { state: 'failed', expected: 'only eu-west' },
  });
});
