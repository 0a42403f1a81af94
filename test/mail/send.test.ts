/** Sending, before a real mail server with a certificate authority of its own. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeTransaction } from '../../server/lib/db.ts';
import { queueMail, sendNext, type SendDeps } from '../../server/mail/index.ts';
import { renderMail } from '../../server/mail/render.ts';
import { handOver } from '../../server/mail/smtp/hand-over.ts';
import { sendDeps } from '../../server/send-deps.ts';
import { OWNER, startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import {
  MAIL_USER,
  makeAuthority,
  partOf,
  startMailServer,
  type Authority,
  type MailServer,
} from '../helpers/mail-server.ts';

let appliance: TestAppliance;
let owner: TestCaller;
let authority: Authority;
let deps: SendDeps;
const servers: MailServer[] = [];

beforeAll(async () => {
  [appliance, authority] = await Promise.all([startTestAppliance(), makeAuthority()]);
  owner = await appliance.claim();
  deps = sendDeps(appliance.deps);
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs += 120_000;
  await appliance.deps.db.deleteFrom('mail_messages').execute();
  await appliance.deps.db.deleteFrom('mail_settings').execute();
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(behaviour: Parameters<typeof startMailServer>[1] = {}): Promise<MailServer> {
  const server = await startMailServer(authority, behaviour);
  servers.push(server);
  return server;
}

/** Sets the mail server as the owner does. */
async function setUp(port: number, change: Record<string, unknown> = {}): Promise<void> {
  const reply = await owner.call('PUT', '/settings/mail', {
    ...{ host: 'localhost', port, security: 'implicit', leastTls: '1.3' },
    ...{ caCertificates: authority.certificate, ...MAIL_USER },
    ...{ senderName: 'Holdfast', senderAddress: 'holdfast@example.org', messagesAMinute: 60, paused: false },
    ...change,
  });
  expect(reply).toMatchObject({ status: 200 });
}

async function queue(email = 'bob@example.org', what = 'Your password was changed'): Promise<string> {
  const { id } = await writeTransaction(deps.db, (tx) =>
    queueMail(tx, deps, {
      to: { email },
      template: 'security-notice',
      data: { what, at: '2026-11-22T10:00:00Z' },
    }),
  );
  return id;
}

const messageOf = (id: string) =>
  deps.db.selectFrom('mail_messages').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
const stateOfMail = async () =>
  (await owner.call<{ state: string; problem: { code: string } | null }>('GET', '/settings/mail')).body;
const sendAll = async () => {
  while (await sendNext(deps));
};

describe('nothing is sent', () => {
  test('to a server whose certificate is for another name, or from nobody who is trusted', async () => {
    const other = await serve({ name: 'other.example' });
    await setUp(other.port);
    const id = await queue();

    await sendNext(deps);

    expect(await stateOfMail()).toMatchObject({ state: 'failing', problem: { code: 'certificate' } });
    expect([other.taken, other.users]).toEqual([[], []]);

    const right = await serve();
    await setUp(right.port, { caCertificates: null });
    await sendNext(deps);

    expect(await stateOfMail()).toMatchObject({ problem: { code: 'certificate' } });
    expect([right.taken, right.users]).toEqual([[], []]);
    expect(await messageOf(id)).toMatchObject({ state: 'queued', attempts: 2 });
  });

  test('without encryption: a server that offers none hears neither user nor message', async () => {
    const server = await serve({ security: 'none' });
    await setUp(server.port, { security: 'starttls' });
    await queue();

    await sendNext(deps);

    expect(await stateOfMail()).toMatchObject({ problem: { code: 'encryption' } });
    expect([server.taken, server.users]).toEqual([[], []]);
  });

  test('with TLS 1.2, unless the setting says so, which the overview shows as weaker', async () => {
    const server = await serve({ maxVersion: 'TLSv1.2' });
    await setUp(server.port);
    await queue();

    await sendNext(deps);

    expect(await stateOfMail()).toMatchObject({ problem: { code: 'encryption' } });
    expect(server.taken).toEqual([]);

    await setUp(server.port, { leastTls: '1.2' });
    await sendNext(deps);

    expect(server.taken).toHaveLength(1);
    const { body } = await owner.call<{ needsYou: { name: string }[] }>('GET', '/overview');
    expect(body.needsYou.find(({ name }) => name === 'mail')).toMatchObject({ state: 'warn' });
  });

  test('when the server refuses the user, does not listen, or does not answer in time', async () => {
    const server = await serve();
    await setUp(server.port, { password: 'wrong' });
    await queue();
    await sendNext(deps);
    expect(await stateOfMail()).toMatchObject({ problem: { code: 'sign-in' } });
    appliance.clock.offsetMs += 10 * 60_000;
    expect(await sendNext(deps)).toBe(false);
    expect(server.users).toHaveLength(1);

    await setUp(1);
    await sendNext(deps);
    expect(await stateOfMail()).toMatchObject({ problem: { code: 'unreachable' } });

    const ended: Promise<unknown>[] = [];
    const silent = createServer((socket) => {
      socket.resume();
      ended.push(once(socket, 'close'));
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const handover = await handOver(
      {
        ...{ host: '127.0.0.1', port: (silent.address() as AddressInfo).port, security: 'starttls' },
        ...{ leastTls: '1.3', caCertificates: undefined, username: undefined, password: undefined },
      },
      {
        ...{ from: { name: 'a', address: 'a@example.org' }, to: 'b@example.org', subject: 's', text: 't' },
        ...{ html: '', messageId: '<1@example.org>', date: new Date() },
      },
      300,
    );
    // A try that goes on behind the verdict might still be taken.
    expect(ended).toHaveLength(1);
    await Promise.all(ended);
    silent.close();
    expect(handover).toMatchObject({ taken: false, problem: { kind: 'timeout', passing: true } });
    expect(server.taken).toEqual([]);
  });

  test('after its time, while paused, or when it was cancelled', async () => {
    const server = await serve();
    await setUp(server.port, { paused: true });
    const [late, cancelled] = [await queue(), await queue()];
    expect(await sendNext(deps)).toBe(false);
    expect(await owner.call('POST', `/mail/${cancelled}/cancel`, {})).toMatchObject({ status: 204 });

    appliance.clock.offsetMs += 5 * 86_400_000;
    owner = await appliance.signIn(OWNER.email, OWNER.password);
    await setUp(server.port);
    await sendAll();

    expect(server.taken).toEqual([]);
    expect(await messageOf(late)).toMatchObject({ state: 'expired', data_sealed: null });
    expect(await messageOf(cancelled)).toMatchObject({ state: 'cancelled', data_sealed: null });
    expect((await owner.call('POST', `/mail/${late}/retry`, {})).status).toBe(409);
    expect((await owner.call('POST', `/mail/${cancelled}/cancel`, {})).status).toBe(409);
  });
});

describe('a message', () => {
  test('arrives with TLS from the first byte and with STARTTLS, signed in, and leaves no content behind', async () => {
    for (const security of ['implicit', 'starttls'] as const) {
      const server = await serve({ security });
      await setUp(server.port, { security });
      const id = await queue();

      await sendAll();

      expect(server.users).toEqual([MAIL_USER.username]);
      expect(server.taken).toMatchObject([{ from: 'holdfast@example.org', to: ['bob@example.org'] }]);
      expect(server.taken[0]?.raw).toContain('Subject: Your password was changed (Holdfast)');
      expect(server.taken[0]?.raw).toContain(`Message-ID: <${id}@example.org>`);
      expect(server.taken[0]?.raw).toContain('Auto-Submitted: auto-generated');
      expect(partOf(server.taken[0], 'text/plain')).toContain('When: 22 Nov 2026, 10:00 UTC');
      expect(partOf(server.taken[0], 'text/html')).toContain('22 Nov 2026, 10:00 UTC');
      expect(await messageOf(id)).toMatchObject({ state: 'sent', data_sealed: null, reply_code: 250 });
    }
  });

  test('to a person goes to the address that is theirs now', async () => {
    const server = await serve();
    await setUp(server.port);
    const { body } = await owner.call<{ user: { id: string } }>('GET', '/session');
    await writeTransaction(deps.db, (tx) =>
      queueMail(tx, deps, {
        to: { userId: body.user.id },
        template: 'security-notice',
        data: { what: 'A device is new', at: '2026-11-22T10:00:00Z' },
      }),
    );

    await sendAll();

    expect(server.taken).toMatchObject([{ to: [OWNER.email] }]);
    const log = await owner.call<{ items: { to: string; state: string }[] }>('GET', '/mail');
    expect(log.body.items).toMatchObject([{ to: OWNER.name, state: 'sent' }]);
  });

  test('that is asked to come back later is sent later', async () => {
    let greylisted = true;
    const server = await serve({
      refuse: () => (greylisted ? { code: 450, message: 'Greylisted, come back' } : undefined),
    });
    await setUp(server.port);
    const id = await queue();

    await sendAll();

    expect(await messageOf(id)).toMatchObject({ state: 'queued', attempts: 1, problem: 'busy' });
    expect(await stateOfMail()).toMatchObject({ state: 'ready' });
    greylisted = false;
    expect(await sendNext(deps)).toBe(false);
    appliance.clock.offsetMs += 90_000;
    await sendAll();
    expect(server.taken).toHaveLength(1);
  });

  test('to an address that is refused for good fails at once, is said, and can be tried again', async () => {
    let refused = true;
    const server = await serve({
      refuse: () => (refused ? { code: 550, message: 'No such user <bob@example.org>' } : undefined),
    });
    await setUp(server.port);
    const id = await queue();

    await sendAll();

    expect(await messageOf(id)).toMatchObject({ state: 'failed', problem: 'recipient', reply_code: 550 });
    const { body } = await owner.call<{ needsYou: { name: string; message: string }[] }>('GET', '/overview');
    expect(body.needsYou.find(({ name }) => name === 'mail')?.message).toContain('1 message was not');
    const log = await owner.call<{ items: { answer: string }[] }>('GET', '/mail?state=failed');
    expect(log.body.items[0]?.answer).toContain('No such user');
    refused = false;
    expect((await owner.call('POST', `/mail/${id}/retry`, {})).status).toBe(204);
    await sendAll();
    expect(server.taken).toHaveLength(1);
  });

  test('from a server that may not be sent through waits: that is not the fault of whoever it is for', async () => {
    const refuse = () => ({ code: 554, message: '5.7.1 Relay access denied' });
    await setUp((await serve({ refuse })).port);
    const id = await queue();

    await sendAll();

    expect(await messageOf(id)).toMatchObject({ state: 'queued', problem: 'sender', reply_code: 554 });
  });

  test('whose connection is cut in the middle is sent again with the same Message-ID', async () => {
    let cuts = 1;
    const server = await serve({ cut: () => cuts-- > 0 });
    await setUp(server.port);
    const id = await queue();

    await sendAll();
    expect(await messageOf(id)).toMatchObject({ state: 'queued', attempts: 1 });
    appliance.clock.offsetMs += 120_000;
    await sendAll();

    expect(server.taken).toHaveLength(1);
    expect(server.taken[0]?.raw).toContain(`<${id}@example.org>`);
  });

  test('cannot carry a header, markup or a link of its own in its words', async () => {
    const server = await serve();
    await setUp(server.port);
    await queue('bob@example.org', 'Hi\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>"\'&');

    await sendAll();

    expect(server.taken).toMatchObject([{ to: ['bob@example.org'] }]);
    const [headers = ''] = (server.taken[0]?.raw ?? '').split('\r\n\r\n');
    expect(headers).not.toMatch(/^Bcc:/im);
    const html = partOf(server.taken[0], 'text/html');
    expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;');
    expect(html).not.toMatch(/<script|<img|src=|url\(|@import/);
    const link = { kind: 'link', label: 'x', url: 'javascript:alert(1)' } as const;
    expect(() => renderMail({ subject: 's', blocks: [link] }, '')).toThrow('https');
    const long = { kind: 'paragraph', words: 'x'.repeat(60_000) } as const;
    expect(() => renderMail({ subject: 's', blocks: [long] }, '')).toThrow('100 KiB');
  });
});

describe('many messages', () => {
  test('are each sent once, however many processes send', async () => {
    const server = await serve();
    await setUp(server.port);
    for (let index = 0; index < 12; index += 1) await queue(`p${index}@example.org`);

    await Promise.all([sendAll(), sendAll(), sendAll()]);

    expect(server.taken.map(({ to }) => to[0]).sort()).toEqual(
      Array.from({ length: 12 }, (_, index) => `p${index}@example.org`).sort(),
    );
  });

  test('keep to the rate that was set', async () => {
    const server = await serve();
    await setUp(server.port, { messagesAMinute: 3 });
    for (let index = 0; index < 5; index += 1) await queue();

    await Promise.all([sendAll(), sendAll()]);
    expect(server.taken).toHaveLength(3);
    appliance.clock.offsetMs += 61_000;
    await sendAll();

    expect(server.taken).toHaveLength(5);
  });

  test('are listed page by page, newest first', async () => {
    const server = await serve();
    await setUp(server.port, { paused: true });
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1) ids.unshift(await queue());

    const found: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const { body }: { body: { items: { id: string }[]; nextCursor: string | null } } = await owner.call(
        'GET',
        `/mail?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`,
      );
      found.push(...body.items.map(({ id }) => id));
      cursor = body.nextCursor;
    }

    expect(found.sort()).toEqual(ids.sort());
    expect((await owner.call('GET', '/mail?cursor=x')).status).toBe(400);
    expect(server.taken).toEqual([]);
  });
});

describe('the settings', () => {
  test('do not send a kept password to another place, and never show it', async () => {
    const server = await serve();
    await setUp(server.port);

    const body = {
      ...{ host: 'evil.example', port: 465, security: 'implicit', leastTls: '1.3', caCertificates: null },
      ...{ username: MAIL_USER.username, senderName: 'H', senderAddress: 'h@example.org' },
      ...{ messagesAMinute: 60, paused: false },
    };
    const moved = await owner.call('PUT', '/settings/mail', body);

    expect(moved.status).toBe(400);
    const shown = await owner.call('GET', '/settings/mail');
    expect(shown.body).toMatchObject({ settings: { host: 'localhost', passwordSet: true } });
    expect(JSON.stringify(shown.body)).not.toContain(MAIL_USER.password);
    for (const wrong of [
      { senderAddress: 'nobody' },
      { senderName: 'a\r\nBcc: x' },
      { caCertificates: 'no certificate' },
      { host: 'a b' },
      { port: 0 },
    ]) {
      const reply = await owner.call('PUT', '/settings/mail', { ...body, password: 'x', ...wrong });
      expect([wrong, reply.status]).toEqual([wrong, 400]);
    }
  });

  test('taken away end what waits; each change is in the audit log', async () => {
    const server = await serve();
    await setUp(server.port, { paused: true });
    const id = await queue();

    expect((await owner.call('DELETE', '/settings/mail')).status).toBe(204);

    expect(await messageOf(id)).toMatchObject({ state: 'unsendable', data_sealed: null });
    expect((await owner.call('POST', '/settings/mail/test', {})).status).toBe(409);
    const { body } = await owner.call<{ items: { action: string }[] }>('GET', '/audit?action=mail.');
    expect(body.items.map(({ action }) => action).slice(0, 2)).toEqual([
      'mail.settings.removed',
      'mail.settings.changed',
    ]);
  });

  test('are tried by the test message, which says in plain words what the server answered', async () => {
    const server = await serve({
      refuse: (to) => (to.startsWith('no') ? { code: 550, message: 'Unknown here' } : undefined),
    });
    await setUp(server.port);

    const sent = await owner.call('POST', '/settings/mail/test', {});
    const refused = await owner.call('POST', '/settings/mail/test', { to: 'no@example.org' });

    expect(sent.body).toMatchObject({ taken: true, answer: expect.stringContaining('queued as') as string });
    expect(server.taken).toMatchObject([{ to: [OWNER.email] }]);
    expect(refused.body).toMatchObject({
      taken: false,
      message: 'localhost does not take mail for this address',
      answer: expect.stringContaining('Unknown here') as string,
    });
  });
});
