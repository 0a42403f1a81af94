/** The policy of a target from the routes to the objects on it: previewed, saved, agreed to, carried out, refused, behind, and holds. */
import { randomUUID } from 'node:crypto';
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { applyRetentionWhenDue } from '../../server/backups/index.ts';
import type { RetentionRules } from '../../server/backups/retention/policy.ts';
import type { RetentionPreview, RetentionStatus } from '../../server/backups/retention/schema.ts';
import type { Snapshot } from '../../server/backups/schema.ts';
import type { Static } from 'typebox';
import { expectStatus, type TestCaller } from '../helpers/appliance.ts';
import { killRunAt, startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const HOUR_MS = 3_600_000;
const RULES: RetentionRules = {
  kind: 'rules',
  ...{ last: 9, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
  ...{ minimumCount: 1, maximumAgeDays: null, timeZone: 'UTC' },
};
type Preview = Static<typeof RetentionPreview>;
type Status = Static<typeof RetentionStatus>;
interface Asked {
  approval: { id: string };
}

let appliance: StockedAppliance;
let owner: TestCaller;
let admin: TestCaller & { userId: string };

beforeAll(async () => {
  appliance = await startStockedAppliance();
  owner = appliance.owner;
  admin = await appliance.addPerson('admin');
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  const { db } = appliance.deps;
  for (const table of ['approvals', 'snapshot_holds', 'target_retention', 'restore_tests'] as const)
    await db.deleteFrom(table).execute();
  await db.updateTable('runs').set({ state: 'cancelled' }).where('state', '=', 'queued').execute();
});

const url = (rest = '') => `/targets/${appliance.targetId}/retention${rest}`;
const status = () => expectStatus(owner.call<Status>('GET', url()), 200);
const preview = (policy: RetentionRules) =>
  expectStatus(owner.call<Preview>('POST', url('/preview'), { policy }), 200);
const save = (policy: object, reason?: string) =>
  owner.call<Asked & Status>('PUT', url(), { policy, ...(reason === undefined ? {} : { reason }) });
const hold = (id: string, who = admin) => who.call('PUT', `/snapshots/${id}/hold`, { reason: 'litigation' });
const approve = ({ approval }: Asked) =>
  expectStatus(admin.call('POST', `/approvals/${approval.id}/approve`), 204);
const entries = async (action: string) =>
  appliance.deps.db
    .selectFrom('audit_entries')
    .selectAll()
    .where('action', '=', action)
    .orderBy('number')
    .execute();
const show = (id: string) => expectStatus(owner.call<Snapshot>('GET', `/snapshots/${id}`), 200);

async function listed(): Promise<Snapshot[]> {
  const { items } = await expectStatus(owner.call<{ items: Snapshot[] }>('GET', '/snapshots'), 200);
  return items.filter((one) => one.state !== 'forgotten');
}

/** So many retained snapshots, the newest first. */
async function stockUp(count: number): Promise<string[]> {
  while ((await listed()).length < count) {
    await appliance.upload(`${randomUUID()}.bin`, Buffer.alloc(20_000, randomUUID()));
    await appliance.takeSnapshot();
  }
  return (await listed()).map((one) => one.id);
}

async function prove(snapshotId: string): Promise<void> {
  const { db } = appliance.deps;
  const run = await db.selectFrom('runs').select('id').limit(1).executeTakeFirstOrThrow();
  const at = appliance.clock.now();
  await db
    .insertInto('restore_tests')
    .values({
      ...{ id: randomUUID(), run_id: run.id, snapshot_id: snapshotId, target_id: appliance.targetId },
      ...{ mode: 'quick', key_source: 'test-identity', state: 'passed', grade: 'data-proven' },
      ...{ created_at: at, finished_at: at, snapshot_taken_at: at },
    })
    .execute();
}

async function apply() {
  await expectStatus(owner.call('POST', url('/apply')), 202);
  return appliance.performRun();
}

describe('a policy', () => {
  test('is keep everything until somebody says otherwise, and a wrong one is refused', async () => {
    expect(await status()).toMatchObject({ state: 'keeps-everything', policy: { kind: 'keep-everything' } });
    expect((await owner.call('POST', url('/apply'))).status).toBe(409);
    expect((await save({ ...RULES, timeZone: 'Mars/Olympus' })).body).toMatchObject({
      error: { code: 'invalid_input', hint: expect.stringContaining('Europe/Zurich') as string },
    });
    expect((await save({ ...RULES, minimumCount: 0 })).status).toBe(400);
    expect((await save({ ...RULES, daily: 1_001 })).status).toBe(400);
    expect((await status()).changedAt).toBeNull();
  });

  test('is not carried out before anything is stored', async () => {
    await expectStatus(save(RULES), 200);
    const runs = () => appliance.deps.db.selectFrom('runs').select('kind').execute();
    const before = await runs();

    await applyRetentionWhenDue(appliance.deps);

    expect(await runs()).toEqual(before);
    await expectStatus(save({ kind: 'keep-everything' }), 200);
  });

  test('is previewed with reasons and exact bytes, saved, carried out by the next run; bytes go a day later', async () => {
    const ids = await stockUp(3);
    const draft = { ...RULES, last: 2 };

    const shown = await preview(draft);
    expect(shown).toMatchObject({ total: 3, removes: 1, keeps: 2, asks: null, reclaim: { exact: true } });
    expect(shown.items.map((one) => [one.id, one.keep, one.reasons[0]])).toEqual([
      [ids[0], true, 'the minimum of 1'],
      [ids[1], true, 'one of the last 2'],
      [ids[2], false, 'no rule keeps it'],
    ]);
    expect(shown.reclaim.bytes).toBeGreaterThan(0);
    expect(await listed()).toHaveLength(3);
    await expectStatus(save(draft), 200);
    expect((await status()).state).toBe('new');

    await applyRetentionWhenDue(appliance.deps);
    const run = await appliance.performRun();

    expect(run).toMatchObject({
      state: 'succeeded',
      result: { forgotten: 1, markedBytes: shown.reclaim.bytes },
    });
    expect((await listed()).map((one) => one.id)).toEqual(ids.slice(0, 2));
    expect(await show(ids[2] ?? '')).toMatchObject({
      state: 'forgotten',
      forgotten: { because: 'no rule keeps it', at: expect.any(String) as string },
    });
    const [entry] = (await entries('backups.snapshot.forgotten')).slice(-1);
    expect(entry).toMatchObject({ object_id: ids[2], detail: { reason: 'no rule keeps it' } });
    expect(await status()).toMatchObject({
      state: 'applied',
      reclaimedBytes: 0,
      waitingBytes: shown.reclaim.bytes,
    });

    await expectStatus(owner.call('POST', '/targets/verify'), 202);
    expect((await appliance.performRun()).state).toBe('succeeded');
  });

  test('is carried out after each snapshot, in the same run', async () => {
    const ids = await stockUp(3);
    await expectStatus(save({ ...RULES, last: 3 }), 200);

    const newest = await appliance.takeSnapshot();

    expect((await listed()).map((one) => one.id)).toEqual([newest, ids[0], ids[1]]);
    expect((await status()).state).toBe('applied');
  });

  test('that would take more than half asks a second person, and then takes what was agreed', async () => {
    const ids = await stockUp(4);
    const draft = { ...RULES, last: 1 };
    expect((await preview(draft)).asks).toBe('It would remove 3 of 4 snapshots at once');
    expect((await save(draft)).status).toBe(400);
    const fromConsole = await appliance.console.call('PUT', url(), { policy: draft, reason: 'Little space' });
    expect(fromConsole.status).toBe(409);

    const asked = await expectStatus(save(draft, 'Little space'), 202);
    expect((await status()).state).toBe('keeps-everything');
    const { items } = await expectStatus(
      admin.call<{ items: { consequence: string }[] }>('GET', '/approvals'),
      200,
    );
    expect(items[0]?.consequence).toMatch(/3 of 4 snapshots .* can be restored no more; 1 stay/);
    await approve(asked);
    await applyRetentionWhenDue(appliance.deps);
    const run = await appliance.performRun();

    expect(run).toMatchObject({ state: 'succeeded', result: { forgotten: 3 } });
    expect((await listed()).map((one) => one.id)).toEqual(ids.slice(0, 1));
  });

  test('in small steps is told by where it began', async () => {
    await stockUp(5);
    await expectStatus(save({ ...RULES, last: 3 }), 200);
    expect((await apply()).result).toMatchObject({ forgotten: 2 });

    const next = { ...RULES, last: 2 };

    expect((await preview(next)).asks).toBe('It would leave 2 of the 5 snapshots of the last days');
    await expectStatus(save(next, 'Little space'), 202);
    const [, , third] = await listed();
    await expectStatus(owner.call('DELETE', `/snapshots/${third?.id}`), 409);
  });
});

/** As if that much time had gone by since they were taken. */
async function age(days: number): Promise<void> {
  await sql`update snapshots set taken_at = taken_at - make_interval(days => ${days}::int)`.execute(
    appliance.deps.db,
  );
}

describe('a run by itself', () => {
  test('refuses what years that passed at once would take, asks, and does it once people agree', async () => {
    const ids = await stockUp(5);
    await prove(ids[1] ?? '');
    await expectStatus(save({ ...RULES, minimumCount: 1, maximumAgeDays: 180 }), 200);
    await age(3 * 365);

    const refused = await apply();

    const why = 'It would remove 3 of 5 snapshots at once';
    expect(refused.result).toMatchObject({ forgotten: 0, waits: why });
    expect(await listed()).toHaveLength(5);
    expect(await status()).toMatchObject({
      ...{ state: 'asks', overdueCount: 2, waiting: { why, removes: 3, total: 5 } },
    });
    const { needsYou } = await expectStatus(owner.call<{ needsYou: object[] }>('GET', '/overview'), 200);
    expect(needsYou).toContainEqual(expect.objectContaining({ name: 'retention on copy', state: 'warn' }));
    await apply();
    expect((await entries('backups.retention.refused')).filter(concernsTarget)).toHaveLength(1);

    const agree = (removes: number) =>
      owner.call<Asked>('POST', url('/agree'), { reason: 'The promise of 180 days', removes });
    expect((await agree(3)).status).toBe(409);
    await approve(await expectStatus(agree(5), 202));
    // One that was taken meanwhile was not agreed to, and is young.
    const newest = await appliance.takeSnapshot();
    expect((await listed()).map((one) => one.id)).toEqual([newest]);
    expect(await status()).toMatchObject({ state: 'applied', overdueCount: 0, waiting: null });
  });

  test('removes nothing by a clock that differs from the target, is behind, and is tried again by itself', async () => {
    await stockUp(3);
    await expectStatus(save({ ...RULES, last: 2 }), 200);
    appliance.clock.offsetMs = 3 * HOUR_MS;
    await applyRetentionWhenDue(appliance.deps);
    expect(await appliance.performRun()).toMatchObject({ state: 'failed' });
    appliance.clock.offsetMs = 0;
    expect(await listed()).toHaveLength(3);
    expect(await status()).toMatchObject({
      state: 'behind',
      problem: { message: expect.stringContaining('clock') as string },
    });

    await moveTargetAway(async () => {
      expect((await apply()).state).toBe('failed');
      expect(await status()).toMatchObject({ state: 'behind', problem: { code: 'unavailable' } });
      await applyRetentionWhenDue(appliance.deps);
      expect(await queued()).toBe(0);
      // Not before an hour is over, and only once.
      await appliance.deps.db
        .updateTable('target_retention')
        .set({ tried_at: new Date(appliance.clock.now().getTime() - HOUR_MS - 1_000) })
        .execute();
      await applyRetentionWhenDue(appliance.deps);
      await applyRetentionWhenDue(appliance.deps);
      expect(await queued()).toBe(1);
    });

    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { forgotten: 1 } });
    expect(await status()).toMatchObject({ state: 'applied', problem: null });
  });

  test('on a recovered appliance waits for people, who know of holds that came later', async () => {
    await stockUp(3);
    await expectStatus(save({ ...RULES, last: 2 }), 200);
    const { db } = appliance.deps;
    await db
      .updateTable('appliance')
      .set({ recovered_at: new Date(Date.now() + 1_000) })
      .execute();

    expect((await apply()).result).toMatchObject({
      forgotten: 0,
      waits: expect.stringContaining('legal holds') as string,
    });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await expectStatus(owner.call('POST', url('/agree'), { reason: 'I looked', removes: 1 }), 200);

    expect((await apply()).result).toMatchObject({ forgotten: 1 });
    await db.updateTable('appliance').set({ recovered_at: null }).execute();
  });
});

const concernsTarget = (entry: { object_id: string | null }) => entry.object_id === appliance.targetId;

async function queued(): Promise<number> {
  const rows = await appliance.deps.db
    .selectFrom('runs')
    .select('id')
    .where('state', '=', 'queued')
    .execute();
  return rows.length;
}

async function moveTargetAway(act: () => Promise<void>): Promise<void> {
  const away = `${appliance.targetPath}-away`;
  renameSync(appliance.targetPath, away);
  try {
    await act();
  } finally {
    renameSync(away, appliance.targetPath);
  }
}

describe('a legal hold', () => {
  test('outranks the policy and people, until an owner lifts it with a reason', async () => {
    const ids = await stockUp(3);
    const id = ids[2] ?? '';
    expect((await admin.call('PUT', `/snapshots/${id}/hold`, { reason: '  ' })).status).toBe(400);
    expect((await admin.call('PUT', `/snapshots/${'0'.repeat(64)}/hold`, { reason: 'x' })).status).toBe(404);
    await expectStatus(hold(id), 200);
    expect((await hold(id)).status).toBe(409);

    expect(await show(id)).toMatchObject({
      hold: { reason: 'litigation', by: { id: admin.userId, name: 'A admin' } },
    });
    const { items } = await expectStatus(
      owner.call<{ items: Snapshot[]; total: number }>('GET', '/snapshots?held=true'),
      200,
    );
    expect(items.map((one) => one.id)).toEqual([id]);
    const shown = await preview({ ...RULES, last: 2 });
    expect(shown).toMatchObject({ removes: 0, heldCount: 1 });
    expect(shown.items.at(-1)?.reasons).toEqual(['under legal hold: litigation']);
    for (const call of [
      owner.call('DELETE', `/snapshots/${id}`),
      owner.call('POST', `/snapshots/${id}/forget`, { reason: 'Away with it' }),
    ]) {
      expect((await call).body).toMatchObject({ error: { message: 'This snapshot is under legal hold' } });
    }
    await expectStatus(save({ ...RULES, last: 2 }), 200);
    expect((await apply()).result).toMatchObject({ forgotten: 0 });

    const lift = (who: TestCaller) => who.call('POST', `/snapshots/${id}/hold/lift`, { reason: 'Settled' });
    expect((await lift(admin)).status).toBe(403);
    await expectStatus(lift(owner), 200);
    expect((await lift(owner)).status).toBe(409);
    expect((await entries('backups.hold.set')).at(-1)).toMatchObject({
      object_id: id,
      detail: { reason: 'litigation' },
    });
    expect((await entries('backups.hold.lifted')).at(-1)).toMatchObject({
      detail: { reason: 'Settled', heldFor: 'litigation' },
    });
    expect((await apply()).result).toMatchObject({ forgotten: 1 });
    expect((await hold(id)).status).toBe(409);
  });

  test('that is set between the order to forget and the run, stops the run', async () => {
    const ids = await stockUp(3);
    await expectStatus(owner.call('DELETE', `/snapshots/${ids[2]}`), 202);
    await expectStatus(hold(ids[2] ?? ''), 200);

    expect(await appliance.performRun()).toMatchObject({ state: 'failed', error: { code: 'wrong_state' } });

    expect((await show(ids[2] ?? '')).state).toBe('stored');
  });
});

describe('forgetting by hand', () => {
  test('of the last proven one needs a second person, who sees that; then it goes', async () => {
    const ids = await stockUp(4);
    const { db } = appliance.deps;
    await db.deleteFrom('restore_tests').execute();
    await prove(ids[1] ?? '');
    expect((await owner.call('DELETE', `/snapshots/${ids[1]}`)).status).toBe(409);
    expect(
      (await appliance.console.call('POST', `/snapshots/${ids[1]}/forget`, { reason: 'Space' })).status,
    ).toBe(409);

    const asked = await expectStatus(
      owner.call<Asked>('POST', `/snapshots/${ids[1]}/forget`, { reason: 'It holds what must not be kept' }),
      202,
    );
    const { items } = await expectStatus(
      admin.call<{ items: { consequence: string }[] }>('GET', '/approvals'),
      200,
    );
    expect(items[0]?.consequence).toContain('the only snapshot that a restore test has proven');
    expect(await queued()).toBe(0);
    await approve(asked);
    expect((await appliance.performRun()).state).toBe('succeeded');

    expect(await show(ids[1] ?? '')).toMatchObject({
      state: 'forgotten',
      forgotten: { because: 'forgotten by hand' },
    });
    const forgotten = await expectStatus(
      owner.call<{ kind: string }>('POST', `/snapshots/${ids[3]}/forget`, { reason: 'Old' }),
      202,
    );
    expect(forgotten.kind).toBe('prune');
  });

  test('does not happen when it was held after it was asked for', async () => {
    const ids = await stockUp(3);
    await appliance.deps.db.deleteFrom('restore_tests').execute();
    await prove(ids[1] ?? '');
    const { approval } = await expectStatus(
      owner.call<Asked>('POST', `/snapshots/${ids[1]}/forget`, { reason: 'Space' }),
      202,
    );
    await expectStatus(hold(ids[1] ?? ''), 200);

    expect((await admin.call('POST', `/approvals/${approval.id}/approve`)).status).toBe(409);
    expect(await queued()).toBe(0);
  });
});

describe('a process that is killed', () => {
  test.each(['backups.forget.noted', 'backups.forget.published', 'backups.forget.recorded'])(
    'at %s leaves the policy to be carried out by the next run, whole and told once',
    async (point) => {
      const ids = await stockUp(3);
      await expectStatus(save({ ...RULES, last: 2 }), 200);
      await expectStatus(owner.call('POST', url('/apply')), 202);

      expect(await killRunAt(appliance, point)).toMatchObject({ signal: 'SIGKILL' });

      const gone = ids[2] ?? '';
      const noted = await appliance.deps.db
        .selectFrom('snapshot_targets')
        .select('forgetting')
        .where('snapshot_id', '=', gone)
        .executeTakeFirst();
      if (point !== 'backups.forget.recorded') {
        expect(noted?.forgetting).toMatchObject({ reason: 'no rule keeps it' });
        expect((await hold(gone)).status).toBe(409);
      }
      expect(await apply()).toMatchObject({ state: 'succeeded' });
      expect((await listed()).map((one) => one.id)).toEqual(ids.slice(0, 2));
      expect(await show(gone)).toMatchObject({
        state: 'forgotten',
        forgotten: { because: 'no rule keeps it' },
      });
      const told = (await entries('backups.snapshot.forgotten')).filter((entry) => entry.object_id === gone);
      expect(told).toHaveLength(1);
      await expectStatus(owner.call('POST', '/targets/verify'), 202);
      expect((await appliance.performRun()).state).toBe('succeeded');
      expect(readdirSync(join(appliance.targetPath, 'snapshots')).length).toBeGreaterThanOrEqual(2);
    },
  );
});

describe('a target that is retired and added again', () => {
  test('is no way round: it begins with what there was', async () => {
    await stockUp(6);
    await appliance.deps.db.updateTable('snapshots').set({ forgotten_at: null }).execute();
    await appliance.deps.db.updateTable('snapshot_targets').set({ forgotten_at: null }).execute();
    const again = async (last: number) => {
      await expectStatus(owner.call('POST', `/targets/${appliance.targetId}/retire`), 200);
      const request = { name: 'copy', kind: 'directory', path: appliance.targetPath, region: 'eu-north' };
      const added = await expectStatus(
        owner.call<{ id: string }>('POST', '/targets', { ...request, retention: { ...RULES, last } }),
        201,
      );
      appliance.targetId = added.id;
      await applyRetentionWhenDue(appliance.deps);
      // The repository is there already; a snapshot tells the appliance that it may write.
      const run = await appliance.performRun();
      return run.state === 'succeeded' ? run : takeAndApply();
    };
    const takeAndApply = async () => {
      await appliance.takeSnapshot();
      return apply();
    };
    await again(4);
    expect((await listed()).length).toBeLessThanOrEqual(4);

    const second = await again(1);

    expect(second.result).toMatchObject({ forgotten: 0, waits: expect.stringMatching(/It would/) as string });
    expect((await listed()).length).toBeGreaterThanOrEqual(4);
  });
});
