import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  expectStatus,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

type Someone = TestCaller & { userId: string; email: string };
interface Listed {
  id: string;
  state: string;
  consequence: string;
  concerns: { id: string; name: string; email: string }[];
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
  expect(request?.concerns.map(({ email }) => email).sort()).toEqual(people.map(({ email }) => email).sort());
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

describe('one by one', () => {
  let second: Someone & { email: string };
  let third: Someone;
  const shutOut = (who: TestCaller, { userId }: { userId: string }) =>
    who.call<{ approval?: { id: string }; error?: { hint: string } }>('POST', `/people/${userId}/deactivate`);
  beforeEach(async () => {
    appliance.clock.offsetMs = 0;
    second = await appliance.addPerson('owner');
    third = await appliance.addPerson('member');
    for (const person of people) await expectStatus(shutOut(second, person), 200);
  });

  test('the third within an hour waits for another administrator, not so an hour later', async () => {
    const { approval } = await expectStatus(shutOut(second, third), 202);
    expect((await third.call('GET', '/session')).status).toBe(200);
    expect((await shutOut(second, third)).status).toBe(409);
    const [request] = await pending();
    expect(request).toMatchObject({ id: approval?.id, concerns: [{ id: third.userId }] });
    expect(request?.consequence).toContain('1 person (1 × Member) is');
    await expectStatus(admin.call('POST', `/approvals/${approval?.id}/approve`), 204);
    expect((await third.call('GET', '/session')).status).toBe(401);

    const late = await appliance.addPerson('member');
    appliance.clock.offsetMs = 61 * 60_000;
    const again = await appliance.signIn(second.email, OWNER.password);
    await expectStatus(shutOut(again, late), 200);
  });

  test('of two thirds at the same moment none is done, nor by a decision of a review; the console may', async () => {
    const fourth = await appliance.addPerson('member');
    const { id } = await expectStatus(second.call<{ id: string }>('POST', '/access-reviews', {}), 201);
    type Item = { id: string; kind: string; version: string; person: { id: string } | null };
    const { items } = await expectStatus(
      second.call<{ items: Item[] }>('GET', `/access-reviews/${id}/items?limit=200`),
      200,
    );
    const item = items.find((one) => one.kind === 'account' && one.person?.id === third.userId);

    const both = await Promise.all([shutOut(second, third), shutOut(second, fourth)]);
    const decided = await second.call<{ error: { code: string; hint: string } }>(
      'POST',
      `/access-reviews/${id}/items/${item?.id}/decision`,
      { decision: 'remove', version: item?.version },
    );

    expect(both.map(({ status }) => status)).toEqual([202, 202]);
    expect([decided.status, decided.body.error.code]).toEqual([409, 'wrong_state']);
    expect(decided.body.error.hint).toContain('on their own page');
    expect((await third.call('GET', '/session')).status).toBe(200);
    await expectStatus(shutOut(appliance.console, third), 200);
  });

  test('somebody who was let in again may be shut out again, and of two seconds at once one waits', async () => {
    const [first] = people;
    await expectStatus(second.call('POST', `/people/${first?.userId}/reactivate`), 200);
    await expectStatus(shutOut(second, first ?? third), 200);

    const other = await appliance.addPerson('owner');
    await expectStatus(shutOut(other, await appliance.addPerson('member')), 200);
    const both = await Promise.all([
      shutOut(other, third),
      shutOut(other, await appliance.addPerson('member')),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 202]);
  });
});

describe('the like of it counts with it:', () => {
  let one: Someone;
  let demoted: Someone[];
  const demote = (who: TestCaller, { userId }: { userId: string }, role = 'member') =>
    who.call<{ error?: { code: string; message: string; hint: string } }>('PUT', `/people/${userId}/role`, {
      role,
    });
  const readdress = (who: TestCaller, { userId }: { userId: string }) =>
    who.call<{ error?: { code: string; hint: string } }>('PATCH', `/people/${userId}`, {
      email: `new-${randomUUID()}@example.org`,
    });
  beforeEach(async () => {
    appliance.clock.offsetMs = 0;
    one = await appliance.addPerson('owner');
    demoted = [await appliance.addPerson('admin'), await appliance.addPerson('owner')];
    for (const person of demoted) await expectStatus(demote(one, person, 'auditor'), 200);
  });

  test('whoever demoted two asks for the third deactivation, and demotes or readdresses no third within the hour', async () => {
    const third = await appliance.addPerson('admin');

    const answers = [await demote(one, third), await readdress(one, third)];

    expect(answers.map(({ status, body }) => [status, body.error?.code])).toEqual([
      [409, 'wrong_state'],
      [409, 'wrong_state'],
    ]);
    expect(answers[0]?.body.error?.hint).toContain('Another owner');
    expect((await third.call('GET', '/session')).status).toBe(200);
    await expectStatus(one.call('POST', `/people/${third.userId}/deactivate`), 202);
    await expectStatus(demote(await appliance.addPerson('owner'), third), 200);
    await expectStatus(demote(appliance.console, await appliance.addPerson('admin')), 200);
    const late = await appliance.addPerson('admin');
    appliance.clock.offsetMs = 61 * 60_000;
    const again = await appliance.signIn(one.email, OWNER.password);
    await expectStatus(demote(again, late), 200);
  });

  test('two addresses of others count; one’s own, promotions, and members and auditors among themselves do not', async () => {
    const other = await appliance.addPerson('owner');
    const [first, second, third] = people.concat(await appliance.addPerson('member'));
    for (const person of people) {
      await expectStatus(demote(other, person, 'admin'), 200);
      await expectStatus(readdress(other, person), 200);
    }
    await expectStatus(demote(other, third ?? one, 'auditor'), 200);
    await expectStatus(demote(other, third ?? one, 'owner'), 200);
    // The same two again are no further people.
    await expectStatus(demote(other, first ?? one), 200);
    await expectStatus(readdress(other, second ?? one), 200);

    expect((await demote(other, third ?? one)).status).toBe(409);
    await expectStatus(readdress(other, other), 200);
  });

  test('of two thirds at the same moment none is done, and a review does not get round it', async () => {
    const [third, fourth] = [await appliance.addPerson('admin'), await appliance.addPerson('admin')];

    const both = await Promise.all([demote(one, third), readdress(one, fourth)]);

    expect(both.map(({ status }) => status)).toEqual([409, 409]);
    const fresh = await appliance.addPerson('owner');
    await expectStatus(readdress(fresh, third), 200);
    const race = await Promise.all([demote(fresh, fourth), readdress(fresh, one)]);
    expect(race.map(({ status }) => status).sort()).toEqual([200, 409]);
  });
});
