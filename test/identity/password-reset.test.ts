/** A new password by a link that is sent by mail, before a real mail server. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { askForLink } from '../../server/identity/mail-links/mail-links.ts';
import { magicLinkRule } from '../../server/workspaces/index.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
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

const NEW = 'amber lantern walks 9';
const MINUTE_MS = 60_000;
const MADE_UP = 'A'.repeat(43);

let appliance: TestAppliance;
let owner: TestCaller;
let mailbox: Mailbox;
let member: Awaited<ReturnType<TestAppliance['addPerson']>>;
let network = 0;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterAll(async () => {
  await mailbox.close();
  await appliance.close();
});

const ask = (email: string, remoteAddress = `10.1.${(network += 1) % 250}.7`) =>
  appliance.stranger.call('POST', '/sign-in/reset-requests', { email }, { remoteAddress });
const look = (token: string) => appliance.stranger.call('POST', '/sign-in/reset/look', { token });
const reset = (token: string, password = NEW) =>
  appliance.stranger.call('POST', '/sign-in/reset', { token, password });
const stateOf = async (userId: string) =>
  appliance.deps.db.selectFrom('users').selectAll().where('id', '=', userId).executeTakeFirstOrThrow();
async function tokenFor(email: string): Promise<string> {
  await expectStatus(ask(email), 202);
  const token = await mailbox.tokenTo(email);
  if (token === undefined) throw new Error(`no link came to ${email}`);
  return token;
}

test('where no mail can be sent, nobody is told that a link is on its way', async () => {
  expect((await ask(OWNER.email)).status).toBe(400);
  (appliance.deps.origins as string[]).push(ORIGIN);
  expect((await ask(OWNER.email)).status).toBe(409);
  expect((await appliance.stranger.call('GET', '/sign-in/ways')).body).toMatchObject({
    passwordReset: false,
    magicLink: false,
  });

  mailbox = await startMailbox(appliance, owner);

  expect((await appliance.stranger.call('GET', '/sign-in/ways')).body).toMatchObject({ passwordReset: true });
});

describe('asking for a link', () => {
  beforeEach(async () => {
    await appliance.deps.db.deleteFrom('sign_in_failures').execute();
    await mailbox.collect();
  });

  test('gets the same answer for somebody, nobody and a deactivated account; one mail goes out', async () => {
    const gone = await appliance.addPerson('member');
    await expectStatus(owner.call('POST', `/people/${gone.userId}/deactivate`, {}), 200);
    await mailbox.collect();
    member = await appliance.addPerson('member');

    const replies = [];
    for (const email of [member.email, 'nobody@example.org', gone.email]) replies.push(await ask(email));

    const plain = replies.map(({ status, body, headers }) => [status, body, headers['set-cookie']]);
    expect(plain[1]).toEqual(plain[0]);
    expect(plain[2]).toEqual(plain[0]);
    expect((await mailbox.collect()).map(({ to }) => to)).toEqual([[member.email]]);
  });

  test('takes as long for nobody as for somebody', async () => {
    const settle = async () => {
      await mailbox.collect();
      await appliance.deps.db.deleteFrom('sign_in_failures').execute();
    };
    const people = await Promise.all([1, 2, 3].map(() => appliance.addPerson('member')));
    const timed = async (email: string) => {
      const startedAt = performance.now();
      await expectStatus(ask(email), 202);
      return performance.now() - startedAt;
    };
    const spent = { somebody: [] as number[], nobody: [] as number[] };
    for (let round = 0; round < 24; round += 1) {
      spent.somebody.push(await timed(people[round % 3]?.email ?? ''));
      await settle();
      spent.nobody.push(await timed(`nobody-${round}@example.org`));
      await settle();
    }
    const middle = (list: number[]) => list.sort((a, b) => a - b)[12] ?? 0;

    const ratio = middle(spent.somebody) / middle(spent.nobody);
    expect(ratio).toBeGreaterThan(0.6);
    expect(ratio).toBeLessThan(1.7);
  });

  test('is refused under a name that nothing vouches for: the token would go to a stranger', async () => {
    const headers = { host: 'evil.example', origin: 'https://evil.example' };
    const reply = await appliance.stranger.call(
      'POST',
      '/sign-in/reset-requests',
      { email: member.email },
      { headers },
    );

    expect(reply.status).toBe(400);
    expect(await mailbox.collect()).toEqual([]);
  });

  test('floods nobody: three mails a day from one network, five from all, and the answer never says so', async () => {
    const other = await appliance.addPerson('member');
    for (let time = 0; time < 6; time += 1) expect((await ask(other.email, '10.9.9.9')).status).toBe(202);
    expect(await mailbox.collect()).toHaveLength(3);
    for (let time = 0; time < 6; time += 1) expect((await ask(other.email)).status).toBe(202);
    expect(await mailbox.collect()).toHaveLength(2);

    // From where they have been in before they still get one.
    expect((await ask(other.email, '127.0.0.1')).status).toBe(202);
    expect(await mailbox.tokenTo(other.email)).toBeDefined();
    appliance.clock.offsetMs += 25 * 60 * MINUTE_MS;
    expect((await ask(other.email)).status).toBe(202);
    expect(await mailbox.collect()).toHaveLength(1);
    owner = await appliance.signIn(OWNER.email, OWNER.password);
  });

  test('is slowed down for one network, known and unknown addresses alike', async () => {
    const statuses: number[] = [];
    for (let time = 0; time < 21; time += 1)
      statuses.push((await ask(`nobody-${time}@example.org`, '10.8.8.8')).status);

    expect([statuses.slice(0, 20).every((status) => status === 202), statuses[20]]).toEqual([true, 429]);
    expect((await ask(member.email, '10.8.8.8')).status).toBe(429);
  });
});

test('what was asked for when the server stopped is sent after it, unless nobody waits for it any more', async () => {
  await appliance.deps.db.deleteFrom('sign_in_failures').execute();
  const deps = { ...appliance.deps, ...magicLinkRule(appliance.deps) };
  const ask = { kind: 'password-reset' as const, email: member.email, origin: ORIGIN, userAgent: undefined };
  const actor = { kind: 'user' as const, address: '10.7.7.7' };
  await mailbox.collect();
  await askForLink(deps, ask, actor);
  expect(await mailbox.collect()).toHaveLength(1);
  expect(await mailbox.collect()).toEqual([]);

  await askForLink(deps, ask, actor);
  appliance.clock.offsetMs += 11 * MINUTE_MS;
  expect(await mailbox.collect()).toEqual([]);
});

describe('a link to set a password', () => {
  beforeEach(async () => {
    await appliance.deps.db.deleteFrom('sign_in_failures').execute();
    member = await appliance.addPerson('member');
    await mailbox.collect();
  });

  test('works once: it sets the password, ends every session, begins none, and is told', async () => {
    const token = await tokenFor(member.email);
    expect((await look(token)).body).toMatchObject({ email: member.email });

    const reply = await reset(token);

    expect([reply.status, reply.headers['set-cookie']]).toEqual([204, undefined]);
    expect((await member.call('GET', '/session')).body).toMatchObject({ error: { code: 'session_ended' } });
    await expect(appliance.signIn(member.email, OWNER.password)).rejects.toThrow('401');
    await expect(appliance.signIn(member.email, NEW)).resolves.toBeDefined();
    expect((await reset(token, 'another lantern walks 8')).status).toBe(404);
    expect((await look(token)).status).toBe(404);
    const told = await mailbox.collect();
    expect(told.map((mail) => partOf(mail, 'text/plain'))).toContainEqual(
      expect.stringContaining('Your password was changed'),
    );
  });

  test('used twice at the same moment sets one password', async () => {
    const token = await tokenFor(member.email);

    const replies = await Promise.all([reset(token), reset(token, 'another lantern walks 8')]);

    expect(replies.map(({ status }) => status).sort()).toEqual([204, 404]);
  });

  const ENDS: [string, (token: string) => Promise<unknown>][] = [
    ['is made up', () => Promise.resolve()],
    ['is older than 30 minutes', async () => void (appliance.clock.offsetMs += 31 * MINUTE_MS)],
    ['is of before a sign-in', () => appliance.signIn(member.email, OWNER.password)],
    [
      'is of before a change of the password',
      () =>
        member.call('POST', '/me/password', {
          password: 'kettle sings 7 loud',
          currentPassword: OWNER.password,
        }),
    ],
    [
      'is of before another one was used',
      async () => expectStatus(reset(await tokenFor(member.email), 'kettle sings 7 loud'), 204),
    ],
    [
      'belongs to an account that was deactivated since',
      async () => {
        owner = await appliance.signIn(OWNER.email, OWNER.password);
        await expectStatus(owner.call('POST', `/people/${member.userId}/deactivate`, {}), 200);
      },
    ],
  ];
  test.each(ENDS)('that %s changes nothing', async (what, end) => {
    const token = await tokenFor(member.email);
    await end(token);
    const before = (await stateOf(member.userId)).password_hash;

    const reply = await reset(what === 'is made up' ? MADE_UP : token);

    expect([reply.status, (reply.body.error as { message: string }).message]).toEqual([
      404,
      'This link cannot be used any more',
    ]);
    expect((await stateOf(member.userId)).password_hash).toBe(before);
  });

  test.each(['Password1!', 'xbox360live', 'short', 'x'.repeat(129)])(
    'with the password "%s" is refused, and can be tried again',
    async (password) => {
      const token = await tokenFor(member.email);

      expect((await reset(token, password)).status).toBe(400);
      expect((await reset(token)).status).toBe(204);
    },
  );

  test('never gets past the second factor: it is asked for as before', async () => {
    const admin = await appliance.addPerson('admin');
    await mailbox.collect();

    await expectStatus(reset(await tokenFor(admin.email)), 204);

    const browser = browserOf(appliance.app);
    const begun = await browser.call('POST', '/session', { email: admin.email, password: NEW });
    expect(begun.status).toBe(202);
    expect((await browser.call('GET', '/session')).status).toBe(401);
    const factors = await appliance.deps.db
      .selectFrom('passkeys')
      .selectAll()
      .where('user_id', '=', admin.userId)
      .execute();
    expect(factors).toHaveLength(1);
  });

  test('is not sent to who must have a second factor and has none: they are told instead', async () => {
    const admin = await appliance.addPerson('admin');
    const token = await tokenFor(admin.email);
    await appliance.deps.db.deleteFrom('passkeys').where('user_id', '=', admin.userId).execute();

    expect((await reset(token)).status).toBe(404);
    await expectStatus(ask(admin.email), 202);

    const mail = await mailbox.collect();
    expect(mail).toHaveLength(1);
    expect(partOf(mail[0], 'text/plain')).toContain('cannot be reset by mail');
    expect(partOf(mail[0], 'text/plain')).not.toContain('#');
    owner = await appliance.signIn(OWNER.email, OWNER.password);
    const made = await owner.call('POST', `/people/${admin.userId}/reset-link`, {});
    expect(made.status).toBe(409);
  });

  test('ends a magic link and a pending sign-in of the person too', async () => {
    const admin = await appliance.addPerson('admin');
    const browser = browserOf(appliance.app);
    await browser.call('POST', '/session', { email: admin.email, password: OWNER.password });

    await expectStatus(reset(await tokenFor(admin.email)), 204);

    expect((await browser.call('POST', '/session/passkey-options', { step: 'second' })).status).toBe(401);
  });

  test('lies in the database as a hash, and with no address', async () => {
    const token = await tokenFor(member.email);

    const text = await withClient(appliance.database.adminAddress, 'test', async (client) => {
      const { rows } = await client.query<{ all: string }>(
        `select coalesce((select string_agg(l::text, '') from mail_links l), '')
           || coalesce((select string_agg(l::text, '') from mail_link_asks l), '')
           || (select string_agg(m::text, '') from mail_messages m) || (select string_agg(a::text, '') from audit_entries a) as all`,
      );
      return rows[0]?.all ?? '';
    });

    const hex = (value: string) => Buffer.from(value).toString('hex');
    for (const secret of [token, hex(token), member.email, hex(member.email)])
      expect(text).not.toContain(secret);
  });
});

describe('a link that an owner makes', () => {
  test('is refused to anybody else, for oneself and for nobody', async () => {
    const admin = await appliance.addPerson('admin');
    owner = await appliance.signIn(OWNER.email, OWNER.password);
    const { body } = await owner.call<{ user: { id: string } }>('GET', '/session');

    expect((await admin.call('POST', `/people/${member.userId}/reset-link`, {})).status).toBe(403);
    expect((await owner.call('POST', `/people/${body.user.id}/reset-link`, {})).status).toBe(409);
    expect((await owner.call('POST', `/people/${crypto.randomUUID()}/reset-link`, {})).status).toBe(404);
  });

  test('goes out by mail, and is shown only where none can be sent', async () => {
    member = await appliance.addPerson('member');
    await mailbox.collect();
    const path = `/people/${member.userId}/reset-link`;

    const mailed = await expectStatus(owner.call<{ link?: string }>('POST', path, {}), 201);

    expect(mailed).toMatchObject({ mailed: true });
    expect(mailed.link).toBeUndefined();
    expect(await mailbox.tokenTo(member.email)).toBeDefined();

    expect((await owner.call('DELETE', '/settings/mail', {})).status).toBeLessThan(300);
    const shown = await expectStatus(owner.call<{ link?: string }>('POST', path, {}), 201);
    expect(shown).toMatchObject({ mailed: false });
    await expectStatus(reset(shown.link?.split('#')[1] ?? ''), 204);
    await expect(appliance.signIn(member.email, NEW)).resolves.toBeDefined();
  });
});
