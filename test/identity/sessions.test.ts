import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildApp } from '../../server/app.ts';
import { openDatabase } from '../../server/lib/db.ts';
import {
  ORIGIN,
  expectStatus,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { proveAgain } from '../helpers/sign-in.ts';

interface Listed {
  items: { id: string; device: string; current: boolean; methods: string[]; endsAt: string }[];
  alerts: { kind: string; ended: boolean }[];
}

const MINUTE_MS = 60_000;
const FIREFOX = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0' };
const CHROME = {
  'user-agent':
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36',
};

let appliance: TestAppliance;
let owner: TestCaller;
/** A second server on the same database, with connections of its own. */
let second: FastifyInstance;
let closeSecond: () => Promise<void>;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  const db = openDatabase(appliance.database.address, { name: 'second server', max: 4 });
  second = await buildApp({ ...appliance.deps, db });
  await second.ready();
  closeSecond = async () => {
    await second.close();
    await db.destroy();
  };
});
afterAll(async () => {
  await closeSecond();
  await appliance.close();
});
beforeEach(() => {
  appliance.clock.offsetMs = 0;
});

const list = async (caller: TestCaller, headers = {}) =>
  expectStatus(caller.call<Listed>('GET', '/sessions', undefined, { headers }), 200);

/** Signs the person in once more, in a browser of that kind. */
async function enter(email: string, headers = {}, remoteAddress = '127.0.0.1'): Promise<TestCaller> {
  const stranger = { ...appliance.stranger };
  const reply = await stranger.call(
    'POST',
    '/session',
    { email, password: OWNER.password },
    { headers, remoteAddress },
  );
  expect(reply.status).toBe(201);
  const cookie = String([reply.headers['set-cookie']].flat()[0]).split(';')[0] ?? '';
  return appliance.withCookie(cookie);
}

/** What an ended session is told. */
async function told(caller: TestCaller, headers = {}): Promise<{ code: string; message: string }> {
  const reply = await caller.call<{ error: { code: string; message: string } }>(
    'GET',
    '/session',
    undefined,
    { headers },
  );
  expect(reply.status).toBe(401);
  return reply.body.error;
}

async function auditOf(action: string): Promise<{ action: string; detail: Record<string, unknown> }[]> {
  const { items } = await expectStatus(
    owner.call<{ items: { action: string; detail: Record<string, unknown> }[] }>(
      'GET',
      `/audit?action=${action}`,
    ),
    200,
  );
  return items;
}

describe('the list of sessions', () => {
  test('shows one’s own with device, address and methods, and which is this one', async () => {
    const person = await appliance.addPerson('member');
    const other = await enter(person.email, FIREFOX);

    const { items } = await list(other, FIREFOX);

    expect(items).toHaveLength(2);
    expect(items.filter((item) => item.current)).toMatchObject([
      { device: 'Firefox on Linux', address: '127.0.0.1', methods: ['password'] },
    ]);
  });

  test('a session of somebody else answers as one that does not exist, and goes on', async () => {
    const [one, other] = [await appliance.addPerson('admin'), await appliance.addPerson('member')];
    const id = (await list(other)).items[0]?.id;

    const foreign = await one.call('DELETE', `/sessions/${id}`);
    const none = await one.call('DELETE', `/sessions/${randomUUID()}`);

    expect([foreign.status, none.status]).toEqual([404, 404]);
    expect((await list(other)).items).toHaveLength(1);
    expect((await one.call('GET', `/people/${other.userId}/sessions`)).status).toBe(403);
  });

  test('one that is ended is over at the next request, in another server too, within a second', async () => {
    const person = await appliance.addPerson('auditor');
    const other = await enter(person.email, FIREFOX);
    const ask = () =>
      second.inject({ url: '/api/v1/session', headers: { cookie: other.cookie, ...FIREFOX } });
    expect((await ask()).statusCode).toBe(200);
    const id = (await list(other, FIREFOX)).items.find((item) => item.current)?.id;

    await expectStatus(person.call('DELETE', `/sessions/${id}`), 204);
    const endedAt = performance.now();
    const reply = await ask();

    expect(reply.statusCode).toBe(401);
    expect(performance.now() - endedAt).toBeLessThan(1_000);
    expect(reply.json()).toMatchObject({ error: { code: 'session_ended' } });
    expect((await list(person)).items).toHaveLength(1);
  });

  test('all others end at once, this one goes on; an owner ends all of anybody', async () => {
    const person = await appliance.addPerson('member');
    const others = [await enter(person.email), await enter(person.email)];

    expect(await expectStatus(person.call('POST', '/sessions/end-others'), 200)).toEqual({ ended: 2 });
    for (const other of others) expect((await told(other)).message).toContain('another one of yours');
    expect((await list(person)).items).toHaveLength(1);

    const ended = await owner.call('DELETE', `/people/${person.userId}/sessions`);
    expect(ended.body).toEqual({ ended: 1 });
    expect((await told(person)).message).toContain('An owner');
    expect(await auditOf('identity.sessions.ended')).toMatchObject([
      { detail: { ended: 1, reason: 'revoked-by-owner' } },
      { detail: { ended: 2, reason: 'revoked' } },
    ]);
  });

  test('an open event stream of a session that is ended closes within a second', async () => {
    const person = await appliance.addPerson('auditor');
    await second.listen({ host: '127.0.0.1', port: 0 });
    const { port } = second.server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/api/v1/events`;
    const stream = await fetch(url, { headers: { cookie: person.cookie } });
    const reader = stream.body?.getReader();
    await reader?.read();

    await expectStatus(owner.call('DELETE', `/people/${person.userId}/sessions`), 200);
    const endedAt = performance.now();
    while ((await reader?.read())?.done !== true);

    expect(performance.now() - endedAt).toBeLessThan(1_000);
  });
});

describe('limits', () => {
  const settings = async () =>
    (await expectStatus(
      owner.call<{ limits: { role: string; idleMinutes: number; absoluteHours: number }[] }>(
        'GET',
        '/settings/sessions',
      ),
      200,
    )) as {
      limits: { role: string; idleMinutes: number; absoluteHours: number }[];
      proofMinutes: number;
      likelyTheftEnds: boolean;
    };

  test('outside their bounds, or without a role, are refused', async () => {
    const before = await settings();
    const [first, ...rest] = before.limits;
    const wrong = [
      { ...before, limits: [{ ...first, idleMinutes: 4 }, ...rest] },
      { ...before, limits: [{ ...first, absoluteHours: 169 }, ...rest] },
      { ...before, limits: [...rest, rest[0]] },
      { ...before, limits: rest },
      { ...before, proofMinutes: 0 },
    ];

    for (const change of wrong)
      expect((await owner.call('PUT', '/settings/sessions', change)).status).toBe(400);
    expect(await settings()).toEqual(before);
  });

  test('that are made shorter hold for open sessions at once', async () => {
    const person = await appliance.addPerson('member');
    const before = await settings();
    const limits = before.limits.map((one) =>
      one.role === 'member' ? { ...one, idleMinutes: 5, absoluteHours: 1 } : one,
    );
    await expectStatus(owner.call('PUT', '/settings/sessions', { ...before, limits }), 200);

    appliance.clock.offsetMs = 6 * MINUTE_MS;

    expect((await told(person)).message).toContain('without activity');
    appliance.clock.offsetMs = 0;
    expect((await auditOf('identity.session-settings.changed'))[0]?.detail).toMatchObject({
      after: {
        limits: expect.arrayContaining([{ role: 'member', idleMinutes: 5, absoluteHours: 1 }]) as unknown,
      },
    });
    await expectStatus(owner.call('PUT', '/settings/sessions', before), 200);
  });
});

describe('a stolen token', () => {
  test('is renewed while it is used; a lost reply signs nobody out, and the old one is a sign of theft later', async () => {
    const person = await appliance.addPerson('member');
    const first = person.cookie;
    const lost = appliance.withCookie(first);
    appliance.clock.offsetMs = 6 * MINUTE_MS;
    await lost.call('GET', '/session');
    expect(lost.cookie).not.toBe(first);

    // The reply never came: the same secret is shown again, long after, and the same next one comes back.
    appliance.clock.offsetMs = 12 * MINUTE_MS;
    expect((await person.call('GET', '/session')).status).toBe(200);
    expect(person.cookie).toBe(lost.cookie);
    expect((await person.call('GET', '/session')).status).toBe(200);
    expect((await appliance.withCookie(first).call('GET', '/session')).status).toBe(200);

    appliance.clock.offsetMs = 15 * MINUTE_MS;
    expect((await told(appliance.withCookie(first))).message).toContain(
      'token of this session was used twice',
    );
    expect((await told(person)).message).toContain('token of this session was used twice');
    appliance.clock.offsetMs = 0;
    expect((await auditOf('identity.session.suspected'))[0]?.detail).toMatchObject({
      ...{ sign: 'token-replayed', ended: true },
    });
    const mail = await appliance.deps.db
      .selectFrom('mail_messages')
      .select('template')
      .where('user_id', '=', person.userId)
      .execute();
    expect(mail).toEqual([{ template: 'security-notice' }]);
  });

  test('at the next sign-in the person is told, until they have looked', async () => {
    const person = await appliance.addPerson('member');
    const thief = appliance.withCookie(person.cookie);
    const browser = await enter(person.email, FIREFOX);
    expect(
      (await appliance.withCookie(browser.cookie).call('GET', '/session', undefined, { headers: CHROME }))
        .status,
    ).toBe(401);
    expect((await told(browser, FIREFOX)).message).toContain('two different browsers');

    const { alerts } = await list(thief);
    expect(alerts).toContainEqual(expect.objectContaining({ kind: 'two-browsers', ended: true }));
    const banners = async () =>
      (await expectStatus(person.call<{ banners: { kind: string }[] }>('GET', '/session'), 200)).banners.map(
        (banner) => banner.kind,
      );
    expect(await banners()).toContain('session-alert');
    await expectStatus(person.call('POST', '/sessions/dismiss-alerts'), 204);
    expect(await banners()).not.toContain('session-alert');
  });

  test('many requests at once when the token is due end nothing, and one token comes of it', async () => {
    const person = await appliance.addPerson('member');
    appliance.clock.offsetMs = 6 * MINUTE_MS;
    const first = person.cookie;

    const tabs = Array.from({ length: 12 }, () => appliance.withCookie(first));
    const replies = await Promise.all(tabs.map((tab) => tab.call('GET', '/workspaces')));

    expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([200]));
    expect(new Set(tabs.map((tab) => tab.cookie).filter((cookie) => cookie !== first)).size).toBeLessThan(2);
    for (const tab of tabs) expect((await tab.call('GET', '/session')).status).toBe(200);
  });
});

describe('likely signs of theft', () => {
  test('a new device and a new network are told once, and sign nobody out', async () => {
    const person = await appliance.addPerson('member');
    const browser = await enter(person.email, FIREFOX);
    const from = (remoteAddress: string) =>
      browser.call('GET', '/session', undefined, { headers: FIREFOX, remoteAddress });

    for (const address of ['127.0.0.9', '192.0.2.7', '192.0.2.8', '127.0.0.1', '192.0.2.7'])
      expect((await from(address)).status).toBe(200);

    const kinds = (await list(person)).alerts.map((alert) => [alert.kind, alert.ended]);
    expect(kinds.sort()).toEqual([
      ['new-device', false],
      ['new-network', false],
    ]);
  });

  test('many failures on an account are told to its person, however many addresses they came from', async () => {
    const person = await appliance.addPerson('member');
    for (let index = 0; index < 11; index += 1) {
      const remoteAddress = `198.51.100.${index}`;
      const wrong = { email: person.email, password: 'not it at all' };
      const reply = await appliance.stranger.call('POST', '/session', wrong, { remoteAddress });
      expect(reply.status).toBe(401);
    }

    expect((await list(person)).alerts.map((alert) => alert.kind)).toEqual(['many-failures']);
  });

  test('slips of the person themself, each followed by a right proof, are no sign', async () => {
    const person = await appliance.addPerson('member');
    for (let index = 0; index < 11; index += 1) {
      const slip = { kind: 'password', password: 'a slip of the hand' };
      expect((await person.call('POST', '/session/proof', slip)).status).toBe(403);
      const right = { kind: 'password', password: OWNER.password };
      expect((await person.call('POST', '/session/proof', right)).status).toBe(204);
    }

    expect((await list(person)).alerts).toEqual([]);
  });

  test('where the owner has said so, they end the sessions', async () => {
    const person = await appliance.addPerson('member');
    const before = await expectStatus(owner.call('GET', '/settings/sessions'), 200);
    await expectStatus(owner.call('PUT', '/settings/sessions', { ...before, likelyTheftEnds: true }), 200);

    const browser = await enter(person.email, FIREFOX);
    expect((await told(person)).message).toContain('unusual');
    const moved = await browser.call('GET', '/session', undefined, {
      ...{ headers: FIREFOX, remoteAddress: '203.0.113.4' },
    });

    expect(moved.status).toBe(401);
    await expectStatus(owner.call('PUT', '/settings/sessions', before), 200);
  });
});

describe('a dangerous act', () => {
  test('is each of these routes', () => {
    const asking = appliance.app.routeAccess.filter((route) => route.stepUp);

    const names = asking.map(({ method, url }) => `${method} ${url.replace('/api/v1', '')}`);
    const expected = [
      'DELETE /host/unknown-keyslots',
      'DELETE /host/ways/:id',
      'DELETE /recovery-kits/:id/sealed',
      'DELETE /sessions/:id',
      'DELETE /snapshots/:id',
      'POST /host/set-back',
      'POST /host/set-back/discard',
      'POST /host/set-back/undo',
      'POST /host/ssh',
      'POST /host/updates/install',
      'POST /host/updates/way-back',
      'POST /host/ways',
      'POST /quarantine/release',
      'POST /recovery-kits',
      'POST /sessions/end-others',
      'POST /targets',
      'POST /targets/:id/retire',
      'POST /targets/keys',
      'POST /targets/probe',
      'PUT /audit/retention',
      'PUT /settings/appliance',
      'PUT /settings/sessions',
      'PUT /targets/:id/host-key',
      'PUT /targets/:id/sign-in',
    ];
    expect(expected.filter((name) => !names.includes(name))).toEqual([]);
  });

  const change = async (caller: TestCaller) => {
    const before = (await caller.call('GET', '/settings/sessions')).body;
    return caller.call<{ error?: { code: string } }>('PUT', '/settings/sessions', before);
  };

  test('asks for a proof of the last minutes; a wrong one opens nothing, a right one does', async () => {
    const other = await appliance.addPerson('owner');
    other.proves = false;
    appliance.clock.offsetMs = 11 * MINUTE_MS;
    expect((await change(other)).body.error?.code).toBe('step_up_required');

    const wrong = await other.call('POST', '/session/proof', { kind: 'recovery-code', code: '0000-0000' });
    expect(wrong.status).toBe(403);
    expect((await change(other)).status).toBe(403);
    const before = other.cookie;
    const proven = (await auditOf('identity.session.proven')).length;
    // The grace of the renewal just now runs out first.
    appliance.clock.offsetMs = 14 * MINUTE_MS;
    const password = { kind: 'password', password: OWNER.password };
    expect((await other.call('POST', '/session/proof', password)).status).toBe(400);
    await proveAgain((...asked) => other.call(...asked), ORIGIN, OWNER.password);

    expect((await change(other)).status).toBe(200);
    expect(other.cookie).not.toBe(before);
    expect(await auditOf('identity.session.proven')).toHaveLength(proven + 1);
  });
});
