/** Who decides about what a team has, what waits for whom, and reviews of more items than a statement has parameters. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lockOpenItems, updateItems } from '../../server/identity/access-reviews/queries.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';

type Someone = TestCaller & { userId: string };
interface Item {
  id: string;
  kind: string;
  person: { id: string } | null;
  team: { id: string } | null;
  can: string[];
  whyNot: string | null;
  version: string;
}

let appliance: TestAppliance;
let owner: TestCaller;
let ownerId: string;
let manager: Someone;
let member: Someone;
let teamId: string;
let reviewId: string;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  ownerId = (await expectStatus(owner.call<{ user: { id: string } }>('GET', '/session'), 200)).user.id;
  manager = await appliance.addPerson('member');
  member = await appliance.addPerson('member');
  const { id } = await createTestWorkspace(appliance.deps, manager.userId, 'Surgery');
  teamId = (await expectStatus(owner.call<{ id: string }>('POST', '/teams', { name: 'Ward 3' }), 201)).id;
  await join(manager.userId);
  await expectStatus(manager.call('PUT', `/workspaces/${id}/teams/${teamId}`, { role: 'viewer' }), 200);
  await expectStatus(
    manager.call('PUT', `/workspaces/${id}/people/${member.userId}`, { role: 'viewer' }),
    200,
  );
  reviewId = (await expectStatus(owner.call<{ id: string }>('POST', '/access-reviews', {}), 201)).id;
});
afterAll(() => appliance.close());

const join = (userId: string) =>
  expectStatus(owner.call('PUT', `/teams/${teamId}/members/${userId}`, {}), 200);
const itemsOf = async (who: TestCaller) =>
  (await expectStatus(who.call<{ items: Item[] }>('GET', `/access-reviews/${reviewId}/items?limit=200`), 200))
    .items;
async function teamsItem(who: TestCaller): Promise<Item> {
  const found = (await itemsOf(who)).find((one) => one.person === null && one.team?.id === teamId);
  if (found === undefined) throw new Error('The team is not in the review');
  return found;
}
const keep = (who: TestCaller, { id, version }: Item) =>
  who.call('POST', `/access-reviews/${reviewId}/items/${id}/decision`, { decision: 'keep', version });
const bannerOf = async (who: TestCaller) =>
  (
    await expectStatus(who.call<{ banners: { kind: string; message: string }[] }>('GET', '/session'), 200)
  ).banners.find(({ kind }) => kind === 'access-review')?.message;

test('somebody in a team does not decide what the team has, unless nobody else could', async () => {
  const seen = await teamsItem(manager);
  const refused = await keep(manager, seen);

  expect([seen.can, seen.whyNot]).toEqual([[], expect.stringContaining('team that you are in')]);
  expect(refused.status).toBe(403);
  expect((await teamsItem(owner)).can).toContain('keep');

  await join(ownerId);
  expect((await teamsItem(owner)).can).toContain('keep');
  await expectStatus(keep(manager, await teamsItem(manager)), 200);
});

test('the top of the pages says how many items wait, as many as the page lists', async () => {
  for (const who of [owner, manager]) {
    const mine = (await itemsOf(who)).filter((one) => one.whyNot === null && one.can.includes('remove'));
    const open = mine.filter((one) => one.can.includes('keep')).length;
    expect(await bannerOf(who), `${open} open`).toContain(open === 1 ? '1 item of' : `${open} items of`);
  }
  expect(await bannerOf(member)).toBeUndefined();
});

test('seventy thousand items are kept together', { timeout: 120_000 }, async () => {
  await sql`
    insert into access_review_items (id, review_id, thing, kind, facts, fingerprint, kept_before)
    select gen_random_uuid(), ${reviewId}, 'made:' || n, 'account', '{}', 'x', true
    from generate_series(1, 70000) n`.execute(appliance.deps.db);
  const made = await appliance.deps.db
    .selectFrom('access_review_items')
    .select('id')
    .where('thing', 'like', 'made:%')
    .execute();
  const ids = made.map(({ id }) => id);

  const held = await writeTransaction(appliance.deps.db, async (tx) => {
    const open = await lockOpenItems(tx, ids);
    await updateItems(tx, open, { decision: 'keep', decided_by: ownerId, decided_at: new Date() });
    return open.length;
  });

  expect(held).toBe(70_000);
  expect(await lockOpenItems(appliance.deps.db, [...ids, randomUUID()])).toEqual([]);
});
