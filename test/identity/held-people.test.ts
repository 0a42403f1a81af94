/** Acts on people that come at once, in real transactions: one waits for the other, and none for ever. */
import { randomBytes, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { insertPending, lockUser as lockForFactors } from '../../server/identity/factors/queries.ts';
import { insertPerson, preparePerson } from '../../server/identity/people/people.ts';
import { lockOwnerIds, lockUser, lockUsers } from '../../server/identity/people/queries.ts';
import { changeOnly } from '../../server/identity/single-sign-on/only-mode.ts';
import { writeTransaction, type WriteTransaction } from '../../server/lib/db.ts';
import { OWNER, startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';

let appliance: TestAppliance;
beforeAll(async () => {
  appliance = await startTestAppliance();
  await appliance.claim();
});
afterAll(() => appliance.close());

/** Something that refers to a person, as nearly every act writes. */
const refer = (tx: WriteTransaction, userId: string) =>
  insertPending(tx, {
    ...{ id: randomUUID(), user_id: userId, token_hash: randomBytes(32) },
    expires_at: new Date(Date.now() + 60_000),
  });

async function isSomebodyWaiting(): Promise<boolean> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`.execute(
    appliance.deps.db,
  );
  return rows.length > 0;
}

test.each([
  ['one person', (tx: WriteTransaction, id: string) => lockUser(tx, id)],
  ['some people', (tx: WriteTransaction, id: string) => lockUsers(tx, [id])],
  ['the owners', (tx: WriteTransaction) => lockOwnerIds(tx)],
  ['their factors', (tx: WriteTransaction, id: string) => lockForFactors(tx, id)],
])('two that wrote of a person both hold %s afterwards, one after the other', async (_what, hold) => {
  const { db } = appliance.deps;
  const { userId } = await appliance.addPerson('owner');
  let written = 0;
  const act = () =>
    writeTransaction(db, async (tx) => {
      await refer(tx, userId);
      written += 1;
      await waitFor('both to have written', () => written === 2);
      await hold(tx, userId);
    });

  const outcomes = await Promise.allSettled([act(), act()]);

  expect(outcomes).toEqual(outcomes.map(() => ({ status: 'fulfilled', value: undefined })));
});

test('a change of a role and a change of the ways in hold people in the same order', async () => {
  const { deps } = appliance;
  const person = await preparePerson(deps, {
    ...{ name: 'First of all', email: 'first@example.org', password: OWNER.password, role: 'member' },
  });
  const first = { ...person, userId: '00000000-0000-4000-8000-000000000001' };
  await writeTransaction(deps.db, (tx) => insertPerson(tx, deps, first, { kind: 'system' }));

  let waysIn: Promise<unknown> = Promise.resolve();
  await writeTransaction(deps.db, async (tx) => {
    await lockOwnerIds(tx);
    waysIn = changeOnly(deps, { on: false }, { kind: 'system' });
    await waitFor('the other to wait for the owners', isSomebodyWaiting);
    await lockUser(tx, first.userId);
  });

  await expect(waysIn).resolves.toMatchObject({ since: null });
});
