/** Locks that last as long as the policy of their target promises. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { getTarget } from '../../server/backups/queries.ts';
import type { S3Config } from '../../server/backups/engine.ts';
import type { RetentionPolicy } from '../../server/backups/retention/policy.ts';
import {
  KEEP_NOTHING_MORE,
  PROPOSED_POLICY,
  promisedDays,
} from '../../server/backups/retention/policy-words.ts';
import type { TargetReply } from '../../server/backups/schema.ts';
import { openTargetConfig } from '../../server/backups/target-config.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';

let appliance: StockedAppliance;

beforeAll(async () => {
  appliance = await startStockedAppliance();
}, 120_000);
afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

test.each([
  [PROPOSED_POLICY, 30],
  [KEEP_NOTHING_MORE, 1],
  [{ ...KEEP_NOTHING_MORE, withinDays: 45, daily: 30 }, 45],
  [{ ...KEEP_NOTHING_MORE, hourly: 49 }, 3],
  // What may not be older goes then, whatever else keeps it.
  [{ ...KEEP_NOTHING_MORE, daily: 90, maximumAgeDays: 60 }, 60],
  [{ ...KEEP_NOTHING_MORE, daily: 7, weekly: 52 }, 7],
  [{ ...KEEP_NOTHING_MORE, weekly: 4, monthly: 12 }, 28],
  [{ ...KEEP_NOTHING_MORE, monthly: 6 }, 168],
  [{ ...KEEP_NOTHING_MORE, yearly: 100 }, 3650],
  [{ ...KEEP_NOTHING_MORE, last: 9 }, 1],
  [{ kind: 'keep-everything' as const }, 365],
])('a policy promises days: %j', (policy, days) => {
  expect(promisedDays(policy)).toBe(days);
});

const lockWith = (followsPolicy: boolean) => ({ mode: 'governance', days: 12, followsPolicy });

/** The target is taken for a bucket that locks what it holds; nothing is sent there. */
async function beBucket(lock: object | undefined, state: 'active' | 'retired' = 'active'): Promise<void> {
  const settings = {
    ...{ endpoint: 'https://s3.example.org', bucket: 'vault', prefix: '', region: 'eu-north' },
    ...{ pathStyle: true, role: true, ...(lock === undefined ? {} : { lock }) },
  };
  await appliance.deps.db
    .updateTable('targets')
    .set({ kind: 's3', settings: JSON.stringify(settings), state })
    .where('id', '=', appliance.targetId)
    .execute();
}

async function lockNow(): Promise<S3Config['lock']> {
  const { deps, targetId } = appliance;
  const config = await openTargetConfig(deps, await getTarget(deps.db, targetId));
  return (config as S3Config).lock;
}

const savePolicy = (policy: RetentionPolicy) =>
  expectStatus(appliance.owner.call('PUT', `/targets/${appliance.targetId}/retention`, { policy }), 200);
const change = (body: object) =>
  appliance.owner.call<TargetReply>('PUT', `/targets/${appliance.targetId}/lock`, body);
const entries = (action: string) =>
  appliance.deps.db
    .selectFrom('audit_entries')
    .select(['detail', 'actor_id'])
    .where('action', '=', action)
    .orderBy('number')
    .execute();

test('the days follow the policy where they are told to, and stay as they were typed where not', async () => {
  const days = async (followsPolicy: boolean) => {
    await beBucket(lockWith(followsPolicy));
    return (await lockNow())?.days;
  };
  expect([await days(true), await days(false)]).toEqual([365, 12]);

  await savePolicy({ ...KEEP_NOTHING_MORE, daily: 30 });
  const untold = (await entries('backups.retention.changed')).at(-1);
  expect([await days(true), await days(false)]).toEqual([30, 12]);
  await beBucket(lockWith(true));
  await savePolicy({ ...KEEP_NOTHING_MORE, daily: 20 });

  expect(untold?.detail).not.toHaveProperty('lockDays');
  expect((await entries('backups.retention.changed')).at(-1)?.detail).toMatchObject({
    lockDays: { before: 30, after: 20 },
  });
});

test('an administrator changes the days of a target in use, or lets them follow its policy, and the audit log says so', async () => {
  await beBucket({ mode: 'compliance', days: 12 });
  await savePolicy({ ...KEEP_NOTHING_MORE, daily: 30 });

  const longer = await expectStatus(change({ days: 90 }), 200);
  const typed = await lockNow();
  const following = await expectStatus(change({ followsPolicy: true }), 200);

  expect(longer.s3?.lock).toEqual({ mode: 'compliance', days: 90, followsPolicy: false, policyDays: 30 });
  expect(typed).toEqual({ mode: 'compliance', days: 90 });
  expect(following.s3?.lock).toEqual({ mode: 'compliance', days: 30, followsPolicy: true, policyDays: 30 });
  const said = await entries('backups.target.lock-changed');
  expect(said.map(({ detail }) => detail)).toEqual([
    { before: { mode: 'compliance', days: 12 }, after: { mode: 'compliance', days: 90 } },
    {
      before: { mode: 'compliance', days: 90 },
      after: { mode: 'compliance', days: 30, followsPolicy: true },
    },
  ]);
  expect(said.every((one) => one.actor_id !== null)).toBe(true);
});

test.each([
  [400, {}],
  [400, { days: 0 }],
  [400, { days: 3651 }],
  [400, { days: 30, followsPolicy: true }],
  [400, { followsPolicy: false }],
  [400, { days: 30, mode: 'governance' }],
])('%i to a change of %j, which leaves the lock as it is', async (status, body) => {
  await beBucket({ mode: 'compliance', days: 12 });

  await expectStatus(change(body), status);

  expect(await lockNow()).toEqual({ mode: 'compliance', days: 12 });
});

test('what locks nothing, and what is retired, has no lock to change', async () => {
  const before = (await entries('backups.target.lock-changed')).length;
  await beBucket(undefined);
  await expectStatus(change({ days: 30 }), 409);
  await beBucket({ mode: 'compliance', days: 12 }, 'retired');
  await expectStatus(change({ days: 30 }), 409);

  await beBucket({ mode: 'compliance', days: 12 });
  expect(await lockNow()).toEqual({ mode: 'compliance', days: 12 });
  expect(await entries('backups.target.lock-changed')).toHaveLength(before);
});
