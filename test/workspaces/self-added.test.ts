import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';

type Someone = TestCaller & { userId: string };
let appliance: TestAppliance;
let admin: Someone;
let manager: Someone;
let member: Someone;
let workspaceId: string;
let teamId: string;

beforeAll(async () => {
  appliance = await startTestAppliance();
  await appliance.claim();
  admin = await appliance.addPerson('admin');
  manager = await appliance.addPerson('member');
  member = await appliance.addPerson('member');
  workspaceId = (await createTestWorkspace(appliance.deps, manager.userId, 'Surgery')).id;
  const team = await expectStatus(admin.call<{ id: string }>('POST', '/teams', { name: 'Night shift' }), 201);
  teamId = team.id;
  await expectStatus(
    manager.call('PUT', `/workspaces/${workspaceId}/teams/${teamId}`, { role: 'viewer' }),
    200,
  );
  await expectStatus(admin.call('PUT', `/teams/${teamId}/members/${member.userId}`), 200);
});
afterAll(() => appliance.close());

const told = async () =>
  (
    await appliance.deps.db
      .selectFrom('mail_messages')
      .select('user_id')
      .where('template', '=', 'administrator-joined')
      .execute()
  ).map((row) => row.user_id);

test('managers are not told of others who are added, only of an administrator who adds themself, to a team or to the workspace', async () => {
  expect(await told()).toEqual([]);

  await expectStatus(admin.call('PUT', `/teams/${teamId}/members/${admin.userId}`), 200);
  await expectStatus(admin.call('PUT', `/teams/${teamId}/members/${admin.userId}`), 200);
  expect(await told()).toEqual([manager.userId]);

  const put = (role: string) =>
    expectStatus(admin.call('PUT', `/workspaces/${workspaceId}/people/${admin.userId}`, { role }), 200);
  await put('viewer');
  await put('editor');
  expect(await told()).toEqual([manager.userId, manager.userId]);
});

test('whoever belongs to a workspace sees who is in its teams', async () => {
  const { teams } = await expectStatus(
    member.call<{ teams: { id: string; members: { id: string }[] }[] }>(
      'GET',
      `/workspaces/${workspaceId}/members`,
    ),
    200,
  );

  expect(teams.map((team) => team.members.map(({ id }) => id).sort())).toEqual([
    [admin.userId, member.userId].sort(),
  ]);
});
