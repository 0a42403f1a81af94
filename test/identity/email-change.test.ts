/** Another e-mail address of one's own: asked for with a fresh proof, confirmed from the new mailbox. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  expectStatus,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { startMailbox, type Mailbox } from '../helpers/mailbox.ts';
import { partOf } from '../helpers/mail-server.ts';

const MINUTE_MS = 60_000;

let appliance: TestAppliance;
let owner: TestCaller;
let mailbox: Mailbox;
let member: Awaited<ReturnType<TestAppliance['addPerson']>>;
let wanted: string;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterAll(async () => {
  await mailbox.close();
  await appliance.close();
});
beforeEach(async () => {
  member = await appliance.addPerson('member');
  wanted = `new-${member.email}`;
  await (mailbox as Mailbox | undefined)?.collect();
});

const ask = (email = wanted) => member.call('POST', '/me/email-change', { email });
const confirm = (token: string) => appliance.stranger.call('POST', '/sign-in/email-confirmation', { token });
const pending = async () => (await member.call('GET', '/me/email-change')).body;
const emailNow = async () => {
  const { body } = await member.call<{ user: { email: string } }>('GET', '/session');
  return body.user.email;
};

test('without a mail server, a change is refused, and an owner can do it', async () => {
  expect((await ask()).status).toBe(409);

  mailbox = await startMailbox(appliance, owner);
});

test('counts when the link to the new address is followed; the old one is told before and after', async () => {
  await expectStatus(ask(), 201);
  expect(await pending()).toMatchObject({ pending: { email: wanted } });
  expect(await emailNow()).toBe(member.email);
  const before = await mailbox.collect();
  const token = /#([\w-]{43})\s/.exec(
    partOf(
      before.find(({ to }) => to.includes(wanted)),
      'text/plain',
    ),
  )?.[1];
  const told = before.filter(({ to }) => to.includes(member.email));
  expect(told.map((mail) => partOf(mail, 'text/plain'))).toEqual([
    expect.stringContaining('Another e-mail address was asked for'),
  ]);

  expect(await expectStatus(confirm(token ?? ''), 200)).toEqual({ email: wanted });

  expect(await emailNow()).toBe(wanted);
  expect(await pending()).toEqual({ pending: null });
  await expect(appliance.signIn(wanted, OWNER.password)).resolves.toBeDefined();
  await expect(appliance.signIn(member.email, OWNER.password)).rejects.toThrow('401');
  const after = await mailbox.collect();
  expect(after.flatMap(({ to }) => to).sort()).toEqual([member.email, wanted].sort());
  expect((await confirm(token ?? '')).status).toBe(404);
});

test('asks for a fresh proof', async () => {
  appliance.clock.offsetMs += 11 * MINUTE_MS;
  member.proves = false;

  expect((await ask()).body).toMatchObject({ error: { code: 'step_up_required' } });
  expect(await mailbox.collect()).toEqual([]);
});

test.each([
  ['the address one has', () => member.email.toUpperCase(), 400],
  ['what is no address', () => 'a b@example.org', 400],
  ['an address that would write a header', () => 'a@b\r\nBcc: c@example.org', 400],
])('%s is refused', async (_what, address, status) => {
  expect((await ask(address())).status).toBe(status);
  expect(await mailbox.collect()).toEqual([]);
});

test('does not say whether somebody has that address; only its owner sees that it is taken', async () => {
  const other = await appliance.addPerson('member');
  const reply = await ask(other.email);
  expect(reply.status).toBe(201);

  const token = await mailbox.tokenTo(other.email);

  expect((await confirm(token ?? '')).status).toBe(409);
  expect(await emailNow()).toBe(member.email);
});

test.each([
  ['was cancelled', () => member.call('DELETE', '/me/email-change')],
  ['is of before another was asked for', () => ask(`newer-${member.email}`)],
  ['is more than a day old', async () => void (appliance.clock.offsetMs += 25 * 60 * MINUTE_MS)],
  [
    'is of before a change of the password',
    () =>
      member.call('POST', '/me/password', {
        password: 'kettle sings 7 loud',
        currentPassword: OWNER.password,
      }),
  ],
])('a link that %s changes nothing', async (_what, end) => {
  await expectStatus(ask(), 201);
  const token = await mailbox.tokenTo(wanted);
  await end();

  expect((await confirm(token ?? '')).status).toBe(404);
  await expect(appliance.signIn(wanted, OWNER.password)).rejects.toThrow('401');
});

test('floods nobody: eight a day', async () => {
  const statuses: number[] = [];
  for (let time = 0; time < 9; time += 1) statuses.push((await ask(`${time}-${wanted}`)).status);

  expect(statuses.filter((status) => status === 201).length).toBeLessThanOrEqual(8);
  expect(statuses.at(-1)).toBe(429);
});

test('a link to set a password that went to the old address ends with it', async () => {
  await expectStatus(
    appliance.stranger.call('POST', '/sign-in/reset-requests', { email: member.email }),
    202,
  );
  const old = await mailbox.tokenTo(member.email);
  await expectStatus(ask(), 201);
  await expectStatus(confirm((await mailbox.tokenTo(wanted)) ?? ''), 200);

  const reply = await appliance.stranger.call('POST', '/sign-in/reset', {
    token: old,
    password: 'kettle sings 7 loud',
  });
  expect(reply.status).toBe(404);
});
