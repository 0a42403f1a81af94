import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

type Someone = TestCaller & { userId: string };
interface Listed {
  id: string;
  state: string;
  consequence: string;
  concerns: { id: string; name: string }[];
}

let appliance: TestAppliance;
let owner: TestCaller;
let ownerId: string;
let admin: Someone;
let people: Someone[];

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  ownerId = (await expectStatus(owner.call<{ user: { id: string } }>('GET', '/session'), 200)).user.id;
  admin = await appliance.addPerson('admin');
});
afterAll(() => appliance.close());
beforeEach(async () => {
  await appliance.deps.db.deleteFrom('approvals').execute();
  people = [await appliance.addPerson('member'), await appliance.addPerson('auditor')];
});

const ids = () => people.map(({ userId }) => userId);
const ask = (userIds: readonly string[], who: TestCaller = owner) =>
  who.call<{ approval: { id: string } }>('POST', '/people/deactivate-several', {
    userIds,
    reason: 'They left',
  });
const pending = async () =>
  (await expectStatus(admin.call<{ items: Listed[] }>('GET', '/approvals'), 200)).items;
const statuses = () => Promise.all(people.map(async (who) => (await who.call('GET', '/session')).status));

test('one person, an unknown one, or the last owner among them is refused, and administrators may not ask', async () => {
  expect((await ask([people[0]?.userId ?? ''])).status).toBe(400);
  expect((await ask([...ids(), randomUUID()])).status).toBe(404);
  expect((await ask([...ids(), ownerId])).status).toBe(409);
  expect((await ask(ids(), admin)).status).toBe(403);
  expect(await pending()).toEqual([]);
  expect(await statuses()).toEqual([200, 200]);
});

test('nobody is shut out until another administrator approves it, who sees whom it concerns; then all are', async () => {
  const { approval } = await expectStatus(ask(ids()), 202);
  expect(await statuses()).toEqual([200, 200]);
  const [request] = await pending();
  expect(request?.concerns.map(({ id }) => id).sort()).toEqual(ids().sort());
  expect(request?.consequence).toContain('2 people (1 × Auditor, 1 × Member)');
  expect((await owner.call('POST', `/approvals/${approval.id}/approve`)).status).toBe(403);

  await expectStatus(admin.call('POST', `/approvals/${approval.id}/approve`), 204);

  expect(await statuses()).toEqual([401, 401]);
});

test('when one of them was given another role or shut out meanwhile, nobody is', async () => {
  const { approval } = await expectStatus(ask(ids()), 202);
  await expectStatus(owner.call('PUT', `/people/${people[0]?.userId}/role`, { role: 'admin' }), 200);

  expect((await admin.call('POST', `/approvals/${approval.id}/approve`)).status).toBe(409);

  expect((await people[1]?.call('GET', '/session'))?.status).toBe(200);
  const past = await expectStatus(owner.call<{ items: Listed[] }>('GET', '/approvals?state=past'), 200);
  expect(past.items[0]).toMatchObject({ id: approval.id, state: 'failed' });
});
