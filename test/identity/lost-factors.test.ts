/** A second factor that somebody lost, taken off their account by somebody else. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { approvalActs } from '../../server/approval-acts.ts';
import { settleApprovals } from '../../server/identity/index.ts';
import {
  browserOf,
  expectStatus,
  ORIGIN,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { startMailbox, type Mailbox } from '../helpers/mailbox.ts';
import { partOf } from '../helpers/mail-server.ts';
import { addTestPasskey } from '../helpers/sign-in.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';
import { softwarePasskey } from '../helpers/software-passkey.ts';

type Someone = TestCaller & { userId: string; email: string };
interface Entry {
  password: boolean;
  secondFactors: { authenticatorApp: boolean; passkeys: number; recoveryCodes: number; required: boolean };
}

const HOUR_MS = 3_600_000;

let appliance: TestAppliance;
let owner: TestCaller;
let ownerId: string;
let mailbox: Mailbox;
let lost: Someone;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  ownerId = (await expectStatus(owner.call<{ user: { id: string } }>('GET', '/session'), 200)).user.id;
  mailbox = await startMailbox(appliance, owner);
});
afterAll(async () => {
  await mailbox.close();
  await appliance.close();
});
beforeEach(async () => {
  const { db } = appliance.deps;
  await db.deleteFrom('approvals').execute();
  await db.updateTable('users').set({ disabled_at: new Date() }).where('id', '<>', ownerId).execute();
  await mailbox.collect();
});

const remove = (who: TestCaller, userId: string, reason = 'Lost the phone') =>
  who.call<{ approval: { id: string; state: string } }>('DELETE', `/people/${userId}/second-factors`, {
    reason,
  });
const show = async ({ userId }: Someone) => expectStatus(owner.call<Entry>('GET', `/people/${userId}`), 200);
const factorsOf = async (who: Someone) => (await show(who)).secondFactors;
const settle = () => settleApprovals({ ...appliance.deps, acts: approvalActs(appliance.deps) });

/** Somebody with a passkey and recovery codes. */
async function withFactor(role: 'owner' | 'admin' | 'auditor' | 'member'): Promise<Someone> {
  const who = await appliance.addPerson(role);
  if (role === 'auditor' || role === 'member')
    await addTestPasskey(who.call.bind(who), ORIGIN, softwarePasskey(who.email));
  return who;
}

/** What the password alone answers. */
async function withPassword({ email }: Someone) {
  const page = browserOf(appliance.app);
  const reply = await page.call('POST', '/session', { email, password: OWNER.password });
  return { page, reply };
}

test('who has which ways of signing in is told to those who may see people, and to nobody else', async () => {
  lost = await withFactor('member');
  const [admin, auditor] = [await appliance.addPerson('admin'), await appliance.addPerson('auditor')];

  for (const who of [owner, admin, auditor])
    expect((await who.call('GET', `/people/${lost.userId}`)).body).toMatchObject({
      password: true,
      secondFactors: { authenticatorApp: false, passkeys: 1, recoveryCodes: 10, required: false },
    });
  expect((await lost.call('GET', `/people/${lost.userId}`)).status).toBe(403);
  expect(await factorsOf(admin)).toMatchObject({ passkeys: 1, required: true });
  expect(await factorsOf(auditor)).toMatchObject({ passkeys: 0, recoveryCodes: 0, required: false });
});

test('nobody removes their own so, nor without a right or a reason, nor where there is nothing', async () => {
  lost = await withFactor('member');
  const bare = await appliance.addPerson('member');
  const [admin, other] = [await appliance.addPerson('admin'), await appliance.addPerson('owner')];

  expect((await remove(owner, ownerId)).body).toMatchObject({ error: { code: 'wrong_state' } });
  expect((await remove(lost, lost.userId)).status).toBe(403);
  expect((await remove(admin, lost.userId)).status).toBe(403);
  expect((await remove(owner, lost.userId, ' ')).status).toBe(400);
  expect((await remove(owner, randomUUID())).status).toBe(404);
  expect((await remove(owner, bare.userId)).status).toBe(409);
  other.proves = false;
  const stale = { authenticated_at: new Date(appliance.clock.now().getTime() - HOUR_MS) };
  await appliance.deps.db.updateTable('sessions').set(stale).where('user_id', '=', other.userId).execute();
  expect((await remove(other, lost.userId)).body).toMatchObject({ error: { code: 'step_up_required' } });

  expect(await factorsOf(lost)).toMatchObject({ passkeys: 1, recoveryCodes: 10 });
  expect((await lost.call('GET', '/session')).status).toBe(200);
});

test('the console refuses it for the only owner, who has the recovery kit for that', async () => {
  expect((await remove(appliance.console, ownerId)).body).toMatchObject({
    error: { hint: expect.stringContaining('recover-owner') as string },
  });
  expect((await owner.call('GET', '/session')).status).toBe(200);
});

test('of whoever was an administrator until lately they wait for a second person as well', async () => {
  lost = await withFactor('admin');
  await expectStatus(owner.call('PUT', `/people/${lost.userId}/role`, { role: 'member' }), 200);

  expect((await remove(owner, lost.userId)).status).toBe(202);
  expect(await factorsOf(lost)).toMatchObject({ passkeys: 1, needsApproval: true });
});

test('of a member they go at once, with sessions, begun sign-ins and links; keys stay; all are told', async () => {
  lost = await withFactor('member');
  const other = await appliance.addPerson('owner');
  const { page: pending, reply } = await withPassword(lost);
  expect(reply.status).toBe(202);
  await expectStatus(owner.call('POST', `/people/${lost.userId}/reset-link`), 201);
  const link = await mailbox.tokenTo(lost.email);
  const workspace = await createTestWorkspace(appliance.deps, lost.userId);
  const made = lost.call<{ token: string }>('POST', '/api-keys', {
    ...{ name: 'importer', workspaceId: workspace.id, rights: ['files.read'] },
  });
  const { token } = await expectStatus(made, 201);
  await mailbox.collect();

  await expectStatus(remove(owner, lost.userId), 204);

  expect(await factorsOf(lost)).toEqual({
    ...{ authenticatorApp: false, passkeys: 0, recoveryCodes: 0, required: false, needsApproval: false },
  });
  expect((await lost.call('GET', '/session')).status).toBe(401);
  expect((await pending.call('POST', '/session/passkey-options', { step: 'second' })).status).toBe(401);
  expect((await appliance.stranger.call('POST', '/sign-in/reset/look', { token: link })).status).toBe(404);
  expect((await withPassword(lost)).reply.status).toBe(201);
  const headers = { authorization: `Bearer ${token}` };
  expect((await appliance.stranger.call('GET', '/workspaces', undefined, { headers })).status).toBe(200);
  const entry = await appliance.deps.db
    .selectFrom('audit_entries')
    .select(['actor_id', 'detail'])
    .where('action', '=', 'identity.second-factors.removed')
    .where('object_id', '=', lost.userId)
    .executeTakeFirstOrThrow();
  expect(entry.actor_id).toBe(ownerId);
  expect(entry.detail).toMatchObject({ passkeys: 1, recoveryCodes: 10, reason: 'Lost the phone' });
  const mails = await mailbox.collect();
  expect(
    mails
      .map(({ to }) => to)
      .flat()
      .sort(),
  ).toEqual([lost.email, other.email].sort());
  for (const mail of mails) expect(partOf(mail, 'text/plain')).toContain('Lost the phone');
});

test('of an administrator they go when a second person approves it, and a new one is due at the next sign-in', async () => {
  lost = await withFactor('admin');
  const other = await withFactor('admin');

  const { approval } = await expectStatus(remove(owner, lost.userId), 202);

  expect(approval.state).toBe('open');
  expect(await factorsOf(lost)).toMatchObject({ passkeys: 1 });
  expect((await remove(owner, lost.userId)).status).toBe(409);
  const { body } = await other.call<{ items: { concerns: { id: string }[] }[] }>('GET', '/approvals');
  expect(body.items[0]?.concerns.map(({ id }) => id)).toEqual([lost.userId]);
  await expectStatus(other.call('POST', `/approvals/${approval.id}/approve`), 204);
  expect(await factorsOf(lost)).toMatchObject({ passkeys: 0, recoveryCodes: 0, required: true });
  expect((await lost.call('GET', '/session')).status).toBe(401);
  const { page, reply } = await withPassword(lost);
  expect(reply.body).toMatchObject({ restricted: true });
  expect((await page.call('GET', '/overview')).status).toBe(403);
  await addTestPasskey(page.call.bind(page), ORIGIN, softwarePasskey(lost.email));
  expect((await page.call('GET', '/overview')).status).toBe(200);
});

test('whoever lost them is no second person: with nobody else it waits for its time, and they are told', async () => {
  lost = await withFactor('admin');

  const { approval } = await expectStatus(remove(owner, lost.userId), 202);

  expect(approval.state).toBe('waiting');
  // With a session of theirs it would be no second person either.
  const path = `/approvals/${approval.id}`;
  expect((await lost.call('POST', `${path}/approve`)).body).toMatchObject({
    error: { code: 'forbidden', message: expect.stringContaining('about you') as string },
  });
  const { items } = await expectStatus(
    lost.call<{ items: object[] }>('GET', '/approvals?state=pending'),
    200,
  );
  expect(items).toMatchObject([{ can: { decide: true, approve: false } }]);
  expect((await mailbox.collect()).flatMap(({ to }) => to)).toContain(lost.email);
  await settle();
  appliance.clock.offsetMs += 25 * HOUR_MS;
  await settle();
  appliance.clock.offsetMs -= 25 * HOUR_MS;
  expect(await factorsOf(lost)).toMatchObject({ passkeys: 0, recoveryCodes: 0 });
});

test('a factor that was added since it was asked for stays', async () => {
  lost = await withFactor('admin');
  const other = await withFactor('admin');
  const { approval } = await expectStatus(remove(owner, lost.userId), 202);
  await addTestPasskey(lost.call.bind(lost), ORIGIN, softwarePasskey('another'));

  expect((await other.call('POST', `/approvals/${approval.id}/approve`)).status).toBe(409);

  expect(await factorsOf(lost)).toMatchObject({ passkeys: 2 });
});

test('who must have a factor and has none is let in anew as the hint says', async () => {
  lost = await withFactor('admin');
  await expectStatus(remove(appliance.console, lost.userId), 204);
  const refused = await owner.call<{ error: { hint: string } }>('POST', `/people/${lost.userId}/reset-link`);
  expect(refused.status).toBe(409);
  expect(refused.body.error.hint).toContain('another e-mail address');

  await expectStatus(owner.call('POST', `/people/${lost.userId}/deactivate`), 200);
  await expectStatus(owner.call('PATCH', `/people/${lost.userId}`, { email: 'gone@example.org' }), 200);
  const invited = owner.call('POST', '/invitations', { email: lost.email, role: 'admin', teamIds: [] });
  await expectStatus(invited, 201);
});
