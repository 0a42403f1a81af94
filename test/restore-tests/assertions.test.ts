/** Assertions from the one who writes them to the signed report. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Run } from '../../server/lib/run-schema.ts';
import type {
  Assertion,
  AssertionList,
  AssertionVersion,
  NewAssertion,
} from '../../server/restore-tests/assertions/schema.ts';
import { takeAttachedReport } from '../../server/lib/report-pages.ts';
import { verifyReport } from '../../server/restore-tests/index.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus, type TestCaller } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

const PATH = '/restore-tests/assertions';
const OWNERS: NewAssertion = {
  name: 'Somebody owns it',
  sql: `select count(*) from users where role = 'owner'`,
  expected: { of: 'number', is: 'at-least', value: 1 },
  runsIn: 'every',
  enabled: true,
};

let appliance: StockedAppliance;
let admin: TestCaller;
let snapshotId: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  snapshotId = await appliance.takeSnapshot();
  admin = await appliance.addPerson('admin');
}, 120_000);
afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});
afterEach(async () => {
  for (const { id } of (await list()).items) await expectStatus(admin.call('DELETE', `${PATH}/${id}`), 204);
});

const list = () => expectStatus(admin.call<AssertionList>('GET', PATH), 200);
const add = (change: Partial<NewAssertion> = {}) =>
  expectStatus(admin.call<Assertion>('POST', PATH, { ...OWNERS, ...change }), 201);

const actionsOf = async (id: string) => {
  const { items } = await expectStatus(
    appliance.owner.call<{ items: { action: string }[] }>('GET', `/audit?objectId=${id}`),
    200,
  );
  return items.map(({ action }) => action);
};

async function runTest(mode: 'quick' | 'full' = 'quick'): Promise<RestoreTest> {
  const { targetId } = appliance;
  const begun = await expectStatus(
    admin.call<RestoreTest>('POST', '/restore-tests', {
      ...{ snapshotId, targetId, mode, keySource: 'test-identity' },
    }),
    202,
  );
  await appliance.performRun();
  return expectStatus(admin.call<RestoreTest>('GET', `/restore-tests/${begun.id}`), 200);
}

const ownChecks = ({ checks }: RestoreTest) => checks.filter(({ assertion }) => assertion !== undefined);

describe('an assertion', () => {
  test('is read by an auditor and changed by administrators who proved who they are, and by nobody else', async () => {
    const [auditor, member] = [await appliance.addPerson('auditor'), await appliance.addPerson('member')];
    const { id } = await add();

    expect((await auditor.call('GET', PATH)).status).toBe(200);
    expect((await auditor.call('GET', `${PATH}/${id}/versions`)).status).toBe(200);
    expect((await member.call('GET', PATH)).status).toBe(403);
    for (const who of [auditor, member]) {
      expect((await who.call('POST', PATH, OWNERS)).status).toBe(403);
      expect((await who.call('PUT', `${PATH}/${id}`, { ...OWNERS, version: 1 })).status).toBe(403);
      expect((await who.call('DELETE', `${PATH}/${id}`)).status).toBe(403);
      expect((await who.call('POST', `${PATH}/trials`, OWNERS)).status).toBe(403);
    }
    expect((await list()).items).toHaveLength(1);
  });

  test('keeps every version, with who and when, in the audit log too', async () => {
    const { id } = await add();
    const changed = await expectStatus(
      admin.call<Assertion>('PUT', `${PATH}/${id}`, { ...OWNERS, name: 'An owner is there', version: 1 }),
      200,
    );
    const late = await admin.call('PUT', `${PATH}/${id}`, { ...OWNERS, version: 1 });
    await expectStatus(admin.call('DELETE', `${PATH}/${id}`), 204);

    expect(changed).toMatchObject({ version: 2, name: 'An owner is there', changedBy: { name: 'A admin' } });
    expect(late.status).toBe(409);
    const { items } = await expectStatus(
      admin.call<{ items: AssertionVersion[] }>('GET', `${PATH}/${id}/versions`),
      200,
    );
    expect(items.map(({ version, name, removed }) => [version, name, removed])).toEqual([
      [3, 'An owner is there', true],
      [2, 'An owner is there', false],
      [1, OWNERS.name, false],
    ]);
    expect(await actionsOf(id)).toEqual([
      'restore-tests.assertion.removed',
      'restore-tests.assertion.changed',
      'restore-tests.assertion.added',
    ]);
  });

  test('is asked in the order that was set', async () => {
    const [first, second] = [await add({ name: 'a' }), await add({ name: 'b' })];

    const { items } = await expectStatus(
      admin.call<AssertionList>('PUT', `${PATH}/order`, { ids: [second.id, first.id] }),
      200,
    );

    expect(items.map(({ name }) => name)).toEqual(['b', 'a']);
    expect((await admin.call('PUT', `${PATH}/order`, { ids: [first.id] })).status).toBe(409);
  });

  test.each<[string, object]>([
    ['no statement', { sql: ' ; ' }],
    ['a statement that is too long', { sql: 'x'.repeat(4_001) }],
    ['a NUL', { sql: 'select 1\0' }],
    ['no name', { name: '' }],
    ['a name of two lines', { name: 'a\nb' }],
    ['rows that cannot be', { expected: { of: 'rows', is: 'at-least', value: -1 } }],
    ['a number beyond all limits', { expected: { of: 'number', is: 'equal', value: 1e300 } }],
    ['a comparison that is none', { expected: { of: 'number', is: 'like', value: 1 } }],
    ['tests that are none', { runsIn: 'never' }],
  ])('with %s is refused', async (_what, change) => {
    expect((await admin.call('POST', PATH, { ...OWNERS, ...change })).status).toBe(400);
    expect((await list()).items).toEqual([]);
  });

  test('beyond the fiftieth is refused', async () => {
    for (let count = 0; count < 50; count += 1) await add({ name: `No. ${count}` });

    expect((await admin.call('POST', PATH, OWNERS)).status).toBe(409);
  });

  test('that is not there cannot be changed', async () => {
    expect((await admin.call('PUT', `${PATH}/${randomUUID()}`, { ...OWNERS, version: 1 })).status).toBe(404);
    expect((await admin.call('DELETE', `${PATH}/${randomUUID()}`)).status).toBe(404);
    expect((await admin.call('GET', `${PATH}/${randomUUID()}/versions`)).status).toBe(404);
  });
});

describe('a restore test', () => {
  test('asks them in the restored database, and its signed report and pages say what was expected and found', async () => {
    const owner = await add();
    const files = await add({
      name: 'Three files with a size',
      sql: 'select n.id from nodes n join file_versions v on v.node_id = n.id where v.size_bytes >= 0;',
      expected: { of: 'rows', is: 'equal', value: 3 },
    });
    await add({ name: 'Off', enabled: false });
    await add({ name: 'Only full', runsIn: 'full' });
    await add({ name: 'Only with the kit', runsIn: 'kit' });

    const ended = await runTest();

    expect(ended).toMatchObject({ state: 'passed', grade: 'data-proven' });
    expect(ownChecks(ended)).toMatchObject([
      { label: owner.name, state: 'passed', found: '1', assertion: { id: owner.id, version: 1 } },
      { label: files.name, state: 'passed', found: '3 rows', assertion: { sqlSha256: files.sqlSha256 } },
    ]);
    const pdf = await appliance.app.inject({
      method: 'GET',
      url: `/api/v1/restore-tests/${ended.id}/report.pdf`,
      headers: { cookie: appliance.owner.cookie },
    });
    const signed = takeAttachedReport(pdf.rawPayload);
    const trustRoot = Buffer.from(appliance.kit.trustRoot, 'base64');
    expect((await verifyReport(signed, { trustRoot })).checks).toEqual(ended.checks);
    expect(signed.toString('utf8')).not.toContain('select count');
  }, 120_000);

  test('fails by one that does not hold, by one that is refused, and by one of which only the error would tell', async () => {
    await add({ expected: { of: 'number', is: 'equal', value: 7 } });
    await add({ name: 'Hashes', sql: 'select password_hash from users', expected: { of: 'true' } });
    await add({ name: 'Quoted', sql: 'select role::int from users', expected: { of: 'true' } });

    const ended = await runTest('full');

    expect(ended).toMatchObject({ state: 'failed', grade: null });
    expect(ended.checks.filter(({ state }) => state !== 'passed')).toEqual(ownChecks(ended));
    expect(ownChecks(ended).map(({ found }) => found)).toEqual([
      '1',
      'refused: it reads or calls something that may not be asked (42501)',
      'a value that is not true or false',
    ]);
  }, 120_000);
});

describe('a trial', () => {
  const trial = async (question: object) => {
    const run = await expectStatus(admin.call<Run>('POST', `${PATH}/trials`, question), 202);
    const ended = await appliance.performRun();
    return { run, ended };
  };

  test('asks the restored newest snapshot, leaves no test and no report, and is audited', async () => {
    const { sql, expected } = OWNERS;
    const before = await expectStatus(admin.call<{ total: number }>('GET', '/restore-tests'), 200);

    const { run, ended } = await trial({ sql, expected });

    expect(ended).toMatchObject({
      state: 'succeeded',
      result: { trial: true, passed: true, found: '1', snapshotId },
    });
    const after = await expectStatus(admin.call<{ total: number }>('GET', '/restore-tests'), 200);
    expect(after.total).toBe(before.total);
    expect(await actionsOf(run.id)).toEqual(['restore-tests.assertion.tried']);
  }, 120_000);

  test('tells no more than a test does', async () => {
    const { ended } = await trial({ sql: 'select email_sealed from users', expected: { of: 'true' } });

    expect(ended.result).toMatchObject({
      passed: false,
      found: 'refused: it reads or calls something that may not be asked (42501)',
    });
  }, 120_000);
});
