import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { PeoplePage, PersonEntry } from '../../server/identity/people/schema.ts';
import {
  expectStatus,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

let appliance: TestAppliance;
let owner: TestCaller;
let ownerId: string;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  ownerId = await idOf(owner);
});
afterAll(() => appliance.close());

async function idOf(who: TestCaller): Promise<string> {
  return (await expectStatus(who.call<{ user: { id: string } }>('GET', '/session'), 200)).user.id;
}

/** Nobody takes away from more than two within an hour. */
async function hourLater(): Promise<void> {
  appliance.clock.offsetMs += 61 * 60_000;
  owner = await appliance.signIn(OWNER.email, OWNER.password);
}

const find = (query: string) => expectStatus(owner.call<PeoplePage>('GET', `/people?${query}`), 200);
const show = (id: string) => expectStatus(owner.call<PersonEntry>('GET', `/people/${id}`), 200);

async function newestAct(objectId: string) {
  return appliance.deps.db
    .selectFrom('audit_entries')
    .select(['action', 'detail'])
    .where('object_id', '=', objectId)
    .where('action', '<>', 'identity.sign-in.refused')
    .orderBy('number', 'desc')
    .executeTakeFirst();
}

describe('the last owner', () => {
  for (const [act, ask] of [
    ['loses the role', () => owner.call('PUT', `/people/${ownerId}/role`, { role: 'admin' })],
    ['is deactivated', () => owner.call('POST', `/people/${ownerId}/deactivate`, {})],
  ] as const) {
    test(`never ${act}`, async () => {
      const reply = await ask();

      expect([reply.status, (reply.body.error as { code: string }).code]).toEqual([409, 'wrong_state']);
      expect(await show(ownerId)).toMatchObject({ role: 'owner', state: 'active' });
    });
  }

  test('stays when two owners are taken the role away at the same moment', async () => {
    for (let round = 0; round < 5; round += 1) {
      await hourLater();
      const second = await appliance.addPerson('owner');

      const replies = await Promise.all([
        owner.call('PUT', `/people/${second.userId}/role`, { role: 'member' }),
        second.call('PUT', `/people/${ownerId}/role`, { role: 'member' }),
      ]);

      const statuses = replies.map(({ status }) => status);
      expect(statuses.filter((status) => status === 200)).toHaveLength(1);
      if (statuses[1] === 200) {
        // The second stays: the first gets the role back from them.
        await expectStatus(second.call('PUT', `/people/${ownerId}/role`, { role: 'owner' }), 200);
        owner = await appliance.signIn(OWNER.email, OWNER.password);
        await expectStatus(owner.call('PUT', `/people/${second.userId}/role`, { role: 'member' }), 200);
      }
    }
    expect((await find('role=owner')).items.map(({ id }) => id)).toEqual([ownerId]);
  });
});

describe('a person', () => {
  let person: TestCaller & { userId: string };
  beforeEach(async () => {
    await hourLater();
    person = await appliance.addPerson('member');
  });

  test('who is deactivated is out with the next request, and cannot sign in', async () => {
    const { email } = await show(person.userId);
    await expectStatus(owner.call('POST', `/people/${person.userId}/deactivate`, {}), 200);

    expect((await person.call('GET', '/session')).status).toBe(401);
    await expect(appliance.signIn(email, OWNER.password)).rejects.toThrow('401');
    expect(await newestAct(person.userId)).toEqual({
      action: 'identity.user.deactivated',
      detail: { endedSessions: 1, revokedKeys: 0, withdrawnInvitations: 0 },
    });
  });

  test('who is activated again signs in as before', async () => {
    const { email } = await show(person.userId);
    await expectStatus(owner.call('POST', `/people/${person.userId}/deactivate`, {}), 200);
    await expectStatus(owner.call('POST', `/people/${person.userId}/reactivate`, {}), 200);

    await expect(appliance.signIn(email, OWNER.password)).resolves.toBeDefined();
  });

  test('who gets another role loses the old one and the sessions at once', async () => {
    const admin = await appliance.addPerson('admin');
    await expectStatus(owner.call('PUT', `/people/${admin.userId}/role`, { role: 'member' }), 200);

    expect((await admin.call('GET', '/overview')).status).toBe(401);
    expect(await newestAct(admin.userId)).toEqual({
      action: 'identity.user.role-changed',
      detail: { from: 'admin', to: 'member', endedSessions: 1, withdrawnInvitations: 0 },
    });
  });

  test('is told by mail of each change, the old address of a new one too', async () => {
    const before = await appliance.deps.db.selectFrom('mail_messages').select('id').execute();
    await expectStatus(
      owner.call('PATCH', `/people/${person.userId}`, { email: 'new.one@example.org' }),
      200,
    );
    await expectStatus(owner.call('PUT', `/people/${person.userId}/role`, { role: 'auditor' }), 200);

    const after = await appliance.deps.db.selectFrom('mail_messages').select('user_id').execute();
    expect(after.length - before.length).toBe(3);
  });

  test('with a new address signs in with it and no more with the old one', async () => {
    const { email } = await show(person.userId);
    const changed = { name: 'Grace Hopper', email: 'Grace@Example.org' };
    await expectStatus(owner.call('PATCH', `/people/${person.userId}`, changed), 200);

    await expect(appliance.signIn('grace@example.org', OWNER.password)).resolves.toBeDefined();
    await expect(appliance.signIn(email, OWNER.password)).rejects.toThrow('401');
    expect(await show(person.userId)).toMatchObject(changed);
  });

  test('cannot be given the address of another, and keeps their own', async () => {
    const { email } = await show(person.userId);

    const reply = await owner.call('PATCH', `/people/${person.userId}`, { email: OWNER.email });

    expect(reply.status).toBe(409);
    expect((await show(person.userId)).email).toBe(email);
    await expect(appliance.signIn(email, OWNER.password)).resolves.toBeDefined();
  });

  test('renames themself', async () => {
    await expectStatus(person.call('PATCH', '/profile', { name: 'My new name' }), 204);

    expect((await show(person.userId)).name).toBe('My new name');
  });
});

describe('the list of people', () => {
  test('is searched by parts of names and addresses, filtered, sorted and paged', async () => {
    for (const [name, role] of [
      ['Zoë Zebra', 'auditor'],
      ['Anna Zebra', 'auditor'],
      ['Bo Zebra', 'member'],
    ] as const) {
      const { userId } = await appliance.addPerson(role);
      await expectStatus(owner.call('PATCH', `/people/${userId}`, { name }), 200);
    }
    const names = async (query: string) => (await find(query)).items.map(({ name }) => name);

    expect(await names('search=zebra')).toEqual(['Anna Zebra', 'Bo Zebra', 'Zoë Zebra']);
    expect(await names('search=ZEBRA&role=auditor&order=desc')).toEqual(['Zoë Zebra', 'Anna Zebra']);
    expect(await names('search=zebra&sort=role&limit=1&offset=2')).toEqual(['Bo Zebra']);
    expect((await find('search=zebra&limit=1')).total).toBe(3);
    expect(await names('search=nobody-of-that-name')).toEqual([]);
    expect(await names(`search=${encodeURIComponent(OWNER.email)}`)).toEqual([OWNER.name]);
  });

  test('warns of a single owner, and of more administrators than the setting says', async () => {
    const kinds = async () => (await find('')).warnings.map(({ kind }) => kind);
    expect(await kinds()).toEqual(['few-owners']);

    await expectStatus(owner.call('PUT', '/settings/people', { adminsAdvised: 1 }), 200);
    await appliance.addPerson('admin');
    await appliance.addPerson('admin');
    await appliance.addPerson('owner');

    expect(await kinds()).toEqual(['many-admins']);
  });
});

describe('the name of a person', () => {
  test.each(['\u3164', '\u200b', 'Ada\u202e', 'Ada\u200b', ' \u00a0 '])('is never %j', async (name) => {
    const person = await appliance.addPerson('member');
    const before = await show(person.userId);

    expect((await person.call('PATCH', '/profile', { name })).status).toBe(400);
    expect((await owner.call('PATCH', `/people/${person.userId}`, { name })).status).toBe(400);

    expect(await show(person.userId)).toEqual(before);
  });

  test('is kept as it is seen', async () => {
    const person = await appliance.addPerson('member');

    await expectStatus(person.call('PATCH', '/profile', { name: ' Ren\u0065\u0301 \u00a0 Descartes ' }), 204);

    expect((await show(person.userId)).name).toBe('René Descartes');
  });

  test('is told by the id to whoever may see people, for the log keeps ids only', async () => {
    const [person, auditor] = [await appliance.addPerson('member'), await appliance.addPerson('auditor')];
    const ids = [person.userId, ownerId, '00000000-0000-4000-8000-000000000000', person.userId].join(',');

    const { items } = await expectStatus(
      auditor.call<{ items: { id: string; name: string }[] }>('GET', `/people/names?ids=${ids}`),
      200,
    );
    expect(new Map(items.map(({ id, name }) => [id, name]))).toEqual(
      new Map([
        [person.userId, (await show(person.userId)).name],
        [ownerId, OWNER.name],
      ]),
    );
    expect(items).toHaveLength(2);
    const many = Array.from({ length: 101 }, () => ownerId).join(',');
    for (const wrong of ['', 'x', many, `${ownerId},`])
      expect((await auditor.call('GET', `/people/names?ids=${wrong}`)).status).toBe(400);
    expect((await person.call('GET', `/people/names?ids=${ownerId}`)).status).toBe(403);
  });
});
