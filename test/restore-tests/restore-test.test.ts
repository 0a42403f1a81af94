import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { CHECKS } from '../../server/restore-tests/perform-test.ts';
import { testWithKit, verifyReport } from '../../server/restore-tests/index.ts';
import type { RestoreTest, RestoreTestPage } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import {
  queueScheduledRun,
  startStockedAppliance,
  stock,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';
import { lendFromKit } from './open-kit.ts';

let appliance: StockedAppliance;
let snapshotId: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  snapshotId = await appliance.takeSnapshot();
}, 120_000);

afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

const start = (change: Record<string, unknown> = {}) =>
  appliance.owner.call<RestoreTest>('POST', '/restore-tests', {
    ...{ snapshotId, targetId: appliance.targetId, mode: 'quick', keySource: 'test-identity' },
    ...change,
  });

const show = (id: string) =>
  expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${id}`), 200);

const scratch = () => readdirSync(dataPaths(appliance.dataDir).scratch);

const kitTrust = () => ({
  kit: {
    repositoryId: appliance.kit.repositoryId,
    trustRoot: Buffer.from(appliance.kit.trustRoot, 'base64'),
    ageIdentity: appliance.kit.identity,
  },
});

const reportOf = async (id: string) => {
  const response = await appliance.app.inject({
    method: 'GET',
    url: `/api/v1/restore-tests/${id}/report`,
    headers: { cookie: appliance.owner.cookie },
  });
  expect(response.statusCode).toBe(200);
  return response.rawPayload;
};

describe('a restore test is refused', () => {
  test('to a member', async () => {
    const member = await appliance.addPerson('member');

    expect((await member.call('POST', '/restore-tests', {})).status).toBe(403);
    expect((await member.call('GET', '/restore-tests')).status).toBe(403);
  });

  test('for a snapshot that is not there', async () => {
    expect((await start({ snapshotId: 'f'.repeat(64) })).status).toBe(404);
  });

  test('with the kit, when nothing was lent or the kit is another one', async () => {
    expect((await start({ keySource: 'recovery-kit' })).status).toBe(400);

    const lent = { ...(await lendFromKit(appliance)), kitId: '00000000-0000-4000-8000-000000000000' };

    expect((await start({ keySource: 'recovery-kit', lent })).status).toBe(400);
  });

  test('with keys lent to a test that does not ask for them', async () => {
    expect((await start({ lent: await lendFromKit(appliance) })).status).toBe(400);
  });
});

describe('a restore test', () => {
  test('of a whole snapshot passes every check, and its signed report verifies by the trust root alone', async () => {
    const begun = await expectStatus(start({ mode: 'full' }), 202);
    expect(begun.state).toBe('running');

    const run = await appliance.performRun();

    const ended = await show(begun.id);
    expect(ended.checks.filter((check) => check.state !== 'passed')).toEqual([]);
    expect(run).toMatchObject({ state: 'succeeded', error: null });
    expect(ended).toMatchObject({ state: 'passed', grade: 'data-proven', mode: 'full', snapshotId });
    expect(ended.checks.map((check) => check.id)).toEqual([...CHECKS.map((check) => check.id), 'residency']);
    expect(ended.rtoMs).toBeGreaterThan(0);
    expect(ended.rpoMs).toBeGreaterThanOrEqual(0);
    expect(run.reports.at(-1)?.steps?.every((step) => step.state === 'passed')).toBe(true);
    expect(scratch()).toEqual([]);
    expect(ended.rtoBasis).toBe('measured');
    // An auditor knows the public half of the trust root, and has no kit.
    const { trustRoot } = kitTrust().kit;
    const report = await verifyReport(await reportOf(begun.id), { trustRoot });
    expect(report).toMatchObject({
      id: begun.id,
      state: 'passed',
      grade: 'data-proven',
      snapshot: { id: snapshotId },
    });
  }, 120_000);

  test('with the kit never asks the live keyring, and is kit-proven', async () => {
    const lent = await lendFromKit(appliance);
    const begun = await expectStatus(start({ keySource: 'recovery-kit', lent }), 202);

    const run = await appliance.performRun();

    const ended = await show(begun.id);
    expect(ended.checks.filter((check) => check.state !== 'passed')).toEqual([]);
    expect(run.state).toBe('succeeded');
    expect(ended).toMatchObject({ state: 'passed', grade: 'kit-proven', kitId: appliance.kit.id });
    const report = await verifyReport(await reportOf(begun.id), kitTrust());
    expect(report.keyringObjects).toEqual(lent.keyringFileKeys.map(({ name }) => name));
    const kept = await appliance.deps.db
      .selectFrom('runs')
      .select('input')
      .where('id', '=', begun.runId)
      .execute();
    expect(JSON.stringify(kept)).not.toContain(lent.keys.slice(0, 40));
    expect(run.lines.join()).not.toContain('AGE-SECRET-KEY');
  }, 120_000);

  test('with nothing but target and kit needs no appliance', async () => {
    const verdict = await testWithKit({
      target: { kind: 'directory', path: appliance.targetPath },
      kit: { ...appliance.kit, ageIdentity: appliance.kit.identity },
      mode: 'quick',
      workDir: join(appliance.dataDir, 'scratch'),
      clock: appliance.clock,
      signal: new AbortController().signal,
    });

    expect(verdict.checks.filter((check) => check.state !== 'passed')).toEqual([]);
    expect(verdict.passed).toBe(true);
    expect(scratch()).toEqual([]);
  }, 120_000);

  test('that is due chooses the newest snapshot by itself', async () => {
    await queueScheduledRun(appliance, 'restore-test', { mode: 'quick' });

    const run = await appliance.performRun();

    expect(run.state).toBe('succeeded');
    const page = await expectStatus(
      appliance.owner.call<RestoreTestPage>('GET', '/restore-tests?limit=1'),
      200,
    );
    expect(page.items[0]).toMatchObject({ runId: run.id, state: 'passed', snapshotId });
    expect(page.nextCursor).not.toBeNull();
  }, 120_000);

  test('that is cancelled leaves nothing unpacked', async () => {
    const begun = await expectStatus(start(), 202);

    const run = await appliance.performRun(AbortSignal.timeout(300));

    expect(run.state).toBe('cancelled');
    expect(await show(begun.id)).toMatchObject({ state: 'cancelled', grade: null });
    expect(scratch()).toEqual([]);
    expect((await appliance.owner.call('GET', `/restore-tests/${begun.id}/report`)).status).toBe(404);
  }, 120_000);

  test('is recorded in the audit log from start to end', async () => {
    const begun = await expectStatus(start(), 202);
    await appliance.performRun();

    const { items } = await expectStatus(
      appliance.owner.call<{ items: { action: string }[] }>('GET', `/audit?objectId=${begun.id}`),
      200,
    );

    expect(items.map((entry) => entry.action)).toEqual([
      'restore-tests.test.passed',
      'restore-tests.test.started',
    ]);
  }, 120_000);
});

test('a changed report does not verify', async () => {
  const page = await expectStatus(appliance.owner.call<RestoreTestPage>('GET', '/restore-tests'), 200);
  const passed = page.items.find((item) => item.state === 'passed');
  const bytes = await reportOf(passed?.id ?? '');

  const changed = Buffer.from(bytes.toString('utf8').replace('"mode":"quick"', '"mode":"full"'));

  expect(changed.equals(bytes)).toBe(false);
  await expect(verifyReport(changed, kitTrust())).rejects.toMatchObject({ code: 'integrity_failure' });
  expect(existsSync(join(appliance.dataDir, 'keyring'))).toBe(true);
});
