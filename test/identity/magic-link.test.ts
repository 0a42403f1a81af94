/** Signing in by a link that is sent by mail: members only, where their workspaces allow it, in the browser that asked. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
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
import { addTestPasskey } from '../helpers/sign-in.ts';
import { softwarePasskey } from '../helpers/software-passkey.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';

const MINUTE_MS = 60_000;

let appliance: TestAppliance;
let owner: TestCaller;
let mailbox: Mailbox;
let member: Awaited<ReturnType<TestAppliance['addPerson']>>;
let workspace: string;
let network = 0;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  mailbox = await startMailbox(appliance, owner);
});
afterAll(async () => {
  await mailbox.close();
  await appliance.close();
});
beforeEach(async () => {
  await appliance.deps.db.deleteFrom('sign_in_failures').execute();
  member = await appliance.addPerson('member');
  ({ id: workspace } = await createTestWorkspace(appliance.deps, member.userId));
  owner = await appliance.signIn(OWNER.email, OWNER.password);
  await allow(workspace, true);
  await mailbox.collect();
});

const allow = (id: string, allowed: boolean) =>
  expectStatus(owner.call('PUT', `/workspaces/${id}/magic-links`, { allowed }), 200);
type Browser = ReturnType<typeof browserOf>;
const ask = (browser: Browser, email: string) =>
  browser.call(
    'POST',
    '/sign-in/magic-links',
    { email },
    { remoteAddress: `10.2.${(network += 1) % 250}.7` },
  );
const use = (browser: Browser, token: string) => browser.call('POST', '/sign-in/magic-link', { token });
async function tokenFor(browser: Browser, email = member.email): Promise<string> {
  await expectStatus(ask(browser, email), 202);
  const token = await mailbox.tokenTo(email);
  if (token === undefined) throw new Error(`no link came to ${email}`);
  return token;
}
const newBrowser = () => browserOf(appliance.app);

test('a flood of asking leaves the database to everybody else', async () => {
  const people = await Promise.all(Array.from({ length: 6 }, () => appliance.addPerson('member')));
  const asked = Array.from({ length: 60 }, (_, at) => ask(newBrowser(), people[at % 6]?.email ?? ''));
  const waiting = Promise.all(asked);

  const start = performance.now();
  await expectStatus(owner.call('GET', '/people'), 200);
  await waiting;
  await expectStatus(owner.call('GET', '/people'), 200);

  expect(performance.now() - start).toBeLessThan(8_000);
});

describe('asking for a link to sign in', () => {
  test('sends none to owners, administrators and auditors, to nobody, and to a member who may not', async () => {
    const others = await Promise.all([
      appliance.addPerson('admin'),
      appliance.addPerson('auditor'),
      appliance.addPerson('member'),
    ]);
    const [admin] = others;
    await createTestWorkspace(appliance.deps, admin.userId).then(({ id }) => allow(id, true));
    await mailbox.collect();
    const emails = [OWNER.email, 'nobody@example.org', ...others.map(({ email }) => email)];

    const replies = [];
    for (const email of [member.email, ...emails]) replies.push(await ask(newBrowser(), email));

    const plain = replies.map(({ status, body, headers }) => [
      status,
      body,
      String(headers['set-cookie']).replace(/=[\w-]{43};/, '=…;'),
    ]);
    for (const other of plain) expect(other).toEqual(plain[0]);
    expect(plain[0]?.[2]).toBe(
      '__Host-holdfast-link=…; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=600',
    );
    expect((await mailbox.collect()).map(({ to }) => to)).toEqual([[member.email]]);
  });

  test('sends none where one of several workspaces does not allow it, nor where it was forbidden again', async () => {
    const second = await createTestWorkspace(appliance.deps, member.userId);
    await expectStatus(ask(newBrowser(), member.email), 202);
    expect(await mailbox.collect()).toEqual([]);

    await allow(second.id, true);
    await expectStatus(ask(newBrowser(), member.email), 202);
    expect(await mailbox.collect()).toHaveLength(1);

    await allow(workspace, false);
    await expectStatus(ask(newBrowser(), member.email), 202);
    expect(await mailbox.collect()).toEqual([]);
  });

  test('counts a workspace that somebody belongs to by a team', async () => {
    const team = await expectStatus(
      owner.call<{ id: string }>('POST', '/teams', { name: `T${network}` }),
      201,
    );
    await expectStatus(owner.call('PUT', `/teams/${team.id}/members/${member.userId}`, {}), 200);
    const admin = await appliance.addPerson('admin');
    const other = await createTestWorkspace(appliance.deps, admin.userId);
    await expectStatus(
      owner.call('PUT', `/workspaces/${other.id}/teams/${team.id}`, { role: 'viewer' }),
      200,
    );
    await mailbox.collect();

    await expectStatus(ask(newBrowser(), member.email), 202);

    expect(await mailbox.collect()).toEqual([]);
  });

  test('takes as long for nobody as for a member', async () => {
    const spent = { member: [] as number[], nobody: [] as number[] };
    const timed = async (email: string) => {
      const startedAt = performance.now();
      await expectStatus(ask(newBrowser(), email), 202);
      const tookMs = performance.now() - startedAt;
      await mailbox.collect();
      await appliance.deps.db.deleteFrom('sign_in_failures').execute();
      return tookMs;
    };
    for (let round = 0; round < 24; round += 1) {
      spent.member.push(await timed(member.email));
      spent.nobody.push(await timed(`nobody-${round}@example.org`));
    }
    const middle = (list: number[]) => list.sort((a, b) => a - b)[12] ?? 0;

    const ratio = middle(spent.member) / middle(spent.nobody);
    expect(ratio).toBeGreaterThan(0.6);
    expect(ratio).toBeLessThan(1.7);
  });

  test('is for the administrators to allow, not for managers of a workspace', async () => {
    const path = `/workspaces/${workspace}/magic-links`;

    expect((await member.call('PUT', path, { allowed: true })).status).toBe(403);
    const { body } = await member.call('GET', `/workspaces/${workspace}/members`);
    expect(body).toMatchObject({ magicLinks: true });
  });
});

describe('a link to sign in', () => {
  test('signs in the browser that asked, once', async () => {
    const browser = newBrowser();
    const token = await tokenFor(browser);

    const reply = await use(browser, token);

    expect(reply).toMatchObject({ status: 201, body: { user: { id: member.userId }, restricted: false } });
    expect((await browser.call('GET', '/session')).status).toBe(200);
    const { methods } = await appliance.deps.db
      .selectFrom('sessions')
      .selectAll()
      .where('user_id', '=', member.userId)
      .orderBy('created_at', 'desc')
      .executeTakeFirstOrThrow();
    expect(methods).toEqual(['magic-link']);
    expect(browser.cookie()).not.toContain('holdfast-link');
    expect((await use(browser, token)).status).toBe(404);
  });

  test('is refused in another browser, which uses nothing up', async () => {
    const browser = newBrowser();
    const token = await tokenFor(browser);
    const other = newBrowser();
    await ask(other, 'nobody@example.org');

    for (const stranger of [newBrowser(), other]) {
      const reply = await use(stranger, token);
      expect([reply.status, reply.headers['set-cookie']]).toEqual([404, undefined]);
    }

    expect((await use(browser, token)).status).toBe(201);
  });

  test('used twice at the same moment opens one session', async () => {
    const browser = newBrowser();
    const token = await tokenFor(browser);

    const replies = await Promise.all([use(browser, token), use(browser, token)]);

    expect(replies.map(({ status }) => status).sort()).toEqual([201, 404]);
  });

  test('asked for twice in one browser, both count', async () => {
    const browser = newBrowser();
    const first = await tokenFor(browser);
    const second = await tokenFor(browser);

    expect((await use(browser, second)).status).toBe(201);
    const again = browserOf(appliance.app);
    expect((await use(again, first)).status).toBe(404);
  });

  const ENDS: [string, () => Promise<unknown>][] = [
    ['is older than ten minutes', async () => void (appliance.clock.offsetMs += 11 * MINUTE_MS)],
    ['is of before the workspace forbade it', () => allow(workspace, false)],
    [
      'is of before the member became an administrator',
      () => expectStatus(owner.call('PUT', `/people/${member.userId}/role`, { role: 'admin' }), 200),
    ],
    [
      'belongs to an account that was deactivated',
      () => expectStatus(owner.call('POST', `/people/${member.userId}/deactivate`, {}), 200),
    ],
    [
      'is of before a change of the password',
      () =>
        expectStatus(
          member.call('POST', '/me/password', {
            password: 'kettle sings 7 loud',
            currentPassword: OWNER.password,
          }),
          204,
        ),
    ],
  ];
  test.each(ENDS)('that %s opens nothing', async (_what, end) => {
    const browser = newBrowser();
    const token = await tokenFor(browser);
    await end();

    const reply = await use(browser, token);

    expect([reply.status, reply.headers['set-cookie']]).toEqual([404, undefined]);
    expect((await browser.call('GET', '/session')).status).toBe(401);
  });

  test('asks for the second factor of a member who has one', async () => {
    await addTestPasskey((...asked) => member.call(...asked), ORIGIN, softwarePasskey(member.email));
    const browser = newBrowser();
    const token = await tokenFor(browser);

    const reply = await use(browser, token);

    expect([reply.status, reply.body]).toMatchObject([202, { ways: ['passkey', 'recovery-code'] }]);
    expect((await browser.call('GET', '/session')).status).toBe(401);
    const asked = await browser.call('POST', '/session/passkey-options', { step: 'second' });
    expect(asked.status).toBe(200);
  });

  test('opens nothing but adding a factor for a member who must have one and has none', async () => {
    await appliance.deps.db
      .updateTable('sign_in_settings')
      .set({ members_need_second_factor: true })
      .execute();
    const browser = newBrowser();

    const reply = await use(browser, await tokenFor(browser));

    expect(reply).toMatchObject({ status: 201, body: { restricted: true } });
    expect((await browser.call('GET', '/workspaces')).body).toMatchObject({
      error: { code: 'second_factor_required' },
    });
    await appliance.deps.db
      .updateTable('sign_in_settings')
      .set({ members_need_second_factor: false })
      .execute();
  });
});
