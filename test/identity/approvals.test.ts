import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { approvalActs } from '../../server/approval-acts.ts';
import { settleApprovals, type ApprovalActs } from '../../server/identity/index.ts';
import { systemClock, type Clock } from '../../server/lib/clock.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

const HOUR_MS = 3_600_000;
const CHILD = join(import.meta.dirname, 'approval-child.ts');
const CRASH_AT = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');
const SEVEN_YEARS = { actsDays: 2557, readsDays: 180, reason: 'The law' };
const SHORTER = { actsDays: 400, readsDays: 180, reason: 'Less is known of people' };

interface Listed {
  id: string;
  act: string;
  state: string;
  runsAt: string | null;
  consequence: string;
  can: { decide: boolean; approve: boolean; withdraw: boolean };
}

let appliance: TestAppliance;
let owner: TestCaller;
let admin: TestCaller & { userId: string };
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  admin = await appliance.addPerson('admin');
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  await setAdmin(true);
  await appliance.deps.db.deleteFrom('approvals').execute();
  await expectStatus(owner.call('PUT', '/audit/retention', SEVEN_YEARS), 200);
});

/** With or without another administrator. */
async function setAdmin(present: boolean): Promise<void> {
  await appliance.deps.db
    .updateTable('users')
    .set({ disabled_at: present ? null : new Date() })
    .where('id', '=', admin.userId)
    .execute();
}

async function ask(): Promise<string> {
  const asked = await expectStatus(
    owner.call<{ approval: { id: string } }>('PUT', '/audit/retention', SHORTER),
    202,
  );
  return asked.approval.id;
}
const list = async (who: TestCaller, state = 'pending') =>
  (await expectStatus(who.call<{ items: Listed[] }>('GET', `/approvals?state=${state}`), 200)).items;
const actsDays = async () =>
  (await expectStatus(owner.call<{ actsDays: number }>('GET', '/audit/retention'), 200)).actsDays;
const settle = () => settleApprovals({ ...appliance.deps, acts: approvalActs(appliance.deps) });
const entries = async (action: string) =>
  Number(
    (
      await appliance.deps.db
        .selectFrom('audit_entries')
        .select((eb) => eb.fn.countAll().as('count'))
        .where('action', '=', action)
        .executeTakeFirstOrThrow()
    ).count,
  );

describe('an act that needs a second person', () => {
  test('changes nothing when it is asked for, cannot be approved by whoever asked, nor asked for twice', async () => {
    const id = await ask();

    expect((await owner.call('POST', `/approvals/${id}/approve`)).status).toBe(403);
    expect((await owner.call('POST', `/approvals/${id}/refuse`, { reason: 'No' })).status).toBe(403);
    expect((await owner.call('PUT', '/audit/retention', SHORTER)).status).toBe(409);
    expect((await admin.call('POST', `/approvals/${randomUUID()}/approve`)).status).toBe(404);
    expect((await admin.call('POST', `/approvals/${id}/withdraw`)).status).toBe(404);
    expect(await actsDays()).toBe(2557);
    expect(await list(owner)).toMatchObject([
      { id, state: 'open', runsAt: null, can: { decide: false, approve: false, withdraw: true } },
    ]);
  });

  test('is done when another administrator approves it, once, also when two clicks come at once', async () => {
    const id = await ask();
    const [pending] = await list(admin);
    expect(pending?.consequence).toContain('removed for good');
    const before = await entries('audit.retention.changed');

    const replies = await Promise.all(
      Array.from({ length: 5 }, () => admin.call('POST', `/approvals/${id}/approve`)),
    );

    expect(replies.map((reply) => reply.status).sort()).toEqual([204, 409, 409, 409, 409]);
    expect(await actsDays()).toBe(400);
    expect((await entries('audit.retention.changed')) - before).toBe(1);
    expect(await list(owner, 'past')).toMatchObject([{ id, state: 'executed' }]);
  });

  test('asks whoever decides for a fresh proof', async () => {
    const id = await ask();
    admin.proves = false;
    appliance.clock.offsetMs = HOUR_MS / 5;
    const reply = await admin.call<{ error: { code: string } }>('POST', `/approvals/${id}/approve`);
    admin.proves = true;

    expect(reply.body.error.code).toBe('step_up_required');
    expect(await actsDays()).toBe(2557);
  });

  test('is not done when it is refused, withdrawn or nobody decides in time', async () => {
    const [refused, before] = [await ask(), await entries('identity.approval.refused')];
    await expectStatus(admin.call('POST', `/approvals/${refused}/refuse`, { reason: 'Not now' }), 204);
    const withdrawn = await ask();
    await expectStatus(owner.call('POST', `/approvals/${withdrawn}/withdraw`), 204);
    const expired = await ask();
    appliance.clock.offsetMs = 73 * HOUR_MS;
    await settle();
    appliance.clock.offsetMs = 0;

    const states = new Map((await list(owner, 'past')).map((one) => [one.id, one.state]));
    expect([refused, withdrawn, expired].map((id) => states.get(id))).toEqual([
      ...['refused', 'withdrawn', 'expired'],
    ]);
    for (const id of [refused, withdrawn, expired])
      expect((await admin.call('POST', `/approvals/${id}/approve`)).status).toBe(409);
    expect(await actsDays()).toBe(2557);
    expect((await entries('identity.approval.refused')) - before).toBe(1);
  });

  test('is not done when what it is about has changed since, and ends', async () => {
    const id = await ask();
    const longer = { actsDays: 3000, readsDays: 180, reason: 'A new law' };
    await expectStatus(owner.call('PUT', '/audit/retention', longer), 200);

    const reply = await admin.call<{ error: { message: string } }>('POST', `/approvals/${id}/approve`);

    expect([reply.status, reply.body.error.message]).toEqual([
      409,
      expect.stringContaining('has changed since it was asked for'),
    ]);
    expect(await actsDays()).toBe(3000);
    expect(await list(owner, 'past')).toMatchObject([{ id, state: 'failed' }]);
    // Also when it is as before again.
    await appliance.deps.db.updateTable('audit_retention').set({ acts_days: 2557 }).execute();
    expect((await admin.call('POST', `/approvals/${id}/approve`)).status).toBe(409);
  });

  test('is not done when whoever asked has lost the right to it', async () => {
    const other = await appliance.addPerson('owner');
    const asked = await expectStatus(
      other.call<{ approval: { id: string } }>('PUT', '/audit/retention', SHORTER),
      202,
    );
    await appliance.deps.db
      .updateTable('users')
      .set({ role: 'admin' })
      .where('id', '=', other.userId)
      .execute();

    expect((await owner.call('POST', `/approvals/${asked.approval.id}/approve`)).status).toBe(409);
    expect(await actsDays()).toBe(2557);
    await appliance.deps.db
      .updateTable('users')
      .set({ disabled_at: new Date() })
      .where('id', '=', other.userId)
      .execute();
  });

  test('of more than 500 that are over, the newest are listed, and how many there are is told', async () => {
    const id = await ask();
    await expectStatus(admin.call('POST', `/approvals/${id}/refuse`, { reason: 'Not now' }), 204);
    await sql`insert into approvals
      select (jsonb_populate_record(null::approvals, to_jsonb(a) || jsonb_build_object('id', gen_random_uuid()))).*
      from approvals a, generate_series(1, 500)`.execute(appliance.deps.db);

    const past = owner.call<{ items: Listed[]; total: number }>('GET', '/approvals?state=past');

    expect(await expectStatus(past, 200)).toMatchObject({ total: 501, items: { length: 500 } });
  });

  test('is counted for whoever may decide, and mailed to them', async () => {
    await ask();

    const count = async (who: TestCaller) =>
      (await expectStatus(who.call<{ approvals: number }>('GET', '/session'), 200)).approvals;
    expect([await count(owner), await count(admin)]).toEqual([0, 1]);
    const mail = await appliance.deps.db
      .selectFrom('mail_messages')
      .select('user_id')
      .where('template', '=', 'approval-requested')
      .orderBy('created_at', 'desc')
      .executeTakeFirst();
    expect(mail?.user_id).toBe(admin.userId);
  });
});

describe('with a sole administrator', () => {
  beforeEach(() => setAdmin(false));

  test('an act waits in sight of everybody, and runs by itself when its time has come', async () => {
    await ask();
    await settle();
    const { banners } = await expectStatus(
      owner.call<{ banners: { kind: string }[] }>('GET', '/session'),
      200,
    );
    expect(banners.map((banner) => banner.kind)).toContain('approval');
    appliance.clock.offsetMs = 23 * HOUR_MS;
    await settle();
    appliance.clock.offsetMs = 0;
    expect(await actsDays()).toBe(2557);

    appliance.clock.offsetMs = 25 * HOUR_MS;
    await Promise.all([settle(), settle(), settle()]);
    appliance.clock.offsetMs = 0;

    expect(await actsDays()).toBe(400);
    expect(await list(owner, 'past')).toMatchObject([{ state: 'executed' }]);
  });

  test('a clock that is put forward, and time in which the server was off, make the waiting period no shorter', async () => {
    const id = await ask();
    const { deps } = appliance;
    const settleBy = (clock: Clock) => settleApprovals({ ...deps, clock, acts: approvalActs(deps) });
    const monotonicMs = () => systemClock.monotonicMs();
    const forward: Clock = { now: () => new Date(Date.now() + 72 * HOUR_MS), monotonicMs };
    await settle();

    await settleBy(forward);
    await settleBy(forward);
    // Another process: it has its own start, and does not know how long there was none.
    await settleBy({ ...forward, monotonicMs: () => monotonicMs() + 500 * HOUR_MS });

    expect((await list(owner))[0]).toMatchObject({ id, state: 'waiting' });
    expect(await actsDays()).toBe(2557);
  });

  test('an act that fails ends as failed, and holds up no other', async () => {
    const first = await ask();
    const shorter = { expiryHours: 72, waitingHours: 1 };
    expect((await owner.call('PUT', '/settings/approvals', shorter)).status).toBe(202);
    await appliance.deps.db
      .updateTable('approvals')
      .set({ waited_ms: 24 * HOUR_MS })
      .execute();
    const acts = approvalActs(appliance.deps);
    const broken = {
      ...acts,
      'audit.retention.lower': {
        ...acts['audit.retention.lower'],
        perform: () => Promise.reject(new TypeError('a fault of ours')),
      },
    } as ApprovalActs;

    await expect(settleApprovals({ ...appliance.deps, acts: broken })).rejects.toThrow('a fault of ours');

    const past = new Map((await list(owner, 'past')).map((one) => [one.act, one]));
    expect(past.get('audit.retention.lower')).toMatchObject({ id: first, state: 'failed' });
    expect(past.get('identity.approval-settings.lower')).toMatchObject({ state: 'executed' });
    expect(await actsDays()).toBe(2557);
    await appliance.deps.db.updateTable('approval_settings').set({ waiting_hours: 24 }).execute();
  });

  test('the waiting period cannot be made short without waiting', async () => {
    const shorter = { expiryHours: 72, waitingHours: 1 };

    expect((await owner.call('PUT', '/settings/approvals', shorter)).status).toBe(202);
    expect(await expectStatus(owner.call('GET', '/settings/approvals'), 200)).toEqual({
      ...{ expiryHours: 72, waitingHours: 24 },
    });
    expect((await owner.call('PUT', '/settings/approvals', { ...shorter, waitingHours: 169 })).status).toBe(
      400,
    );
  });

  test('a kill between the act and its commit leaves neither, and it is done once at the next look', async () => {
    const id = await ask();
    await appliance.deps.db
      .updateTable('approvals')
      .set({ waited_ms: 24 * HOUR_MS })
      .where('id', '=', id)
      .execute();
    const before = await entries('audit.retention.changed');

    const killed = await runChild('identity.approval.executed:1');
    expect(killed.signal).toBe('SIGKILL');
    expect([await actsDays(), (await list(owner))[0]?.state]).toEqual([2557, 'waiting']);
    const afterCommit = await runChild('identity.approval.settled:1');
    expect(afterCommit.signal).toBe('SIGKILL');
    expect((await runChild('')).exitCode).toBe(0);

    expect(await actsDays()).toBe(400);
    expect((await entries('audit.retention.changed')) - before).toBe(1);
    expect(await list(owner, 'past')).toMatchObject([{ id, state: 'executed' }]);
  });
});

function runChild(crashAt: string) {
  const { address } = appliance.database;
  const child = startProcess(process.execPath, ['--import', CRASH_AT, CHILD], {
    env: childEnvironment({
      HOLDFAST_TEST_CRASH_AT: crashAt,
      HOLDFAST_TEST_ORDER: JSON.stringify({ address, dataDir: appliance.dataDir }),
    }),
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return endOf(child);
}
