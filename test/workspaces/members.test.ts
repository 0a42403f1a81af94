import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase } from '../../server/lib/db.ts';
import type { ManagedWorkspace, Workspace, WorkspaceMembers } from '../../server/workspaces/schema.ts';
import { expectStatus, type TestCaller } from '../helpers/appliance.ts';
import { startTestWorkspace, type TestWorkspace } from './workspace.ts';

type Person = TestCaller & { userId: string };

let place: TestWorkspace;
let owner: TestCaller;
let ownerId: string;
let admin: Person;
let member: Person;
let path: string;
beforeAll(async () => {
  place = await startTestWorkspace();
  owner = place.owner;
  path = `/workspaces/${place.id}`;
  const session = await expectStatus(owner.call<{ user: { id: string } }>('GET', '/session'), 200);
  ownerId = session.user.id;
  admin = await place.appliance.addPerson('admin');
  member = await place.appliance.addPerson('member');
});
afterAll(() => place.appliance.close());

const makeTeam = async (name: string, userIds: readonly string[]): Promise<string> => {
  const { id } = await expectStatus(owner.call<{ id: string }>('POST', '/teams', { name }), 201);
  for (const userId of userIds)
    await expectStatus(owner.call('PUT', `/teams/${id}/members/${userId}`, {}), 200);
  return id;
};
const give = (what: string, role: string, who = owner) =>
  who.call<WorkspaceMembers>('PUT', `${path}/${what}`, { role });
const take = (what: string, who = owner) => who.call<WorkspaceMembers>('DELETE', `${path}/${what}`, {});
const rolesOf = async (who: TestCaller): Promise<string[]> => {
  const { items } = await expectStatus(who.call<{ items: Workspace[] }>('GET', '/workspaces'), 200);
  return items.filter(({ id }) => id === place.id).map(({ role }) => role);
};
const makeFolder = (who: TestCaller) =>
  who.call('POST', '/folders', { parentId: place.root, name: `f${Math.random()}` });

describe('what a person may do in a workspace', () => {
  test('is the highest of their own role and those of their teams', async () => {
    const viewers = await makeTeam('Viewers', [member.userId]);
    const editors = await makeTeam('Editors', [member.userId]);
    expect(await rolesOf(member)).toEqual([]);

    await expectStatus(give(`teams/${viewers}`, 'viewer'), 200);
    expect(await rolesOf(member)).toEqual(['viewer']);
    expect((await makeFolder(member)).status).toBe(403);

    await expectStatus(give(`teams/${editors}`, 'editor'), 200);
    expect(await rolesOf(member)).toEqual(['editor']);
    expect((await makeFolder(member)).status).toBe(201);

    await expectStatus(give(`people/${member.userId}`, 'viewer'), 200);
    expect(await rolesOf(member)).toEqual(['editor']);

    await expectStatus(take(`teams/${editors}`), 200);
    expect(await rolesOf(member)).toEqual(['viewer']);
    await expectStatus(take(`people/${member.userId}`), 200);
    await expectStatus(owner.call('DELETE', `/teams/${viewers}/members/${member.userId}`, {}), 200);
    expect(await rolesOf(member)).toEqual([]);
    expect((await member.call('GET', `/folders/${place.root}`)).status).toBe(404);
  });

  test('is gone with the next request to any process of the appliance once it is taken away', async () => {
    const { buildApp } = await import('../../server/app.ts');
    const db = openDatabase(place.appliance.database.address, { name: 'second', max: 2 });
    const second = await buildApp({ ...place.appliance.deps, db });
    const list = () =>
      second.inject({ url: `/api/v1/folders/${place.root}`, headers: { cookie: member.cookie } });
    const statuses: number[] = [];

    for (const holder of [`people/${member.userId}`, `teams/${await makeTeam('Passing', [member.userId])}`]) {
      await expectStatus(give(holder, 'viewer'), 200);
      statuses.push((await list()).statusCode);
      await expectStatus(take(holder), 200);
      statuses.push((await list()).statusCode);
    }
    await expectStatus(owner.call('POST', `/people/${member.userId}/deactivate`, {}), 200);
    statuses.push((await list()).statusCode);
    await expectStatus(owner.call('POST', `/people/${member.userId}/reactivate`, {}), 200);
    await second.close();
    await db.destroy();
    member = await place.appliance.addPerson('member');

    expect(statuses).toEqual([200, 404, 200, 404, 401]);
  });
});

describe('the members of a workspace', () => {
  test('are managed by administrators who see no content, and who are named when they add themselves', async () => {
    await expectStatus(give(`people/${member.userId}`, 'editor', admin), 200);
    expect((await admin.call('GET', `/folders/${place.root}`)).status).toBe(404);

    const seen = await expectStatus(give(`people/${admin.userId}`, 'viewer', admin), 200);

    expect(seen.people.map(({ id }) => id)).toContain(admin.userId);
    const entry = await place.appliance.deps.db
      .selectFrom('audit_entries')
      .select(['action', 'detail'])
      .where('object_id', '=', place.id)
      .orderBy('number', 'desc')
      .executeTakeFirstOrThrow();
    expect(entry).toEqual({
      action: 'workspaces.member.set',
      detail: { userId: admin.userId, from: null, to: 'viewer', self: true },
    });
    await expectStatus(take(`people/${admin.userId}`, admin), 200);
  });

  test('are seen by an editor, who may not change them', async () => {
    await expectStatus(give(`people/${member.userId}`, 'editor'), 200);

    const seen = await expectStatus(member.call<WorkspaceMembers>('GET', `${path}/members`), 200);
    expect(seen.mayManage).toBe(false);
    expect((await give(`people/${member.userId}`, 'manager', member)).status).toBe(403);
    expect((await take(`people/${ownerId}`, member)).status).toBe(403);
    expect(await rolesOf(member)).toEqual(['editor']);
  });

  test('are added by a manager who is no administrator by their e-mail address', async () => {
    const other = await place.appliance.addPerson('member');
    const { user } = await expectStatus(other.call<{ user: { email: string } }>('GET', '/session'), 200);
    await expectStatus(give(`people/${member.userId}`, 'manager'), 200);

    const add = (email: string) => member.call('POST', `${path}/people`, { email, role: 'viewer' });
    expect((await add('nobody@example.org')).status).toBe(404);
    await expectStatus(add(user.email), 200);
    expect(await rolesOf(other)).toEqual(['viewer']);
    await expectStatus(take(`people/${member.userId}`), 200);
  });

  test('never lose the last manager, also when two leave at the same moment', async () => {
    expect((await take(`people/${ownerId}`)).status).toBe(409);
    expect((await give(`people/${ownerId}`, 'viewer')).status).toBe(409);
    const team = await makeTeam('Managers', []);
    await expectStatus(give(`teams/${team}`, 'manager'), 200);
    expect((await take(`people/${ownerId}`)).status).toBe(409);

    await expectStatus(give(`people/${member.userId}`, 'manager'), 200);
    const replies = await Promise.all([take(`people/${ownerId}`), take(`people/${member.userId}`)]);

    expect(replies.map(({ status }) => status).sort()).toEqual([200, 409]);
    await expectStatus(give(`people/${ownerId}`, 'manager'), 200);
  });

  test('have no auditor among them', async () => {
    const auditor = await place.appliance.addPerson('auditor');

    expect((await give(`people/${auditor.userId}`, 'viewer')).status).toBe(400);
  });
});

describe('workspaces', () => {
  test('are created by administrators with a manager, renamed, and shut to everybody else', async () => {
    const request = { name: 'Ward 3', managerId: member.userId };
    const made = await expectStatus(admin.call<WorkspaceMembers>('POST', '/workspaces', request), 201);
    expect(made.people).toMatchObject([{ id: member.userId, role: 'manager' }]);

    await expectStatus(member.call('PATCH', `/workspaces/${made.id}`, { name: 'Ward 4' }), 200);

    const mine = await expectStatus(member.call<{ items: Workspace[] }>('GET', '/workspaces'), 200);
    const found = mine.items.find(({ id }) => id === made.id);
    expect(found).toMatchObject({ name: 'Ward 4', role: 'manager' });
    expect((await admin.call('GET', `/folders/${found?.rootFolderId}`)).status).toBe(404);
    const all = await expectStatus(admin.call<{ items: ManagedWorkspace[] }>('GET', '/workspaces/all'), 200);
    expect(all.items.find(({ id }) => id === made.id)).toMatchObject({
      name: 'Ward 4',
      people: 1,
      managers: 1,
    });
    const of = await expectStatus(
      admin.call<{ items: Workspace[] }>('GET', `/people/${member.userId}/workspaces`),
      200,
    );
    expect(of.items.map(({ name }) => name)).toContain('Ward 4');
  });
});

describe('the name of a workspace', () => {
  const make = (name: string) =>
    owner.call<WorkspaceMembers>('POST', '/workspaces', { name, managerId: ownerId });
  const names = async (): Promise<string[]> => {
    const { items } = await expectStatus(
      owner.call<{ items: ManagedWorkspace[] }>('GET', '/workspaces/all'),
      200,
    );
    return items.map(({ name }) => name);
  };

  test.each(['   ', '\u00a0', 'a\r\nb', 'red\u001b[31m', '\u3164', 'Main\u202e', 'a/b'])(
    'is not %j',
    async (name) => {
      const before = await names();

      expect((await make(name)).status).toBe(400);
      expect((await owner.call('PATCH', path, { name })).status).toBe(400);

      expect(await names()).toEqual(before);
    },
  );

  test('is not that of another one, however it is written', async () => {
    const made = await expectStatus(make('  Ward \u00a0Seven '), 201);
    const before = await names();

    expect(made.name).toBe('Ward Seven');
    expect((await make('Ward Seven')).status).toBe(409);
    expect((await make('ward  seven')).status).toBe(409);
    expect((await owner.call('PATCH', path, { name: 'WARD SEVEN' })).status).toBe(409);

    expect(await names()).toEqual(before);
    await expectStatus(owner.call('PATCH', `/workspaces/${made.id}`, { name: 'Ward seven' }), 200);
  });

  test('tells a manager nothing about workspaces that they do not see', async () => {
    await expectStatus(make('Secret plan'), 201);
    const own = await expectStatus(make('Own ward'), 201);
    await expectStatus(
      owner.call('PUT', `/workspaces/${own.id}/people/${member.userId}`, { role: 'manager' }),
      200,
    );

    expect((await member.call('PATCH', `/workspaces/${own.id}`, { name: 'Secret plan' })).status).toBe(200);
  });
});
