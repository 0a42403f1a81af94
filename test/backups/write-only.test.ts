/**
 * Write-only mode with everything real: what goes on without a key here, what says that it needs the kit, restore tests that wait for it,
 * and the way back by a new generation, which the appliance opens while what is older stays with the kits.
 */
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import type { KeyRegister } from '../../server/appliance/kits/schema.ts';
import type { Overview } from '../../server/appliance/schema.ts';
import { publishKeysWhenDue } from '../../server/backups/index.ts';
import { connectKeyd, credentialPath } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { changeSchedule, ensureSchedules, startDueRuns } from '../../server/lib/schedules.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { remindOfKit, settleRestoreTests } from '../../server/restore-tests/index.ts';
import type { RestoreTestPage } from '../../server/restore-tests/schema.ts';
import { expectStatus, proveTestKit } from '../helpers/appliance.ts';
import { verifyByKit } from '../helpers/second-target.ts';
import {
  queueScheduledRun,
  startStockedAppliance,
  stock,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';
import { lendFromKit } from '../restore-tests/open-kit.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

const DAY_MS = 86_400_000;
const NEEDS_KIT = { status: 409, body: { error: { code: 'needs_kit' } } };

let appliance: StockedAppliance;
/** Taken before, while, and after it was write-only. */
let before: string;
let sealed: string;
let after: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  vi.stubEnv('HOLDFAST_DATA', appliance.dataDir);
  await stock(appliance);
  before = await appliance.takeSnapshot();
  await ensureSchedules(appliance.deps);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await (appliance as StockedAppliance | undefined)?.close();
});

const turn = (on: boolean, follows: number) =>
  appliance.console.call('POST', '/keys/write-only', { on, follows, reason: 'A thief could read them' });
const browse = (id: string) =>
  appliance.owner.call<{ items: { nodeId: string }[] }>(
    'GET',
    `/snapshots/${id}/content?folderId=${appliance.rootFolderId}`,
  );
const startTest = (body: object) =>
  appliance.owner.call('POST', '/restore-tests', {
    ...{ targetId: appliance.targetId, mode: 'quick', keySource: 'test-identity' },
    ...body,
  });
const passes = async (snapshotId: string, body: object = {}): Promise<void> => {
  await expectStatus(startTest({ snapshotId, ...body }), 202);
  const run = await appliance.performRun();
  expect(run.result, run.lines.join('\n')).toMatchObject({ state: 'passed' });
};
const withKit = async () => ({ keySource: 'recovery-kit', lent: await lendFromKit(appliance) });
const register = async (on?: string): Promise<KeyRegister> => {
  const query = on === undefined ? '' : `?on=${on}`;
  return expectStatus(appliance.console.call<KeyRegister>('GET', `/keys/register${query}`), 200);
};
const day = (ahead: number): string =>
  new Date(appliance.clock.now().getTime() + ahead * DAY_MS).toISOString().slice(0, 10);
const overview = () => expectStatus(appliance.owner.call<Overview>('GET', '/overview'), 200);
const tests = () => expectStatus(appliance.owner.call<RestoreTestPage>('GET', '/restore-tests'), 200);
const quickTest = async () => (await tests()).schedules.find(({ name }) => name === 'restore-test');
/** As if so much time had passed: a clock that is set forward and back would leave an audit log that is out of order. */
const age = (days: number) =>
  appliance.deps.db
    .updateTable('restore_tests')
    .set({
      created_at: sql<Date>`created_at - make_interval(days => ${days})`,
      reminded_at: sql<Date>`reminded_at - make_interval(days => ${days})`,
    })
    .execute();
const alertOf = async (name: string) =>
  (await checkForAlerts(appliance.deps)).filter((one) => one.name === name).map(({ state }) => state);
/** As the chore does: other keys than the last are brought at once. */
const publishKeys = async (): Promise<void> => {
  await publishKeysWhenDue(appliance.deps);
  expect(await appliance.performRun()).toMatchObject({ kind: 'publish-keys', state: 'succeeded' });
};
async function verify() {
  await expectStatus(appliance.owner.call('POST', `/targets/${appliance.targetId}/verify`), 202);
  return appliance.performRun();
}

describe('turning it on', () => {
  test('waits for whoever has the keys in memory, and for restore tests that are under way', async () => {
    await expectStatus(startTest({ choice: 'latest' }), 202);
    const waiting = await turn(true, 1);
    expect(waiting).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
    expect((await appliance.performRun()).result).toMatchObject({ state: 'passed' });

    const paths = dataPaths(appliance.dataDir);
    const run = await connectKeyd({
      ...{ socketPath: paths.keydSocket, credentialFile: credentialPath(paths.run, 'run') },
      ...{ role: 'run', clock: systemClock },
    });
    const runId = crypto.randomUUID();
    await appliance.deps.keys.lend(runId, null, { testIdentity: true });
    await run.testIdentities(runId);
    expect(JSON.stringify((await turn(true, 1)).body)).toContain('A run that is under way holds the key');
    await run.close();
    expect((await appliance.deps.keys.status()).repository.writeOnly).toBe(false);
  });

  test('destroys the keys, of a process that looks into snapshots too, and says who and why', async () => {
    expect((await browse(before)).status).toBe(200);

    expect((await turn(true, 1)).body).toEqual({ generation: 1 });

    expect((await appliance.deps.keys.status()).repository).toMatchObject({ writeOnly: true, generation: 1 });
    const { body } = await appliance.console.call<{ items: unknown[] }>(
      'GET',
      '/audit?action=appliance.repository.write-only-on',
    );
    expect(body.items).toMatchObject([{ detail: { generation: 1, reason: 'A thief could read them' } }]);
    expect((await turn(true, 1)).status).toBe(409);
  });

  test('is in the register: on that day the appliance could open everything, on the next it cannot', async () => {
    const today = day(0);
    expect(await register()).toMatchObject({
      ...{ couldOpen: 2, testIdentity: { kept: true, opens: 'everything', generations: [1] } },
    });
    appliance.clock.offsetMs = DAY_MS;

    const { couldOpen, testIdentity } = await register();

    expect(couldOpen).toBe(1);
    expect(testIdentity).toMatchObject({ kept: false, opens: 'nothing', generations: [] });
    expect(testIdentity.spans).toMatchObject([{ generations: [1], to: expect.any(String) as string }]);
    expect((await register(today)).testIdentity.kept).toBe(true);
    appliance.clock.offsetMs = 0;
    const csv = await appliance.console.call<string>('GET', '/keys/register/export');
    expect(csv.body).toMatch(/"?test identity, in use"?,destroyed/);
  });
});

describe('while it is on', () => {
  test('the targets are given keys without the appliance in them, and snapshots go on', async () => {
    await publishKeys();
    await appliance.upload('written while nobody reads', Buffer.from('secret'));

    sealed = await appliance.takeSnapshot();

    expect(await verifyByKit(appliance, appliance.targetPath)).toEqual([1, 2]);
  });

  test('what needs a key says so, and nothing fails inside', async () => {
    for (const id of [before, sealed]) {
      expect(await browse(id)).toMatchObject(NEEDS_KIT);
      const { rootFolderId: folderId } = appliance;
      const wanted = { folderId, nodeId: folderId };
      expect(await appliance.owner.call('POST', `/snapshots/${id}/restores`, wanted)).toMatchObject(
        NEEDS_KIT,
      );
      expect(await startTest({ snapshotId: id })).toMatchObject(NEEDS_KIT);
    }
    const preflight = await appliance.owner.call<{ checks: { name: string; state: string }[] }>(
      'GET',
      '/restore-tests/preflight?choice=latest&mode=quick',
    );
    expect(preflight.body.checks.find(({ name }) => name === 'key')?.state).toBe('bad');
    const path = '/restore-tests/assertions/trials';
    const question = { sql: 'select 1', expected: { of: 'rows', is: 'at-least', value: 1 } };
    expect(await appliance.owner.call('POST', path, question)).toMatchObject(NEEDS_KIT);
    const pair = proveTestKit(appliance.owner);
    await expect(pair).rejects.toThrow('409');
  });

  test('reading back compares hashes, finds nothing wrong, and says how deep it looked', async () => {
    const run = await verify();

    expect(run).toMatchObject({ state: 'succeeded', result: { problems: 0, contentChecked: false } });
    expect(run.lines.join('\n')).toContain('this appliance has no key to what is stored');
  });

  test('a test that is due waits for the kit, once, is asked for again, and is overdue after a week', async () => {
    await appliance.deps.db.deleteFrom('restore_tests').execute();
    await appliance.deps.db.updateTable('schedules').set({ enabled: false, next_due_at: null }).execute();
    await writeTransaction(appliance.deps.db, (tx) =>
      changeSchedule(tx, appliance.deps.clock, 'restore-test', { cron: '0 4 * * 0', enabled: true }),
    );
    const due = async () => {
      const past = new Date(appliance.clock.now().getTime() - 60_000);
      const { db } = appliance.deps;
      await db
        .updateTable('schedules')
        .set({ next_due_at: past })
        .where('name', '=', 'restore-test')
        .execute();
      await startDueRuns(appliance.deps);
      return appliance.performRun();
    };
    const admin = await appliance.addPerson('admin');

    expect(await due()).toMatchObject({ state: 'partial', error: { code: 'needs_kit' } });
    await due();
    // Else it were due once more in the days that pass below, and nobody there to queue it.
    const far = new Date(appliance.clock.now().getTime() + 30 * DAY_MS);
    await appliance.deps.db
      .updateTable('schedules')
      .set({ next_due_at: far })
      .where('name', '=', 'restore-test')
      .execute();

    expect((await tests()).items.map(({ state }) => state)).toEqual(['needs-kit']);
    expect(await quickTest()).toMatchObject({ waitsForKit: true, overdue: false });
    expect((await overview()).verdict).not.toBe('proven');
    expect((await overview()).sentences.join(' ')).toContain(
      'write-only: restore tests need the recovery kit',
    );
    await appliance.deps.db.deleteFrom('mail_messages').execute();
    expect([await remindOfKit(appliance.deps), await remindOfKit(appliance.deps)]).toEqual([1, 0]);
    const [mail] = await appliance.deps.db.selectFrom('mail_messages').select('user_id').execute();
    expect(mail?.user_id).toBe(admin.userId);
    await age(4);
    expect(await remindOfKit(appliance.deps)).toBe(1);
    await age(4);
    expect(await remindOfKit(appliance.deps)).toBe(0);
    expect(await alertOf('restore tests')).toContain('bad');
    await settleRestoreTests(appliance.deps);
    expect(await alertOf('restore tests')).toContain('bad');
    expect((await tests()).items.map(({ state }) => state)).toEqual(['failed']);
    // That nobody came says nothing about what is stored.
    expect((await overview()).verdict).not.toBe('damaged');
  });

  test('the test with the kit passes, and nothing waits any more', async () => {
    await passes(sealed, await withKit());

    expect(await quickTest()).toMatchObject({ waitsForKit: false, overdue: false });
    expect(await alertOf('restore tests')).toEqual([]);
  });

  test('the only kit is not retired: nobody else opens anything', async () => {
    const { repository } = await appliance.deps.keys.status();
    expect(repository.kits).toHaveLength(1);
    const refused = await appliance.console.call('POST', `/recovery-kits/${appliance.kit.id}/retire`, {
      reason: 'Lost',
    });

    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'wrong_state' } } });
  });
});

describe('turning it off', () => {
  test('begins a generation that the appliance opens again; restore tests pass by its own key', async () => {
    expect((await turn(false, 1)).body).toEqual({ generation: 2 });
    // Before the next snapshot the newest one is still closed.
    expect(await startTest({ choice: 'latest' })).toMatchObject(NEEDS_KIT);
    await queueScheduledRun(appliance, 'restore-test', { mode: 'quick' });
    expect(await appliance.performRun()).toMatchObject({ error: { code: 'needs_kit' } });
    await publishKeys();

    after = await appliance.takeSnapshot();

    await passes(after);
    expect((await browse(after)).body.items).toHaveLength(appliance.files.size);
  });

  test('leaves what is older to the kits', async () => {
    for (const id of [before, sealed]) {
      expect(await browse(id)).toMatchObject(NEEDS_KIT);
      expect(await startTest({ snapshotId: id })).toMatchObject(NEEDS_KIT);
      await passes(id, await withKit());
    }
    await passes(after, await withKit());
    expect(await verifyByKit(appliance, appliance.targetPath)).toEqual([1, 2, 3]);
  });

  test('is in the register, with both times and what was opened in each', async () => {
    const { testIdentity } = await register();

    expect(testIdentity).toMatchObject({ kept: true, generations: [1, 2], opens: 'everything' });
    expect(testIdentity.spans).toMatchObject([{ generations: [1] }, { generations: [2], to: null }]);
    appliance.clock.offsetMs = DAY_MS;
    expect((await register()).testIdentity).toMatchObject({ generations: [2], opens: 'part' });
    appliance.clock.offsetMs = 0;
  });

  test('reading back reads what it opens, compares the rest, and takes neither for damage; snapshots and pruning go on', async () => {
    const run = await verify();

    expect(run).toMatchObject({ state: 'succeeded', result: { problems: 0, contentChecked: false } });
    expect(run.lines.join('\n')).toContain('2 of 3 snapshots');
    await appliance.takeSnapshot();
    await expectStatus(appliance.owner.call('POST', `/targets/${appliance.targetId}/prune`), 202);
    expect((await appliance.performRun()).state).toBe('succeeded');
  });

  test('lets a kit in again, which is told as opening a part, and can be retired, also in write-only mode', async () => {
    const later = await proveTestKit(appliance.owner);

    expect((await register()).kits.find(({ id }) => id === later.id)).toMatchObject({
      ...{ opens: 'part', generations: [2] },
    });
    await publishKeys();
    await passes(
      after,
      await (async () => ({
        keySource: 'recovery-kit',
        lent: await lendFromKit({ ...appliance, kit: later }),
      }))(),
    );
    expect((await turn(true, 2)).body).toEqual({ generation: 2 });
    const retired = await appliance.console.call('POST', `/recovery-kits/${later.id}/retire`, {
      reason: 'Lost',
    });
    expect(retired.status).toBe(204);
    expect((await appliance.deps.keys.status()).repository.kits.map(({ id }) => id)).toEqual([
      appliance.kit.id,
    ]);
  });
});
