import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildApp } from '../../server/app.ts';
import { openDatabase } from '../../server/lib/db.ts';
import {
  browserOf,
  expectStatus,
  ORIGIN,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import type { IdentityProvider, ProviderPerson } from '../helpers/identity-provider.ts';
import { addTestPasskey } from '../helpers/sign-in.ts';
import { softwarePasskey } from '../helpers/software-passkey.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';
import {
  callerIn,
  known,
  sendLogout,
  setProvider,
  signInThere,
  startProviderFor,
} from '../helpers/single-sign-on.ts';

let appliance: TestAppliance;
let provider: IdentityProvider;
let owner: TestCaller;
/** A second server on the same database, with connections of its own. */
let second: FastifyInstance;
let closeSecond: () => Promise<void>;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  provider = await startProviderFor(appliance);
  await setProvider(owner, provider);
  const db = openDatabase(appliance.database.address, { name: 'second server', max: 4 });
  second = await buildApp({ ...appliance.deps, db });
  await second.ready();
  closeSecond = async () => {
    await second.close();
    await db.destroy();
  };
});
afterAll(async () => {
  await provider.stop();
  await closeSecond();
  await appliance.close();
});
beforeEach(() => {
  appliance.clock.offsetMs = 0;
});

interface Inside {
  sub: string;
  userId: string;
  who: TestCaller;
  apiKey: string;
  /** Whether the session, and the API key, are good for either server. */
  good(): Promise<{ session: boolean[]; key: boolean[] }>;
}

async function comeIn(): Promise<Inside> {
  const sub = `sub-${randomUUID()}`;
  const reply = await signInThere(appliance, provider, { sub, email: `${sub}@example.org`, name: 'Grace' });
  const who = callerIn(appliance, reply);
  const userId = reply.body.user.id;
  const { id: workspaceId } = await createTestWorkspace(appliance.deps, userId);
  const made = await expectStatus(
    who.call<{ token: string }>('POST', '/api-keys', { name: 'mine', workspaceId, rights: ['files.read'] }),
    201,
  );
  const ask = async (app: FastifyInstance, url: string, headers: Record<string, string>) =>
    (await app.inject({ method: 'GET', url, headers })).statusCode === 200;
  const both = async (url: string, headers: Record<string, string>) => [
    await ask(appliance.app, url, headers),
    await ask(second, url, headers),
  ];
  return {
    ...{ sub, userId, who, apiKey: made.token },
    good: async () => ({
      session: await both('/api/v1/session', { cookie: who.cookie }),
      key: await both('/api/v1/workspaces', { authorization: `Bearer ${made.token}` }),
    }),
  };
}

const send = (token: string) =>
  sendLogout(appliance, new URLSearchParams({ logout_token: token }).toString());
const ALL_GOOD = { session: [true, true], key: [true, true] };

describe('a logout token', () => {
  test('that fails one check ends nothing', async () => {
    const inside = await comeIn();
    const { sub } = inside;
    const now = Math.floor(Date.now() / 1000);
    const token = (claims: object, head = {}) => provider.logoutToken({ sub, ...claims }, head);
    const claims = {
      ...{ iss: provider.issuer, aud: provider.clientId, iat: now, exp: now + 60, jti: randomUUID(), sub },
      events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
    };
    const { kid } = provider.signingKey();
    const foreign = (await generateKeyPair('RS256')).privateKey;
    const byHmac = new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'logout+jwt', kid });
    const byOther = new SignJWT(claims).setProtectedHeader({ alg: 'RS256', typ: 'logout+jwt', kid });
    const bad: Record<string, string> = {
      'signed by nobody': new UnsecuredJWT(claims).encode(),
      'signed with the client secret': await byHmac.sign(Buffer.from(provider.clientSecret)),
      'signed by another key': await byOther.sign(foreign),
      'of a key that nobody knows': await token({}, { kid: 'unknown' }),
      'of another issuer': await token({ iss: 'https://evil.example' }),
      'for another client': await token({ aud: 'somebody-else' }),
      'without an audience': await token({ aud: undefined }),
      'made too long ago': await token({ iat: now - 900, exp: now + 60 }),
      'made in the future': await token({ iat: now + 900, exp: now + 1000 }),
      'without iat': await token({ iat: undefined }),
      'run out': await token({ iat: now - 300, exp: now - 120 }),
      'without exp': await token({ exp: undefined }),
      'without events': await token({ events: undefined }),
      'of another event': await token({ events: { 'http://example.org/other': {} } }),
      'with an event that is no object': await token({
        events: { 'http://schemas.openid.net/event/backchannel-logout': true },
      }),
      'with a nonce': await token({ nonce: 'as an ID token' }),
      'without jti': await token({ jti: undefined }),
      'that names nobody': await token({ sub: undefined }),
      'with a subject that is no text': await token({ sub: 7 as unknown as string }),
      'of another kind': await token({}, { typ: 'at+jwt' }),
      'that is none': 'not.a.token',
    };

    const answers = await Promise.all(
      Object.entries(bad).map(async ([what, one]) => [what, (await send(one)).status]),
    );

    expect(answers.filter(([, status]) => status !== 400)).toEqual([]);
    expect(await inside.good()).toEqual(ALL_GOOD);
  });

  test('is answered as the standard says, and kept nowhere', async () => {
    const good = await send(await provider.logoutToken({ sub: 'nobody here' }));
    const bad = await send('not.a.token');

    expect([good.status, bad.status]).toEqual([200, 400]);
    expect(good.headers['cache-control']).toBe('no-store');
    expect(bad.headers['cache-control']).toBe('no-store');
    expect(JSON.parse(bad.body)).toMatchObject({ error: 'invalid_request' });
  });

  test('that is too long, or no form, is refused', async () => {
    const long = await sendLogout(appliance, `logout_token=${'a'.repeat(20_000)}`);
    const empty = await sendLogout(appliance, 'something=else');
    const json = await appliance.stranger.call('POST', '/single-sign-on/back-channel-logout', {
      logout_token: 'a.b.c',
    });

    expect([long.status, empty.status]).toEqual([413, 400]);
    expect(json.status).toBe(400);
  });

  test('serves once, also when it comes many times at the same moment', async () => {
    const token = await provider.logoutToken({ sub: 'nobody here' });

    const answers = await Promise.all([send(token), send(token), send(token)]);
    const later = await send(token);

    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400, 400]);
    expect(later.status).toBe(400);
  });

  test('that is taken in one server is spent in the other', async () => {
    const token = await provider.logoutToken({ sub: 'nobody here' });
    await send(token);

    const other = await sendLogout({ app: second }, `logout_token=${token}`);

    expect(other.status).toBe(400);
  });
});

describe('what the provider ends', () => {
  test('for a person: every session and API key, at the next request in both servers', async () => {
    const [inside, other] = [await comeIn(), await comeIn()];

    expect((await send(await provider.logoutToken({ sub: inside.sub }))).status).toBe(200);

    expect(await inside.good()).toEqual({ session: [false, false], key: [false, false] });
    expect(await other.good()).toEqual(ALL_GOOD);
    const told = await inside.who.call<{ error: { code: string; message: string } }>('GET', '/session');
    expect(told.body.error).toMatchObject({ code: 'session_ended' });
    expect(told.body.error.message).toContain('provider');
  });

  test('for one of its sessions: those that came from it, and no other', async () => {
    const inside = await comeIn();
    const sid = await sidOf(inside.userId);

    await provider.endSession(inside.sub, sid);

    const { session, key } = await inside.good();
    expect(session).toEqual([false, false]);
    expect(key).toEqual([true, true]);
  });

  test('for one of its sessions, API keys too, where the settings say so', async () => {
    await setProvider(owner, provider, { logoutEndsKeys: true });
    const inside = await comeIn();

    await provider.endSession(inside.sub, await sidOf(inside.userId));

    expect(await inside.good()).toEqual({ session: [false, false], key: [false, false] });
  });

  test('while somebody is on the way back from it: the person, or that session', async () => {
    const jar = new Map<string, string>();
    const person = { sub: `sub-${randomUUID()}`, email: 'on-the-way@example.org', name: 'Grace' };
    await signInThere(appliance, provider, person, { jar });
    const sid = provider.lastSid.get(person.sub);
    const bySession = await provider.logoutToken({ sid });
    const byPerson = await provider.logoutToken({ sub: person.sub });

    const first = await returnAfter(person, jar, bySession);
    const other = await signInThere(appliance, provider, person);
    const second = await returnAfter(person, new Map(), byPerson);
    const later = await signInThere(appliance, provider, person);

    expect([first, other.status, second, later.status]).toEqual([401, 201, 401, 201]);
  });

  test('also where the session was replaced by another, when a factor was added', async () => {
    const inside = await comeIn();
    const sid = await sidOf(inside.userId);
    const browser = browserOf(appliance.app, inside.who.cookie);
    await addTestPasskey((...asked) => browser.call(...asked), ORIGIN, softwarePasskey(inside.sub));
    const before = await browser.call('GET', '/session');

    await provider.endSession(inside.sub, sid);

    expect([before.status, (await browser.call('GET', '/session')).status]).toEqual([200, 401]);
  });

  test('also after it has changed its keys', async () => {
    const inside = await comeIn();
    await provider.rotate();
    appliance.clock.offsetMs = 11_000;

    const reply = await send(await provider.logoutToken({ sub: inside.sub }));

    expect(reply.status).toBe(200);
    expect((await inside.good()).session).toEqual([false, false]);
  });

  /** Comes back with what the provider gave, after that message. @returns the status. */
  async function returnAfter(
    person: ProviderPerson,
    jar: Map<string, string>,
    token: string,
  ): Promise<number> {
    const browser = browserOf(appliance.app);
    const { url } = await expectStatus(
      browser.call<{ url: string }>('POST', '/session/single-sign-on', {}),
      201,
    );
    provider.person = person;
    const given = await provider.visit(url, jar);
    appliance.clock.offsetMs += 1_000;
    expect((await send(token)).status).toBe(200);
    return (await browser.call('POST', '/session/single-sign-on/return', known(given))).status;
  }
  /** What the last visit of the person was called at the provider. */
  async function sidOf(userId: string): Promise<string> {
    const found = provider.lastSid.get(await subOf(userId));
    if (found === undefined) throw new Error('the provider named no session');
    return found;
  }
  async function subOf(userId: string): Promise<string> {
    const shown = await expectStatus(
      owner.call<{ linked: { label: string } }>('GET', `/people/${userId}/single-sign-on`),
      200,
    );
    return shown.linked.label.replace(/@example\.org$/, '');
  }
});
