/** A snapshot that lost much: marked, told of, and no older one is removed until an administrator says that it is right. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Static } from 'typebox';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { applyRetentionWhenDue, judgeSnapshots } from '../../server/backups/index.ts';
import type { RetentionStatus } from '../../server/backups/retention/schema.ts';
import type { Snapshot } from '../../server/backups/schema.ts';
import { expectStatus, type TestCaller } from '../helpers/appliance.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const LAST_TWO = {
  ...{ kind: 'rules', last: 2, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
  ...{ minimumCount: 1, maximumAgeDays: null, timeZone: 'UTC' },
};
const LIMITS = { shrinkPercent: 30, growthPercent: null, leastFiles: 2, leastBytes: 2 ** 40 };

let appliance: StockedAppliance;
let owner: TestCaller;
let admin: TestCaller;
beforeAll(async () => {
  appliance = await startStockedAppliance();
  owner = appliance.owner;
  admin = await appliance.addPerson('admin');
});
afterAll(() => appliance.close());

const retention = (rest = '') => `/targets/${appliance.targetId}/retention${rest}`;
const status = () => expectStatus(owner.call<Static<typeof RetentionStatus>>('GET', retention()), 200);
const show = (id: string) => expectStatus(owner.call<Snapshot>('GET', `/snapshots/${id}`), 200);
async function listed(): Promise<Snapshot[]> {
  const { items } = await expectStatus(owner.call<{ items: Snapshot[] }>('GET', '/snapshots'), 200);
  return items.filter((one) => one.state !== 'forgotten');
}
async function takeOne(): Promise<void> {
  await appliance.upload(`${randomUUID()}.bin`, Buffer.alloc(20_000, randomUUID()));
  await appliance.takeSnapshot();
}
/** As if those before had held a hundred times as many files. */
async function swellOlder(number: string): Promise<void> {
  await sql`
    update snapshots set sources = (
      select jsonb_agg(jsonb_set(one, '{fileCount}', to_jsonb((one ->> 'fileCount')::bigint * 100)))
      from jsonb_array_elements(sources) as one) where number < ${number}`.execute(appliance.deps.db);
}

test('the limits are changed by owners, with an entry in the audit log, and nonsense is refused', async () => {
  for (const wrong of [{ shrinkPercent: -1 }, { shrinkPercent: 101 }, { leastFiles: 0 }, { leastBytes: 0.5 }])
    expect((await owner.call('PUT', '/settings/snapshot-limits', { ...LIMITS, ...wrong })).status).toBe(400);
  expect((await admin.call('PUT', '/settings/snapshot-limits', LIMITS)).status).toBe(403);
  await expectStatus(owner.call('PUT', '/settings/snapshot-limits', LIMITS), 200);

  expect(await expectStatus(admin.call('GET', '/settings/snapshot-limits'), 200)).toEqual(LIMITS);
});

test('retention waits for a word about it, goes on after, and the next is compared with it', async () => {
  while ((await listed()).length < 3) await takeOne();
  const [newest] = await listed();
  if (newest === undefined) throw new Error('no snapshot');
  await swellOlder(newest.number);
  await appliance.deps.db
    .updateTable('snapshots')
    .set({ judged_at: null })
    .where('id', '=', newest.id)
    .execute();
  await judgeSnapshots(appliance.deps);

  const marked = await show(newest.id);
  expect(marked.unusual).toMatchObject({ shrunk: true, accepted: null });
  expect(marked.unusual?.words).toMatch(/files instead of about [\d,]+ files \(−99 %\)/);
  expect(await checkForAlerts(appliance.deps)).toContainEqual(
    expect.objectContaining({ name: 'size of snapshots', state: 'bad' }),
  );
  await expectStatus(owner.call('PUT', retention(), { policy: LAST_TWO }), 200);
  await expectStatus(owner.call('POST', retention('/apply')), 202);
  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });
  expect(await listed()).toHaveLength(3);
  expect(await status()).toMatchObject({
    state: 'asks',
    waiting: { removes: 1, doubt: { id: newest.id, number: Number(newest.number) } },
  });
  const agreed = await owner.call('POST', retention('/agree'), { reason: 'Little space', removes: 1 });
  expect(agreed).toMatchObject({ status: 409, body: { error: { code: 'wrong_state' } } });

  const path = `/snapshots/${newest.id}/accept`;
  const auditor = await appliance.addPerson('auditor');
  expect((await auditor.call('POST', path, { reason: 'Fine' })).status).toBe(403);
  expect((await admin.call('POST', path, { reason: ' ' })).status).toBe(400);
  const accepted = await expectStatus(
    admin.call<Snapshot>('POST', path, { reason: 'A share moved away' }),
    200,
  );
  expect(accepted.unusual).toMatchObject({ accepted: { note: 'A share moved away', byName: 'A admin' } });
  expect((await admin.call('POST', path, { reason: 'Again' })).status).toBe(409);
  const audited = await appliance.deps.db
    .selectFrom('audit_entries')
    .select(['action', 'object_id'])
    .where('action', 'in', ['backups.snapshot.unusual', 'backups.snapshot.accepted'])
    .execute();
  expect(audited.map((one) => one.object_id)).toEqual([newest.id, newest.id]);

  await applyRetentionWhenDue(appliance.deps);
  expect(await appliance.performRun()).toMatchObject({ result: { forgotten: 1 } });
  expect(await listed()).toHaveLength(2);
  await takeOne();
  const [next] = await listed();
  expect(next?.unusual).toBeNull();
  expect((await checkForAlerts(appliance.deps)).map(({ name }) => name)).not.toContain('size of snapshots');
});

test('several that shrank are settled by a word about the newest', async () => {
  await takeOne();
  const [newest, before] = await listed();
  if (newest === undefined || before === undefined) throw new Error('no snapshots');
  const unusual = JSON.stringify([{ source: 'files', what: 'files', usual: 9, found: 1, percent: -89 }]);
  for (const { id } of [newest, before])
    await appliance.deps.db.updateTable('snapshots').set({ unusual }).where('id', '=', id).execute();

  await expectStatus(admin.call('POST', `/snapshots/${newest.id}/accept`, { reason: 'Both are right' }), 200);

  expect((await show(before.id)).unusual?.accepted).toMatchObject({ note: 'Both are right' });
});
