/** A set-back that a person wants: asked for, approved by another, begun once. The real server, hostd's real application, real snapshots. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { settlePermits, type SetBackPlan, type SetBackView } from '../../server/appliance/index.ts';
import { approvalActs } from '../../server/approval-acts.ts';
import { settleApprovals } from '../../server/identity/index.ts';
import { kitToJson, makeRecoveryKit } from '../../server/keys/index.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { DATABASE_NAME } from '../../server/lib/database-setup.ts';
import { ADMIN_ROLE, socketAddress, startPostgres, withClient } from '../../server/lib/postgres/index.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { expectStatus, SETTINGS, type TestCaller } from '../helpers/appliance.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { makeLiveData, startSetBackMachine, type SetBackMachine } from './host/set-back-machine.ts';

const HOUR_MS = 3_600_000;
const LONG_MS = 240_000;
const CHILD = join(import.meta.dirname, 'set-back-begin-child.ts');
const CRASH_AT = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');
const REASON = 'The update broke the folders';

let appliance: StockedAppliance;
let box: SetBackMachine;
let owner: TestCaller;
let second: TestCaller & { userId: string };
let admin: TestCaller & { userId: string };
let kit: string;
let snapshot: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  ({ owner } = appliance);
  [second, admin] = [await appliance.addPerson('owner'), await appliance.addPerson('admin')];
  await appliance.upload('kept.txt', Buffer.from('kept'));
  snapshot = await appliance.takeSnapshot();
  await appliance.upload('later.txt', Buffer.from('later '.repeat(1000)));
  const { repositoryId, trustRoot, identity } = appliance.kit;
  kit = kitToJson(
    makeRecoveryKit({
      ...{ kitId: appliance.kit.id, applianceName: SETTINGS.name, createdAt: '2026-01-01T00:00:00.000Z' },
      ...{ repositoryId, trustRoot, ageIdentity: identity, targets: [] },
    }),
  );
  box = await startSetBackMachine([dirname(appliance.targetPath)]);
  await makeLiveData(box.dataDir, dataPaths(appliance.dataDir).keyring);
  appliance.deps.config.hostSocket = box.socket;
}, LONG_MS);
afterAll(async () => {
  await box.close();
  await appliance.close();
});
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  await setOthers(true);
  await appliance.deps.db.deleteFrom('set_back_permits').execute();
  await appliance.deps.db.deleteFrom('approvals').execute();
});
afterEach(() => void (appliance.clock.offsetMs = 0));

/** With or without others who could decide. */
async function setOthers(present: boolean): Promise<void> {
  await appliance.deps.db
    .updateTable('users')
    .set({ disabled_at: present ? null : new Date() })
    .where('id', 'in', [second.userId, admin.userId])
    .execute();
}

interface Refused {
  error: { code: string; message: string; hint?: string };
}
type Asked = { approval: { id: string; state: string } } & Refused;

const ask = (who: TestCaller = owner, wanted = snapshot) =>
  who.call<Asked>('POST', '/host/set-back/requests', { snapshot: wanted, reason: REASON });
async function permitted(): Promise<string> {
  const { approval } = await expectStatus(ask(), 202);
  await expectStatus(admin.call('POST', `/approvals/${approval.id}/approve`), 204);
  return approval.id;
}
const begin = (more: object = {}, who: TestCaller = owner) =>
  who.call<Refused>('POST', '/host/set-back', { snapshot, kit, name: SETTINGS.name, ...more });
const requestOf = async (who: TestCaller = owner) => {
  const plan = who.call<SetBackPlan>('GET', `/host/set-back/plan?snapshot=${snapshot}`);
  return (await expectStatus(plan, 200)).request;
};
const stateOf = async () => (await requestOf())?.state;
const settle = () => settleApprovals({ ...appliance.deps, acts: approvalActs(appliance.deps) });
async function entries(action: string) {
  const rows = await appliance.deps.db
    .selectFrom('audit_entries')
    .select(['actor_id', 'object_id', 'result', 'detail'])
    .where('action', '=', action)
    .orderBy('at')
    .execute();
  return rows;
}
const view = () => box.client.get<SetBackView>('/set-back');

async function come(state: string): Promise<SetBackView['record']> {
  await box.setBack.idle();
  const { record } = await view();
  expect([record?.state, box.said()]).toEqual([state, expect.any(String)]);
  return record;
}

describe('refused, and hostd hears nothing of it:', () => {
  beforeEach(() => void (box.acts.length = 0));
  afterEach(async () => {
    expect(box.acts).toEqual([]);
    expect((await view()).record).toBeNull();
  });

  test('to begin without an approval, with one that waits, that was refused, or that is for another snapshot', async () => {
    const other = await appliance.takeSnapshot();

    expect((await begin()).body.error.message).toContain('Nobody has approved this set-back');
    const { approval } = await expectStatus(ask(), 202);
    expect((await begin()).status).toBe(409);
    expect((await owner.call('POST', `/approvals/${approval.id}/approve`)).status).toBe(403);
    await expectStatus(admin.call('POST', `/approvals/${approval.id}/refuse`, { reason: 'Not today' }), 204);
    expect((await begin()).status).toBe(409);
    expect(await requestOf()).toMatchObject({ state: 'refused', decisionReason: 'Not today', until: null });
    await permitted();
    expect((await begin({ snapshot: other })).status).toBe(409);

    expect(await stateOf()).toBe('permitted');
    const refusals = (await entries('appliance.set-back.wanted')).map(({ result }) => result);
    expect(refusals).toEqual(['refused', 'refused', 'refused', 'refused']);
  });

  test('to ask at the console, as somebody who may not, without a reason, for a snapshot that is not there, or twice', async () => {
    expect((await ask(appliance.console)).status).toBe(409);
    expect((await ask(admin)).status).toBe(403);
    expect((await owner.call('POST', '/host/set-back/requests', { snapshot, reason: 'x' })).status).toBe(400);
    expect((await ask(owner, 'ab'.repeat(32))).status).toBe(404);
    await expectStatus(ask(), 202);
    expect((await ask(second)).status).toBe(409);
    const [pending] = (await expectStatus(admin.call<{ items: { id: string }[] }>('GET', '/approvals'), 200))
      .items;
    await expectStatus(admin.call('POST', `/approvals/${pending?.id ?? ''}/approve`), 204);
    expect((await ask(second)).body.error.message).toContain('approved already');
  });

  test('what was approved, when nobody begins it in a day, with an entry that says so', async () => {
    const id = await permitted();
    expect(await requestOf()).toMatchObject({ id, state: 'permitted', canWithdraw: true });
    const until = Date.parse((await requestOf())?.until ?? '');
    expect(Math.round((until - Date.now()) / HOUR_MS)).toBe(24);
    appliance.clock.offsetMs = 24 * HOUR_MS + 1000;
    const late = await appliance.signIn('ada@example.org', 'copper kettle sings 7');

    expect((await begin({}, late)).status).toBe(409);
    expect((await requestOf(late))?.state).toBe('lapsed');
    await Promise.all([settlePermits(appliance.deps), settlePermits(appliance.deps)]);

    expect((await entries('appliance.set-back.permit-expired')).map((one) => one.object_id)).toEqual([id]);
  });

  test('what was approved, when the approval was taken back; whoever asked is told', async () => {
    const id = await permitted();

    await expectStatus(admin.call('POST', `/host/set-back/permits/${id}/withdraw`), 204);

    expect((await begin()).status).toBe(409);
    expect(await requestOf()).toMatchObject({ state: 'taken-back', endedBy: { id: admin.userId } });
    expect((await admin.call('POST', `/host/set-back/permits/${id}/withdraw`)).status).toBe(409);
    expect((await admin.call('POST', `/host/set-back/permits/${randomUUID()}/withdraw`)).status).toBe(404);
    expect(await entries('appliance.set-back.permit-withdrawn')).toMatchObject([{ actor_id: admin.userId }]);
  });

  test('what was approved, when whoever asked may not do it any more', async () => {
    const { approval } = await expectStatus(ask(second), 202);
    await expectStatus(admin.call('POST', `/approvals/${approval.id}/approve`), 204);
    await appliance.deps.db
      .updateTable('users')
      .set({ disabled_at: new Date() })
      .where('id', '=', second.userId)
      .execute();

    expect((await begin()).body.error.message).toContain('may not do it any more');
  });

  test('what was approved, when more would be lost since and nobody has agreed to that', async () => {
    await permitted();
    expect(await requestOf()).toMatchObject({ state: 'permitted', grown: false });
    for (const name of ['a', 'b', 'c'])
      await appliance.upload(`${name}-${randomUUID()}`, Buffer.alloc(50_000, name));

    expect(await requestOf()).toMatchObject({ grown: true });
    const { status, body } = await begin();

    expect([status, body.error.message]).toEqual([409, 'More would be lost than when this was asked for']);
    expect(body.error.hint).toMatch(/Now it is \d+ files added or changed \(/);
    expect(await stateOf()).toBe('permitted');
  });

  test('what was approved, with a wrong name or a wrong kit: it may be begun again all the same', async () => {
    const id = await permitted();

    expect((await begin({ name: 'Another' })).status).toBe(400);
    const wrong = kit.replace(appliance.kit.repositoryId, randomUUID());
    expect((await begin({ kit: wrong })).status).toBeGreaterThanOrEqual(400);

    expect(await requestOf()).toMatchObject({ id, state: 'permitted', endedBy: null });
  });

  test('a moment for which only its snapshot was approved', async () => {
    await permitted();
    const moment = new Date().toISOString();

    expect((await begin({ moment })).body.error).toMatchObject({ code: 'wrong_state' });

    expect(await stateOf()).toBe('permitted');
  });

  test('a snapshot for which only a moment was approved, and a moment that no log reaches', async () => {
    const moment = new Date().toISOString();
    const { target } = await expectStatus(
      owner.call<SetBackPlan>('GET', `/host/set-back/plan?snapshot=${snapshot}`),
      200,
    );
    const wish = { snapshot, moment, target: target.id, reason: REASON };
    const { approval } = await expectStatus(owner.call<Asked>('POST', '/host/set-back/requests', wish), 202);
    const { items } = await expectStatus(
      admin.call<{ items: { id: string; moment: unknown }[] }>('GET', '/approvals'),
      200,
    );
    expect(items.find(({ id }) => id === approval.id)?.moment).toEqual({ at: moment, target: target.id });
    await expectStatus(admin.call('POST', `/approvals/${approval.id}/approve`), 204);

    expect((await begin()).body.error).toMatchObject({ code: 'wrong_state' });
    expect((await begin({ moment, target: target.id })).body.error).toMatchObject({ code: 'not_found' });

    expect(await entries('appliance.set-back.wanted')).toContainEqual(
      expect.objectContaining({
        result: 'refused',
        detail: expect.objectContaining({ moment, target: target.id }) as unknown,
      }),
    );
  });

  test('what was approved, after a kill between its use and hostd: it is used up, and may be asked for anew', async () => {
    await permitted();
    const child = startProcess(process.execPath, ['--import', CRASH_AT, CHILD], {
      env: childEnvironment({
        HOLDFAST_TEST_CRASH_AT: 'appliance.set-back.wanted:1',
        HOLDFAST_TEST_ORDER: JSON.stringify({
          ...{ address: appliance.database.address, dataDir: appliance.dataDir, hostSocket: box.socket },
          ...{ userId: second.userId, body: { snapshot, kit, name: SETTINGS.name } },
        }),
      }),
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    expect((await endOf(child)).signal).toBe('SIGKILL');

    expect(await requestOf()).toMatchObject({ state: 'used', endedBy: { id: second.userId } });
    expect((await begin()).status).toBe(409);
    await expectStatus(ask(), 202);
  });

  test('to whoever approves it is told in numbers, and that approving begins nothing', async () => {
    await expectStatus(ask(), 202);

    type Listed = { items: { title: string; consequence: string; permit: boolean; objectId: string }[] };
    const { items } = await expectStatus(admin.call<Listed>('GET', '/approvals'), 200);

    expect(items).toMatchObject([{ title: 'Set this appliance back', permit: true, objectId: snapshot }]);
    expect(items[0]?.consequence).toMatch(
      / [1-9]\d* files? added or changed \([\d.]+ [KM]?i?B\), no deletions/,
    );
    expect(items[0]?.consequence).toContain('Approving does not begin it');
  });

  test('at the console, without a reason or a kit of this appliance', async () => {
    expect((await begin({}, appliance.console)).body.error.message).toContain('A reason is needed');
  });

  test('a sole administrator, until the waiting period is over', async () => {
    await setOthers(false);
    const { approval } = await expectStatus(ask(), 202);
    expect(approval.state).toBe('waiting');
    await settle();
    type Banners = { banners: { kind: string; message: string }[] };
    const { banners } = await expectStatus(owner.call<Banners>('GET', '/session'), 200);
    expect(banners.find(({ kind }) => kind === 'approval')?.message).toContain('without a second person');
    expect((await begin()).status).toBe(409);
    await appliance.deps.db
      .updateTable('approvals')
      .set({ waited_ms: 24 * HOUR_MS })
      .execute();

    await settle();

    expect(await requestOf()).toMatchObject({ state: 'permitted', decidedBy: null });
  });
});

describe('what was approved', () => {
  test(
    'is begun once, and never again: not from the snapshot, in which it lies unused, nor after undoing, in a database that lacks the mark',
    { timeout: LONG_MS },
    async () => {
      const first = snapshot;
      const id = await permitted();
      // In the next snapshot this permit lies unused, and a request of another kind undecided.
      const { approval: other } = await expectStatus(
        owner.call<Asked>('PUT', '/audit/retention', { actsDays: 400, readsDays: 180, reason: 'Less' }),
        202,
      );
      const later = await appliance.takeSnapshot();
      snapshot = later;
      await permitted();

      const both = await Promise.all([begin(), begin({ acceptMore: true }, second)]);

      expect(both.map(({ status }) => status).sort()).toEqual([202, 409]);
      const record = await come('kept');
      expect(record?.wanted.approval).toMatchObject({ approvedBy: admin.userId });
      expect(await stateOf()).toBe('used');

      // What the snapshot brought back.
      const found = await readRecovered(box.dataDir, async (query) => [
        await query('select state from set_back_permits where approval_id = $1', [id]),
        await query('select state, failure from approvals where id = $1', [other.id]),
        await query(
          `select (detail ->> 'endedApprovals')::int as ended from audit_entries where action = 'backups.appliance.recovered'`,
        ),
      ]);
      expect(found).toMatchObject([
        [{ state: 'void' }],
        [{ state: 'failed', failure: expect.stringContaining('was recovered') as string }],
        [{ ended: 2 }],
      ]);

      // A database in which nothing of it was ever marked, by whatever way it came.
      await appliance.deps.db
        .updateTable('set_back_permits')
        .set({ state: 'open', ended_at: null, ended_by: null })
        .execute();
      const barred = async () => (await begin({ acceptMore: true })).body.error.message;
      expect(await barred()).toContain('was set back since');
      await box.client.send('POST', '/set-back/undo', { actor: { kind: 'console' }, reason: REASON });
      await come('undone');
      expect(await barred()).toContain('was set back since');
      snapshot = first;
      expect(await barred()).toContain('was set back since');
      expect(await stateOf()).toBe('void');
      await settlePermits(appliance.deps);
      expect(await entries('appliance.set-back.permit-void')).toHaveLength(2);
      expect((await begin()).body.error.message).toContain('Nobody has approved');
    },
  );

  test('holds for the other who may, and the console needs none', { timeout: LONG_MS }, async () => {
    await permitted();
    await expectStatus(begin({ acceptMore: true }, second), 202);
    await come('kept');
    expect((await ask()).body.error.message).toContain('still set aside');
    await box.client.send('POST', '/set-back/undo', { actor: { kind: 'console' }, reason: REASON });
    await come('undone');

    await expectStatus(begin({ reason: REASON }, appliance.console), 202);

    expect((await come('kept'))?.wanted).toMatchObject({ actor: { kind: 'console' }, reason: REASON });
  });

  test('to discard what is set aside needs it too, and is done at once when it is given', async () => {
    const discard = (more: object = {}, who: TestCaller = owner) =>
      who.call<Asked>('POST', '/host/set-back/discard', { name: SETTINGS.name, ...more });
    expect((await discard()).status).toBe(400);
    expect((await discard({ reason: REASON, name: 'Another' })).status).toBe(400);

    const { approval } = await expectStatus(discard({ reason: REASON }), 202);
    expect((await view()).record?.state).toBe('kept');
    expect((await discard({ reason: REASON }, second)).status).toBe(409);
    await expectStatus(admin.call('POST', `/approvals/${approval.id}/approve`), 204);

    expect((await view()).record).toMatchObject({ state: 'discarded', discardedBy: { kind: 'user' } });
    expect((await admin.call('POST', `/approvals/${approval.id}/approve`)).status).toBe(409);
  });
});

/** Starts PostgreSQL on what a set-back brought, as the server would find it. */
async function readRecovered<T>(
  dataDir: string,
  read: (query: (text: string, values?: unknown[]) => Promise<unknown[]>) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-recovered-'));
  const server = await startPostgres({
    clusterDir: dataPaths(dataDir).postgres,
    socketDir: join(folder, 'run'),
    logFile: join(folder, 'postgres.log'),
  });
  try {
    return await withClient(socketAddress(join(folder, 'run'), ADMIN_ROLE, DATABASE_NAME), 'test', (client) =>
      read(async (text, values) => (await client.query(text, values)).rows as unknown[]),
    );
  } finally {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
