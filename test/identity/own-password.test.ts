/** Changing one's own password, and what follows from one that has leaked. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hashPassword } from '../../server/identity/passwords/password-hash.ts';
import {
  browserOf,
  expectStatus,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

const NEW = 'amber lantern walks 9';
const MINUTE_MS = 60_000;

let appliance: TestAppliance;
let owner: TestCaller;
let member: Awaited<ReturnType<TestAppliance['addPerson']>>;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterAll(() => appliance.close());
beforeEach(async () => {
  member = await appliance.addPerson('member');
  await appliance.deps.db.deleteFrom('sign_in_failures').execute();
});

const hashOf = async (userId: string) =>
  (await appliance.deps.db.selectFrom('users').selectAll().where('id', '=', userId).executeTakeFirstOrThrow())
    .password_hash;
const noticesTo = async (userId: string) =>
  (
    await appliance.deps.db
      .selectFrom('mail_messages')
      .select('template')
      .where('user_id', '=', userId)
      .execute()
  ).length;
const auditOf = async (userId: string, action: string) =>
  appliance.deps.db
    .selectFrom('audit_entries')
    .selectAll()
    .where('object_id', '=', userId)
    .where('action', '=', action)
    .execute();

describe('changing one’s password', () => {
  test.each([
    ['without the present one', { password: NEW }, 400],
    ['with a wrong present one', { password: NEW, currentPassword: 'not the right words' }, 403],
    ['to one that is easy to guess', { password: 'Password1!', currentPassword: OWNER.password }, 400],
    ['to one that has leaked', { password: 'xbox360live', currentPassword: OWNER.password }, 400],
    ['to the same', { password: OWNER.password, currentPassword: OWNER.password }, 400],
    ['to one that is too long', { password: 'x7 '.repeat(50), currentPassword: OWNER.password }, 400],
    ['with what is not asked for', { password: NEW, currentPassword: OWNER.password, userId: 'x' }, 400],
  ])('%s is refused and changes nothing', async (_what, body, status) => {
    const before = await hashOf(member.userId);

    const reply = await member.call('POST', '/me/password', body);

    expect(reply.status).toBe(status);
    expect(await hashOf(member.userId)).toBe(before);
    expect((await member.call('GET', '/session')).status).toBe(200);
    expect(await noticesTo(member.userId)).toBe(0);
  });

  test('is slowed down after wrong present ones, from that address', async () => {
    const statuses: number[] = [];
    for (let time = 0; time < 7; time += 1) {
      const body = { password: NEW, currentPassword: `wrong ${time}` };
      statuses.push((await member.call('POST', '/me/password', body)).status);
    }

    expect(statuses.slice(0, 5)).toEqual([403, 403, 403, 403, 403]);
    expect(statuses.at(-1)).toBe(429);
  });

  test('ends every other session and sign-in that has begun, gives this browser a new token, and is told', async () => {
    const other = await appliance.signIn(member.email, OWNER.password);
    const cookieBefore = member.cookie;

    const reply = await member.call('POST', '/me/password', {
      password: NEW,
      currentPassword: OWNER.password,
    });

    expect(reply.status).toBe(204);
    expect(member.cookie).not.toBe(cookieBefore);
    expect((await member.call('GET', '/session')).status).toBe(200);
    expect((await other.call('GET', '/session')).status).toBe(401);
    expect((await appliance.withCookie(cookieBefore).call('GET', '/session')).status).toBe(401);
    await expect(appliance.signIn(member.email, OWNER.password)).rejects.toThrow('401');
    await expect(appliance.signIn(member.email, NEW)).resolves.toBeDefined();
    expect(await noticesTo(member.userId)).toBe(1);
    expect(await auditOf(member.userId, 'identity.password.changed')).toMatchObject([
      { actor_id: member.userId, result: 'done' },
    ]);
  });

  test('of somebody with a second factor asks for a fresh proof by that, not for the present password', async () => {
    const admin = await appliance.addPerson('admin');
    appliance.clock.offsetMs += 11 * MINUTE_MS;
    admin.proves = false;
    const before = await hashOf(admin.userId);
    const body = { password: NEW, currentPassword: OWNER.password };

    const refused = await admin.call('POST', '/me/password', body);

    expect(refused.body).toMatchObject({ error: { code: 'step_up_required' } });
    expect(await hashOf(admin.userId)).toBe(before);

    admin.proves = true;
    expect((await admin.call('POST', '/me/password', { password: NEW })).status).toBe(204);
    await expect(appliance.signIn(admin.email, NEW)).resolves.toBeDefined();
    owner = await appliance.signIn(OWNER.email, OWNER.password);
  });

  test('ends a sign-in that waits for its second step', async () => {
    const admin = await appliance.addPerson('admin');
    const browser = browserOf(appliance.app);
    const begun = await browser.call('POST', '/session', { email: admin.email, password: OWNER.password });
    expect(begun.status).toBe(202);

    await expectStatus(admin.call('POST', '/me/password', { password: NEW }), 204);

    expect((await browser.call('POST', '/session/passkey-options', { step: 'second' })).status).toBe(401);
  });

  test('twice at the same moment is done once', async () => {
    const change = (password: string) =>
      appliance
        .withCookie(member.cookie)
        .call('POST', '/me/password', { password, currentPassword: OWNER.password });

    const replies = await Promise.all([change('one copper kettle 71'), change('two copper kettles 72')]);

    expect(replies.map(({ status }) => status).sort()).toEqual([204, 401]);
  });
});

describe('a right password that has leaked', () => {
  test('lets in, is told once by mail and at every sign-in until it is changed', async () => {
    const leaked = await hashPassword('xbox360live');
    await appliance.deps.db
      .updateTable('users')
      .set({ password_hash: leaked })
      .where('id', '=', member.userId)
      .execute();
    for (let time = 0; time < 2; time += 1) {
      const who = await appliance.signIn(member.email, 'xbox360live');
      const { banners } = await expectStatus(who.call<{ banners: object[] }>('GET', '/session'), 200);
      expect(banners).toContainEqual(expect.objectContaining({ kind: 'password-leaked' }));
    }
    expect(await noticesTo(member.userId)).toBe(1);
    expect(await auditOf(member.userId, 'identity.password.found-leaked')).toHaveLength(1);

    const who = await appliance.signIn(member.email, 'xbox360live');
    const change = { password: NEW, currentPassword: 'xbox360live' };
    await expectStatus(who.call('POST', '/me/password', change), 204);

    const { banners } = await expectStatus(who.call<{ banners: object[] }>('GET', '/session'), 200);
    expect(JSON.stringify(banners)).not.toContain('leaked');
  });

  test('is not told to who typed a wrong one', async () => {
    await expect(appliance.signIn(member.email, 'xbox360live')).rejects.toThrow('401');

    expect(await noticesTo(member.userId)).toBe(0);
    expect((await owner.call('GET', '/session')).status).toBe(200);
  });
});
