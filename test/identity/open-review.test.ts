/** What becomes of an open review beside its signature: withdrawn, given another due date, told of by mail, looked through. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { keepAccessReviews } from '../../server/identity/index.ts';
import { accessReview } from '../../server/mail/templates/access-review.ts';
import { reviewWorkspaces } from '../../server/workspaces/index.ts';
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
  decision: { decision: string } | null;
  can: string[];
  version: string;
}
interface Detail {
  id: string;
  number: number;
  state: string;
  yours: number;
}

const DAY_MS = 86_400_000;
let appliance: TestAppliance;
let owner: TestCaller;
let manager: Someone;
let member: Someone;
let workspaceId: string;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  manager = await appliance.addPerson('member');
  member = await appliance.addPerson('member');
  workspaceId = (await createTestWorkspace(appliance.deps, manager.userId, 'Surgery')).id;
});
afterAll(() => appliance.close());
beforeEach(async () => {
  const { db } = appliance.deps;
  const open = await db.selectFrom('access_reviews').select('id').where('state', '=', 'open').execute();
  for (const { id } of open) {
    await db.deleteFrom('access_review_items').where('review_id', '=', id).execute();
    await db.deleteFrom('access_reviews').where('id', '=', id).execute();
  }
  const path = `/workspaces/${workspaceId}/people/${member.userId}`;
  await expectStatus(manager.call('PUT', path, { role: 'viewer' }), 200);
});

const start = () => expectStatus(owner.call<Detail>('POST', '/access-reviews', {}), 201);
const items = async (who: TestCaller, id: string, query = '') =>
  (
    await expectStatus(
      who.call<{ items: Item[] }>('GET', `/access-reviews/${id}/items?limit=200${query}`),
      200,
    )
  ).items;
const find = async (who: TestCaller, id: string, kind: string, personId: string) => {
  const found = (await items(who, id)).find((one) => one.kind === kind && one.person?.id === personId);
  if (found === undefined) throw new Error(`no ${kind} of ${personId}`);
  return found;
};
const decide = (who: TestCaller, id: string, item: Item, body: object) =>
  who.call('POST', `/access-reviews/${id}/items/${item.id}/decision`, { version: item.version, ...body });
const tidy = () => keepAccessReviews({ ...appliance.deps, workspaces: reviewWorkspaces(appliance.deps) });
const mails = () =>
  appliance.deps.db
    .selectFrom('mail_messages')
    .select('id')
    .where('template', '=', 'access-review')
    .execute();

test('what was changed or removed is found by that, and one item by its id', async () => {
  const { id } = await start();
  const one = await find(owner, id, 'workspace', member.userId);
  expect(await items(owner, id, '&state=altered')).toEqual([]);
  await expectStatus(decide(manager, id, one, { decision: 'change', to: 'editor' }), 200);

  expect((await items(owner, id, '&state=altered')).map((item) => item.id)).toEqual([one.id]);
  const [now, ...others] = await items(owner, id, `&item=${one.id}`);
  expect([now?.decision?.decision, others]).toEqual(['change', []]);
});

test('a review that is withdrawn ends with a reason, is not changed any more, and makes way for another', async () => {
  const { id } = await start();
  const one = await find(manager, id, 'workspace', member.userId);
  const withdraw = (who: TestCaller, reason = 'Begun by mistake') =>
    who.call<Detail & { statement: string }>('POST', `/access-reviews/${id}/withdraw`, { reason });
  expect((await withdraw(manager)).status).toBe(403);
  expect((await withdraw(owner, ' ')).status).toBe(400);
  await expectStatus(decide(manager, id, one, { decision: 'change', to: 'editor' }), 200);

  expect((await owner.call('POST', '/access-reviews', {})).status).toBe(409);

  const over = await expectStatus(withdraw(owner), 200);

  expect(over).toMatchObject({ state: 'withdrawn', statement: 'Begun by mistake', yours: 0 });
  expect((await withdraw(owner)).status).toBe(409);
  expect((await items(owner, id)).flatMap(({ can }) => can)).toEqual([]);
  const [still] = await items(manager, id, `&item=${one.id}`);
  expect((await decide(manager, id, still ?? one, { decision: 'keep' })).status).toBe(409);
  const { db } = appliance.deps;
  await expect(db.deleteFrom('access_review_items').where('review_id', '=', id).execute()).rejects.toThrow(
    'never changed',
  );
  const before = (await mails()).length;
  appliance.clock.offsetMs = 40 * DAY_MS;
  await tidy();
  appliance.clock.offsetMs = 0;
  expect((await mails()).length).toBe(before);
  // A hole would look as if one had been taken away.
  expect((await start()).number).toBe(over.number + 1);
  const entry = await db
    .selectFrom('audit_entries')
    .select(['detail', 'id'])
    .where('action', '=', 'identity.access-review.withdrawn')
    .where('object_id', '=', id)
    .executeTakeFirstOrThrow();
  expect(entry.detail).toMatchObject({ decided: 1 });
  const found = owner.call<{ items: { id: string }[] }>('GET', `/audit?entryId=${entry.id}`);
  expect((await expectStatus(found, 200)).items.map((row) => row.id)).toEqual([entry.id]);
});

test('a review is given another due date by an owner, within half a year, and the log has both', async () => {
  const { id } = await start();
  const change = (who: TestCaller, days: number) =>
    who.call<{ dueAt: string }>('PATCH', `/access-reviews/${id}`, {
      dueAt: new Date(Date.now() + days * DAY_MS).toISOString(),
    });
  expect((await change(owner, -1)).status).toBe(400);
  expect((await change(owner, 181)).status).toBe(400);
  expect((await change(manager, 10)).status).toBe(403);

  const { dueAt } = await expectStatus(change(owner, 90), 200);

  expect(Math.round((Date.parse(dueAt) - Date.now()) / DAY_MS)).toBe(90);
  const { detail } = await appliance.deps.db
    .selectFrom('audit_entries')
    .select('detail')
    .where('action', '=', 'identity.access-review.due-changed')
    .where('object_id', '=', id)
    .executeTakeFirstOrThrow();
  expect(detail).toMatchObject({ after: dueAt });
});

test('a review is named by a link in the mails, under the name by which it was begun', async () => {
  const { id } = await start();

  const row = await appliance.deps.db
    .selectFrom('access_reviews')
    .select('origin')
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  expect(row.origin).toBe('https://localhost:80');
  const url = `${row.origin}/people/reviews/${id}`;
  const data = { news: 'started', count: 3, dueAt: '2027-01-01T00:00:00Z' } as const;
  const name = { applianceName: 'Testbed' };
  expect(accessReview.compose({ ...data, url }, name).blocks).toContainEqual(
    expect.objectContaining({ kind: 'link', url }),
  );
  expect(JSON.stringify(accessReview.compose(data, name).blocks)).toContain('Open Access reviews');
});
