/** Who could open the backups on which day, who kept which kit, and kits that are retired. */
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { approvalActs } from '../../server/approval-acts.ts';
import { settleKeyRegister } from '../../server/appliance/index.ts';
import { settleApprovals } from '../../server/identity/index.ts';
import { answerKitChallenge, openKeysObject } from '../../server/keys/index.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import {
  expectStatus,
  OWNER,
  proveTestKit,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
  type TestKit,
} from '../helpers/appliance.ts';

const DAY_MS = 86_400_000;

interface Register {
  on: string;
  couldOpen: number;
  couldOpenRetired: number;
  testIdentity: { kept: boolean; opens: string };
  generations: { generation: number }[];
  kits: {
    id: string;
    state: string;
    opens: string;
    generations: number[];
    retiredAt: string | null;
    keeping: { id: string; holder: string; reviewOn: string | null } | null;
    recordedLater: boolean;
    reviewOverdue: boolean;
  }[];
}

let appliance: TestAppliance;
let owner: TestCaller;
let admin: TestCaller;
let first: TestKit;
let second: TestKit;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  admin = await appliance.addPerson('admin');
});
afterAll(() => appliance.close());

const dayAgo = (days: number): string =>
  new Date(appliance.clock.now().getTime() - days * DAY_MS).toISOString().slice(0, 10);
const readRegister = (on?: string): Promise<Register> =>
  expectStatus(owner.call<Register>('GET', `/keys/register${on === undefined ? '' : `?on=${on}`}`), 200);
const kitOf = async (id: string, on?: string) => (await readRegister(on)).kits.find((kit) => kit.id === id);
const keeping = (change: object = {}) => ({
  ...{ holder: 'Grace Hopper', place: 'Safe 4', handedOverOn: null, reference: 'K-17', note: '' },
  ...{ reviewOn: null, follows: null },
  ...change,
});
const settle = () => settleApprovals({ ...appliance.deps, acts: approvalActs(appliance.deps) });

describe('the register', () => {
  test('says that nobody could open anything before the first kit, and nothing of days to come', async () => {
    expect(await readRegister()).toMatchObject({
      ...{ kits: [], couldOpen: 0, generations: [], testIdentity: { kept: false, opens: 'nothing' } },
    });
    expect((await owner.call('GET', `/keys/register?on=${dayAgo(-2)}`)).status).toBe(400);
    expect((await owner.call('GET', '/keys/register?on=2026-02-31')).status).toBe(400);
  });

  test('has a kit from the day of its proof on, and the test identity', async () => {
    first = await proveTestKit(owner);

    expect(await readRegister()).toMatchObject({
      ...{
        couldOpen: 2,
        generations: [{ generation: 1 }],
        testIdentity: { kept: true, opens: 'everything' },
      },
      kits: [{ id: first.id, state: 'proven', opens: 'everything', generations: [1], keeping: null }],
    });
    expect(await readRegister(dayAgo(1))).toMatchObject({ kits: [], couldOpen: 0 });
  });

  test('adds what a crash, or an older version, left out, and nothing twice', async () => {
    const before = await readRegister();
    const count = async () => (await appliance.deps.db.selectFrom('key_events').selectAll().execute()).length;
    const events = await count();
    await settleKeyRegister(appliance.deps);
    expect(await count()).toBe(events);

    // As if nothing had ever been written down.
    await withClient(appliance.database.adminAddress, 'test', async (client) => {
      await client.query('alter table key_events disable trigger never_changed');
      await client.query('delete from key_events');
      await client.query('alter table key_events enable trigger never_changed');
    });
    await settleKeyRegister(appliance.deps);

    expect((await readRegister()).kits).toMatchObject([{ id: first.id, state: 'proven', generations: [1] }]);
    expect((await readRegister()).couldOpen).toBe(before.couldOpen);
  });

  test('is never changed, only added to', async () => {
    await expect(sql`update key_events set at = now()`.execute(appliance.deps.db)).rejects.toThrow();
    await expect(sql`delete from key_events`.execute(appliance.deps.db)).rejects.toThrow();
  });
});

describe('who keeps a kit', () => {
  test('is refused without a name, for a day to come, for an unknown kit and for anybody but the owner', async () => {
    const path = `/recovery-kits/${first.id}/keepings`;

    expect((await owner.call('POST', path, keeping({ holder: '  ' }))).status).toBe(400);
    expect((await owner.call('POST', path, keeping({ handedOverOn: dayAgo(-9) }))).status).toBe(400);
    expect((await admin.call('POST', path, keeping())).status).toBe(403);
    const nobodys = '/recovery-kits/00000000-0000-4000-8000-000000000000/keepings';
    expect((await owner.call('POST', nobodys, keeping())).status).toBe(404);
    expect((await kitOf(first.id))?.keeping).toBeNull();
  });

  test('is sealed, in no audit entry, and told by the day of the hand-over', async () => {
    const given = keeping({ handedOverOn: dayAgo(0), reviewOn: dayAgo(-30) });
    await expectStatus(owner.call('POST', `/recovery-kits/${first.id}/keepings`, given), 201);

    expect((await kitOf(first.id))?.keeping).toMatchObject({ holder: 'Grace Hopper', reviewOn: dayAgo(-30) });
    const [row] = await appliance.deps.db.selectFrom('kit_keepings').selectAll().execute();
    expect(row?.words_sealed.includes('Grace')).toBe(false);
    const { body } = await owner.call<{ items: { detail: unknown }[] }>(
      'GET',
      '/audit?action=appliance.recovery-kit.keeping-recorded',
    );
    expect(body.items[0]?.detail).toMatchObject({
      changed: ['holder', 'place', 'reference', 'handedOverOn', 'reviewOn'],
    });
    expect(JSON.stringify(body)).not.toContain('Grace');
  });

  test('follows what was looked at: of two at once the second is refused', async () => {
    const before = (await kitOf(first.id))?.keeping;
    const path = `/recovery-kits/${first.id}/keepings`;

    const stale = await owner.call('POST', path, keeping({ holder: 'Mallory' }));
    appliance.clock.offsetMs += 10 * DAY_MS;
    // No session lasts that long.
    owner = await appliance.signIn(OWNER.email, OWNER.password);
    const next = keeping({ holder: 'Alan Turing', handedOverOn: dayAgo(3), follows: before?.id });
    await expectStatus(owner.call('POST', path, next), 201);

    expect(stale.status).toBe(409);
    expect((await kitOf(first.id))?.keeping?.holder).toBe('Alan Turing');
    expect(await kitOf(first.id, dayAgo(2))).toMatchObject({
      ...{ keeping: { holder: 'Alan Turing' }, recordedLater: true },
    });
    expect((await kitOf(first.id, dayAgo(5)))?.keeping?.holder).toBe('Grace Hopper');
    const { items } = await expectStatus(owner.call<{ items: { holder: string }[] }>('GET', path), 200);
    expect(items.map((entry) => entry.holder)).toEqual(['Alan Turing', 'Grace Hopper']);
  });

  test('goes out as CSV, and that is written down', async () => {
    const reply = await owner.call<string>('GET', `/keys/register/export?on=${dayAgo(0)}`);

    expect(String(reply.headers['content-type'])).toContain('text/csv');
    expect(reply.body).toContain('Alan Turing');
    expect(reply.body).toContain('test identity');
    const { body } = await owner.call<{ items: unknown[] }>(
      'GET',
      '/audit?action=appliance.key-register.exported',
    );
    expect(body.items).toHaveLength(1);
  });

  test('a look that is overdue, and a kit that opened nothing for a year, need somebody', async () => {
    const names = async () => {
      const { items } = await expectStatus(
        admin.call<{ items: { name: string; state: string }[] }>('GET', '/health-checks'),
        200,
      );
      return items.flatMap((check) => (check.state === 'warn' ? check.name : []));
    };
    admin = await appliance.addPerson('admin');
    expect(await names()).not.toContain('kit review');
    const { offsetMs } = appliance.clock;
    const follows = (await kitOf(first.id))?.keeping?.id;
    await expectStatus(
      owner.call('POST', `/recovery-kits/${first.id}/keepings`, keeping({ follows, reviewOn: dayAgo(-1) })),
      201,
    );

    appliance.clock.offsetMs += 3 * DAY_MS;
    admin = await appliance.addPerson('admin');
    const soon = await names();
    appliance.clock.offsetMs += 400 * DAY_MS;
    admin = await appliance.addPerson('admin');
    const late = await names();
    const { kits } = await expectStatus(
      admin.call<{ kits: { valid: number; lastDrillAt: null } }>('GET', '/overview'),
      200,
    );
    appliance.clock.offsetMs = offsetMs;

    expect(soon).toContain('kit review');
    expect(soon).not.toContain('kit drill');
    expect(late).toContain('kit drill');
    expect(kits).toMatchObject({ valid: 1, lastDrillAt: null });
  });
});

describe('retiring a kit', () => {
  test('is refused for the only one, for an unknown one, and for administrators', async () => {
    admin = await appliance.addPerson('admin');
    const path = `/recovery-kits/${first.id}/retire`;

    expect((await admin.call('POST', path, { reason: 'Lost' })).status).toBe(403);
    expect((await owner.call('POST', path, { reason: 'Lost' })).status).toBe(409);
    const nobodys = '/recovery-kits/00000000-0000-4000-8000-000000000000/retire';
    expect((await owner.call('POST', nobodys, { reason: 'Lost' })).status).toBe(404);
    await expect(appliance.deps.keys.retireKit(first.id)).rejects.toMatchObject({ code: 'wrong_state' });
    expect((await kitOf(first.id))?.state).toBe('proven');
  });

  test('waits for a second person, and then gives it nothing new', async () => {
    second = await proveTestKit(owner);
    const { challenge } = await appliance.deps.keys.challengeKit(first.id);
    const asked = await expectStatus(
      owner.call<{ approval: { id: string; state: string } }>('POST', `/recovery-kits/${first.id}/retire`, {
        reason: 'The safe was opened by strangers',
      }),
      202,
    );
    expect((await kitOf(first.id))?.state).toBe('proven');

    await expectStatus(admin.call('POST', `/approvals/${asked.approval.id}/approve`), 204);

    const today = owner;
    appliance.clock.offsetMs += DAY_MS;
    owner = await appliance.signIn(OWNER.email, OWNER.password);
    const register = await readRegister();
    appliance.clock.offsetMs -= DAY_MS;
    owner = today;
    expect(register).toMatchObject({
      // The second kit, the test identity, and the first kit, for what it was given.
      ...{ couldOpen: 3, couldOpenRetired: 1 },
      kits: [
        { id: first.id, state: 'retired', opens: 'everything', generations: [1] },
        { id: second.id, state: 'proven', opens: 'everything' },
      ],
    });
    const { bytes } = await appliance.deps.keys.keysObject();
    const trust = {
      repositoryId: first.repositoryId,
      trustRoot: Buffer.from(first.trustRoot, 'base64'),
    };
    await expect(openKeysObject(bytes, [first.identity], trust)).rejects.toMatchObject({ code: 'wrong_key' });
    expect((await openKeysObject(bytes, [second.identity], trust)).kits.map((kit) => kit.id)).toEqual([
      second.id,
    ]);
    const response = await answerKitChallenge(first.id, first.identity, challenge);
    await expect(appliance.deps.keys.proveKit(first.id, response)).rejects.toMatchObject({
      code: 'wrong_state',
    });
    const { body } = await owner.call<{ items: { detail: unknown }[] }>(
      'GET',
      '/audit?action=appliance.recovery-kit.retired',
    );
    expect(body.items[0]?.detail).toEqual({ kitsLeft: 1, opensGeneration: 1 });
  });

  test('is refused for one that is retired, and for the last one that is left', async () => {
    const again = await owner.call('POST', `/recovery-kits/${first.id}/retire`, { reason: 'Again' });
    const last = await owner.call('POST', `/recovery-kits/${second.id}/retire`, { reason: 'Why not' });

    expect([again.status, last.status]).toEqual([409, 409]);
    expect((await appliance.deps.keys.status()).repository.kits.map((kit) => kit.id)).toEqual([second.id]);
  });

  test('of two requests that are approved one after the other the second ends as failed', async () => {
    const third = await proveTestKit(owner);
    const ask = (id: string) =>
      expectStatus(
        owner.call<{ approval: { id: string } }>('POST', `/recovery-kits/${id}/retire`, { reason: 'Old' }),
        202,
      );
    const [one, two] = [await ask(second.id), await ask(third.id)];

    await expectStatus(admin.call('POST', `/approvals/${one.approval.id}/approve`), 204);
    const late = await admin.call('POST', `/approvals/${two.approval.id}/approve`);

    expect(late.status).toBe(409);
    expect((await kitOf(third.id))?.state).toBe('proven');
    await owner.call('POST', `/approvals/${two.approval.id}/withdraw`);
    await settle();
  });

  test('that keyd did before a crash is written down afterwards, with its day', async () => {
    const { repository } = await appliance.deps.keys.status();
    const [left] = repository.kits;
    await proveTestKit(owner);
    await appliance.deps.keys.retireKit(left?.id ?? '');
    expect((await kitOf(left?.id ?? ''))?.state).toBe('proven');

    await settleKeyRegister(appliance.deps);

    expect(await kitOf(left?.id ?? '')).toMatchObject({ state: 'retired', generations: [1] });
  });

  test('at the console it is done at once', async () => {
    const { repository } = await appliance.deps.keys.status();
    const [left] = repository.kits;
    await proveTestKit(owner);

    await expectStatus(
      appliance.console.call('POST', `/recovery-kits/${left?.id ?? ''}/retire`, { reason: 'Found broken' }),
      204,
    );

    expect((await kitOf(left?.id ?? ''))?.state).toBe('retired');
  });
});
