/** A flood of wrong sign-ins leaves few entries in the audit log, and none of it untold. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Actor } from '../../server/audit/index.ts';
import { sumUpRefusals } from '../../server/identity/index.ts';
import { MOST_ENTRIES, recordRefusal } from '../../server/identity/sign-in/refusals.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';

let appliance: TestAppliance;
beforeAll(async () => {
  appliance = await startTestAppliance();
  await appliance.claim();
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs += 2 * 3_600_000;
  await sumUpRefusals(appliance.deps);
  since = appliance.clock.now();
});
let since: Date;

async function refuse(address: string, times: number): Promise<void> {
  const actor: Actor = { kind: 'user', address };
  for (let turn = 0; turn < times; turn += 1)
    await writeTransaction(appliance.deps.db, (tx) =>
      recordRefusal(tx, appliance.deps, { action: 'identity.sign-in.refused', userId: undefined }, actor),
    );
}

async function entries(): Promise<{ address: string | null; detail: unknown }[]> {
  return appliance.deps.db
    .selectFrom('audit_entries')
    .select(['address', 'detail'])
    .where('action', '=', 'identity.sign-in.refused')
    .where('at', '>=', since)
    .execute();
}

test('the first of an hour from a network have an entry each, what comes on top one together when the hour is over', async () => {
  await refuse('198.51.100.7', MOST_ENTRIES.network + 30);
  await refuse('198.51.100.8', 2);
  expect(await entries()).toHaveLength(MOST_ENTRIES.network + 2);
  await sumUpRefusals(appliance.deps);
  expect(await entries()).toHaveLength(MOST_ENTRIES.network + 2);

  appliance.clock.offsetMs += 3_700_000;
  await sumUpRefusals(appliance.deps);
  await sumUpRefusals(appliance.deps);

  const told = (await entries()).filter(({ detail }) => JSON.stringify(detail) !== '{}');
  expect(told).toMatchObject([{ address: '198.51.100.7', detail: { attempts: 30, from: 'this network' } }]);
});

test('an attempt in the next hour tells what was counted in the one before', async () => {
  await refuse('2001:db8::1', MOST_ENTRIES.network + 4);
  appliance.clock.offsetMs += 3_700_000;

  await refuse('2001:db8::2', 1);

  const all = await entries();
  expect(all).toHaveLength(MOST_ENTRIES.network + 2);
  expect(all.filter(({ detail }) => JSON.stringify(detail) !== '{}')).toMatchObject([
    { detail: { attempts: 4 } },
  ]);
});

test(
  'a flood from everywhere stops at a bound of all, and is told in one',
  { timeout: 120_000 },
  async () => {
    for (let host = 0; host < MOST_ENTRIES.all / 10 + 6; host += 1) await refuse(`203.0.113.${host}`, 10);
    expect(await entries()).toHaveLength(MOST_ENTRIES.all);

    appliance.clock.offsetMs += 3_700_000;
    await sumUpRefusals(appliance.deps);

    const told = (await entries()).filter(({ detail }) => JSON.stringify(detail) !== '{}');
    expect(told).toMatchObject([{ address: null, detail: { attempts: 60, from: 'everywhere' } }]);
    expect(await appliance.deps.db.selectFrom('refused_sign_ins').selectAll().execute()).toEqual([]);
  },
);

test('sign-ins and passkeys that are refused at the door go through it', async () => {
  const wrong = { email: 'nobody@example.org', password: 'not the right words' };
  expect((await appliance.stranger.call('POST', '/session', wrong)).status).toBe(401);

  expect(await entries()).toHaveLength(1);
  const counted = await appliance.deps.db.selectFrom('refused_sign_ins').selectAll().execute();
  expect(counted).toHaveLength(2);
});
