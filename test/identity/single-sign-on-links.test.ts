import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  browserOf,
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import type { IdentityProvider } from '../helpers/identity-provider.ts';
import {
  callerIn,
  known,
  linkThere,
  refusals,
  setProvider,
  settingsFor,
  signInThere,
  someone,
  startProviderFor,
} from '../helpers/single-sign-on.ts';

let appliance: TestAppliance;
let provider: IdentityProvider;
let owner: TestCaller;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  provider = await startProviderFor(appliance);
});
afterAll(async () => {
  await provider.stop();
  await appliance.close();
});
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  provider.asksAgain = true;
  await setProvider(owner, provider);
});

describe('a link', () => {
  test('is refused for an account that somebody else is linked with, and for a stolen way back', async () => {
    const person = someone();
    await signInThere(appliance, provider, person);
    const member = await appliance.addPerson('member');

    const taken = await linkThere(appliance, member, provider, person);

    expect(taken.status).toBe(403);
    expect((await refusals(owner))[0]).toBe('linked-elsewhere');
    expect((await member.call('GET', '/me/single-sign-on')).body).toMatchObject({ linked: null });
  });

  test('is not made in the session of somebody else', async () => {
    const [victim, attacker] = [await appliance.addPerson('member'), await appliance.addPerson('member')];
    const browser = browserOf(appliance.app, attacker.cookie);
    const { url } = await expectStatus(browser.call<{ url: string }>('POST', '/me/single-sign-on/link'), 201);
    provider.person = someone();
    const given = await provider.visit(url);
    const cookies = browser
      .cookie()
      .split('; ')
      .filter((one) => !one.startsWith('__Host-holdfast='));

    const reply = await appliance.stranger.call('POST', '/me/single-sign-on/return', known(given), {
      headers: { cookie: [...cookies, victim.cookie].join('; ') },
    });

    expect(reply.status).toBe(403);
    expect((await victim.call('GET', '/me/single-sign-on')).body).toMatchObject({ linked: null });
  });

  test('is shown to the person and on their page, and taken away by both', async () => {
    const member = await appliance.addPerson('member');
    const person = someone();
    await linkThere(appliance, member, provider, person);
    const own = await expectStatus(member.call('GET', '/me/single-sign-on'), 200);
    const shown = await expectStatus(owner.call(`GET`, `/people/${member.userId}/single-sign-on`), 200);

    await expectStatus(member.call('DELETE', '/me/single-sign-on'), 204);
    const again = await expectStatus(owner.call('DELETE', `/people/${member.userId}/single-sign-on`), 404);

    expect(own).toMatchObject({ provider: 'Acme login', linked: { label: person.email }, keptBecause: null });
    expect(shown).toMatchObject({ linked: { label: person.email, issuer: provider.issuer } });
    expect(again).toMatchObject({ error: { code: 'not_found' } });
  });

  test('stays when it is the only way in', async () => {
    const reply = await signInThere(appliance, provider, someone());
    const caller = callerIn(appliance, reply);

    const refused = await caller.call<{ error: { code: string } }>('DELETE', '/me/single-sign-on');

    expect(refused.status).toBe(409);
  });
});

describe('a fresh proof', () => {
  async function prove(
    who: TestCaller,
    person: { sub: string; acr?: string },
    jar = new Map<string, string>(),
  ) {
    const browser = browserOf(appliance.app, who.cookie);
    const { url } = await expectStatus(
      browser.call<{ url: string }>('POST', '/me/single-sign-on/proof'),
      201,
    );
    provider.person = person;
    const given = await provider.visit(url, jar);
    return browser.call<{ done: string }>('POST', '/me/single-sign-on/return', known(given));
  }

  test('is not taken from another account, nor from a sign-in of before', async () => {
    const person = someone();
    const who = callerIn(appliance, await signInThere(appliance, provider, person));

    const other = await prove(who, someone());
    provider.asksAgain = false;
    const old = await prove(who, person);

    expect([other.status, old.status]).toEqual([403, 403]);
    expect((await refusals(owner)).slice(0, 2)).toEqual(['not-fresh', 'another-account']);
  });

  test('lets a person without any credential here do what asks for one', async () => {
    const person = someone();
    const who = callerIn(appliance, await signInThere(appliance, provider, person));
    who.proves = false;
    await withClient(appliance.database.adminAddress, 'test', (client) =>
      client.query("update sessions set authenticated_at = now() - interval '11 minutes'"),
    );
    const stale = await who.call('POST', '/sessions/dismiss-alerts');

    const proven = await prove(who, person);
    const done = await appliance
      .withCookie(String(proven.headers['set-cookie']).split(';')[0] ?? '')
      .call('POST', '/sessions/dismiss-alerts');

    expect(stale.status).toBe(403);
    expect(proven.body).toEqual({ done: 'proven' });
    expect(done.status).toBe(204);
  });
});

describe('the settings', () => {
  test('keep the secret to themselves, and do not send it elsewhere', async () => {
    const without = settingsFor(provider, { clientSecret: undefined });
    const moved = await owner.call('PUT', '/settings/single-sign-on', {
      ...without,
      issuer: 'https://evil.example',
    });
    const same = await owner.call('PUT', '/settings/single-sign-on', without);
    const read = await owner.call('GET', '/settings/single-sign-on');

    expect([moved.status, same.status]).toEqual([400, 200]);
    expect(JSON.stringify([same.body, read.body])).not.toContain(provider.clientSecret);
    expect(read.body).toMatchObject({ redirectUri: 'https://localhost:80/sign-in/return' });
  });

  test('are not written over by somebody who read others', async () => {
    type Read = { settings: { version: string } };
    const read = await expectStatus(owner.call<Read>('GET', '/settings/single-sign-on'), 200);
    const put = (version: string) =>
      owner.call<Read>('PUT', '/settings/single-sign-on', settingsFor(provider, { version }));
    const first = await put(read.settings.version);
    const second = await put(read.settings.version);

    expect([first.status, second.status]).toEqual([200, 409]);
    expect((await put(first.body.settings.version)).status).toBe(200);
  });

  test('refuse groups without a claim, an unknown team, and plain http', async () => {
    const put = async (change: object) =>
      (await owner.call('PUT', '/settings/single-sign-on', settingsFor(provider, change))).status;

    expect(await put({ roleGroups: [{ group: 'ops', role: 'admin' }] })).toBe(400);
    expect(await put({ groupsClaim: 'groups', teamGroups: [{ group: 'a', teamId: randomUUID() }] })).toBe(
      404,
    );
    expect(await put({ issuer: 'http://localhost:1' })).toBe(400);
  });

  test('the test says what is wrong in plain words', async () => {
    type Probe = { works: boolean; problems: { message: string }[] };
    const probe = async (issuer: string, caCertificates: string | null = provider.root) =>
      expectStatus(
        owner.call<Probe>('POST', '/settings/single-sign-on/test', { issuer, caCertificates }),
        200,
      );

    const good = await probe(provider.issuer);
    const untrusted = await probe(provider.issuer, null);
    const nowhere = await probe('https://localhost:1');
    const none = await probe(`${provider.issuer}/nothing`);

    expect(good.works).toBe(true);
    expect([untrusted, nowhere, none].map(({ works }) => works)).toEqual([false, false, false]);
    expect(untrusted.problems[0]?.message).toContain('not trusted');
    expect(nowhere.problems[0]?.message).toContain('cannot be reached');
    expect(none.problems[0]?.message).toContain('no description');
  });

  test('the provider is asked for its description and keys once, and again after a rotation', async () => {
    provider.asked.clear();
    await signInThere(appliance, provider, someone());
    await signInThere(appliance, provider, someone());
    const once = [...provider.asked];
    await provider.rotate();
    appliance.clock.offsetMs = 11_000;

    const rotated = await signInThere(appliance, provider, someone());

    expect(Object.fromEntries(once)).toMatchObject({ '/.well-known/openid-configuration': 1, '/jwks': 1 });
    expect(rotated.status).toBe(201);
    expect(provider.asked.get('/jwks')).toBe(2);
  });

  test('a provider that is away lets nobody in, and says so in the log only', async () => {
    await provider.pause();
    const begun = await appliance.stranger.call<{ error: { code: string } }>(
      'POST',
      '/session/single-sign-on',
      {},
    );
    await provider.start();

    expect(begun.status).toBe(503);
  });
});
