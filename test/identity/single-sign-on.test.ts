import { decodeJwt, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type CryptoKey } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  browserOf,
  expectStatus,
  ORIGIN,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import type { IdentityProvider } from '../helpers/identity-provider.ts';
import { addTestPasskey } from '../helpers/sign-in.ts';
import { softwarePasskey } from '../helpers/software-passkey.ts';
import {
  callerIn,
  known,
  linkThere,
  newSub,
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

async function peopleCount(): Promise<number> {
  return (await expectStatus(owner.call<{ total: number }>('GET', '/people'), 200)).total;
}

test('a provider that lets somebody through without asking gives no fresh proof of them', async () => {
  provider.asksAgain = false;
  const silent = callerIn(appliance, await signInThere(appliance, provider, someone()));
  silent.proves = false;
  provider.asksAgain = true;
  const asked = callerIn(appliance, await signInThere(appliance, provider, someone()));
  asked.proves = false;

  const refused = await silent.call<{ error: { code: string } }>('POST', '/sessions/dismiss-alerts');
  const taken = await asked.call('POST', '/sessions/dismiss-alerts');

  expect([refused.status, refused.body.error.code]).toEqual([403, 'step_up_required']);
  expect(taken.status).toBe(204);
});

test('a provider that does not say when it asked lets a first factor be added, and opens nothing else', async () => {
  provider.forge = async (idToken) => {
    const claims = { ...decodeJwt(idToken) };
    delete claims.auth_time;
    const { key, kid } = provider.signingKey();
    return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid }).sign(key);
  };
  const roleGroups = [{ group: 'ops', role: 'admin' }];
  await setProvider(owner, provider, { groupsClaim: 'groups', roleGroups });
  const admin = await signInThere(appliance, provider, { ...someone(), groups: ['ops'] });
  await setProvider(owner, provider);
  const member = callerIn(appliance, await signInThere(appliance, provider, someone()));
  member.proves = false;
  provider.forge = undefined;

  expect(admin.body.restricted).toBe(true);
  const passkey = softwarePasskey(admin.body.user.email);
  expect(await addTestPasskey((...asked) => admin.browser.call(...asked), ORIGIN, passkey)).toHaveLength(10);
  expect((await member.call('POST', '/sessions/dismiss-alerts')).status).toBe(403);
});

describe('nobody comes in', () => {
  test('while there is no provider, or it is switched off', async () => {
    await setProvider(owner, provider, { enabled: false });

    const begun = await appliance.stranger.call('POST', '/session/single-sign-on', {});

    expect(begun.status).toBe(409);
    expect(
      (await expectStatus(appliance.stranger.call('GET', '/sign-in/ways'), 200)).singleSignOn,
    ).toBeNull();
  });

  test('in a browser that began no sign-in, with another state, or twice', async () => {
    const thief = browserOf(appliance.app);
    let stolen: Record<string, string> = {};
    const other = await signInThere(appliance, provider, someone(), {
      between: (given) => {
        stolen = given;
        return { ...given, state: `sign-in.${'A'.repeat(43)}` };
      },
    });
    const byThief = await thief.call('POST', '/session/single-sign-on/return', known(stolen));
    const late = await other.browser.call('POST', '/session/single-sign-on/return', known(stolen));
    const again = await other.browser.call('POST', '/session/single-sign-on/return', known(stolen));

    expect([other.status, byThief.status, late.status, again.status]).toEqual([401, 401, 201, 401]);
  });

  test('ten minutes after they began', async () => {
    const reply = await signInThere(appliance, provider, someone(), {
      between: (given) => {
        appliance.clock.offsetMs = 10 * 60_000 + 1;
        return given;
      },
    });

    expect(reply.status).toBe(401);
  });

  test('with a code that was made for another browser', async () => {
    let stolen = '';
    await signInThere(appliance, provider, someone(), {
      between: (given) => {
        stolen = given.code ?? '';
        return { ...given, state: 'sign-in.none' };
      },
    });
    const before = await peopleCount();

    const reply = await signInThere(appliance, provider, someone(), {
      between: (given) => ({ ...given, code: stolen }),
    });

    expect(reply.status).toBe(401);
    expect(await peopleCount()).toBe(before);
  });

  test('with the word of another issuer, or a no of this one', async () => {
    const mixed = await signInThere(appliance, provider, someone(), {
      between: (given) => ({ ...given, iss: 'https://evil.example' }),
    });
    const refused = await signInThere(appliance, provider, someone(), {
      between: ({ state = '', iss = '' }) => ({ state, iss, error: 'access_denied' }),
    });

    expect([mixed.status, refused.status]).toEqual([401, 401]);
    expect(mixed.body.error.message).toBe(refused.body.error.message);
  });

  test('when the settings changed meanwhile', async () => {
    const browser = browserOf(appliance.app);
    const { url } = await expectStatus(
      browser.call<{ url: string }>('POST', '/session/single-sign-on', {}),
      201,
    );
    provider.person = someone();
    const given = await provider.visit(url);
    await setProvider(owner, provider);

    const reply = await browser.call('POST', '/session/single-sign-on/return', known(given));

    expect(reply.status).toBe(401);
  });

  test('who is not known, where accounts are not made', async () => {
    await setProvider(owner, provider, { makesAccounts: false });
    const before = await peopleCount();

    const reply = await signInThere(appliance, provider, someone());

    expect(reply.status).toBe(401);
    expect(await peopleCount()).toBe(before);
    expect((await refusals(owner))[0]).toBe('unknown-account');
  });

  test('with an ID token that another key, a shared secret or nobody signed, or that is of somebody else', async () => {
    const otherKey = (await generateKeyPair('RS256')).privateKey;
    const before = await peopleCount();
    const signed = (key: CryptoKey | Uint8Array, alg: string, change: object) => async (idToken: string) =>
      new SignJWT({ ...decodeJwt(idToken), ...change })
        .setProtectedHeader({ alg, kid: provider.signingKey().kid })
        .sign(key);
    const own = provider.signingKey().key;
    const now = Math.floor(Date.now() / 1000);
    const forgeries: ((idToken: string) => Promise<string>)[] = [
      signed(otherKey, 'RS256', {}),
      signed(Buffer.from(provider.clientSecret), 'HS256', {}),
      signed(Buffer.from(JSON.stringify(await exportJWK(own))), 'HS256', {}),
      async (idToken) => new UnsecuredJWT(decodeJwt(idToken)).encode(),
      signed(own, 'RS256', { aud: 'another-client' }),
      signed(own, 'RS256', { iss: 'https://evil.example' }),
      signed(own, 'RS256', { nonce: 'another' }),
      signed(own, 'RS256', { exp: now - 3600, iat: now - 7200 }),
      async (idToken) => `${idToken.slice(0, -4)}AAAA`,
    ];
    const answers: number[] = [];
    for (const forge of forgeries) {
      provider.forge = forge;
      answers.push((await signInThere(appliance, provider, someone())).status);
    }
    provider.forge = signed(own, 'RS256', {});
    const untouched = await signInThere(appliance, provider, someone());
    provider.forge = undefined;

    expect(answers).toEqual(forgeries.map(() => 401));
    expect(untouched.status).toBe(201);
    expect(await peopleCount()).toBe(before + 1);
  });

  test('by the e-mail address of somebody who is here', async () => {
    const member = await appliance.addPerson('member');

    const reply = await signInThere(appliance, provider, { ...someone(), email: member.email });

    expect(reply.status).toBe(401);
    expect((await refusals(owner))[0]).toBe('email-taken');
  });

  test('without an address, or with one that is not verified', async () => {
    const without = await signInThere(appliance, provider, { sub: newSub(), name: 'Nobody' });
    const unverified = await signInThere(appliance, provider, { ...someone(), email_verified: false });

    expect([without.status, unverified.status]).toEqual([401, 401]);
    expect((await refusals(owner)).slice(0, 2)).toEqual(['email-not-verified', 'no-email']);
  });

  test('whose account here is deactivated', async () => {
    const person = someone();
    const first = await signInThere(appliance, provider, person);
    await expectStatus(owner.call('POST', `/people/${first.body.user.id}/deactivate`), 200);

    const reply = await signInThere(appliance, provider, person);

    expect(reply.status).toBe(401);
    expect((await refusals(owner))[0]).toBe('deactivated');
  });

  test('and everybody is told the same, with an id that stands in the audit log', async () => {
    await setProvider(owner, provider, { makesAccounts: false });
    const reply = await signInThere(appliance, provider, someone());
    const { items } = await expectStatus(
      owner.call<{ items: { requestId: string }[] }>('GET', '/audit?action=identity.single-sign-on.refused'),
      200,
    );

    expect(reply.body.error).toMatchObject({
      code: 'unauthenticated',
      message: 'Single sign-on did not let you in',
    });
    expect(items[0]?.requestId).toBe(reply.body.error.requestId);
  });
});

describe('somebody who is let in', () => {
  test('becomes a person at the first time, and is the same at the second', async () => {
    const person = someone();

    const first = await signInThere(appliance, provider, person);
    const second = await signInThere(appliance, provider, { ...person, email: 'other@example.org' });

    expect([first.status, second.status]).toEqual([201, 201]);
    expect(first.body.user).toMatchObject({ name: 'Grace Hopper', email: person.email, role: 'member' });
    expect(second.body.user).toEqual(first.body.user);
  });

  test('has no password here', async () => {
    const person = someone();
    await signInThere(appliance, provider, person);

    const reply = await appliance.stranger.call('POST', '/session', {
      email: person.email,
      password: 'copper kettle sings 7',
    });

    expect(reply.status).toBe(401);
  });

  test('is accepted by an invitation in place of a password', async () => {
    await setProvider(owner, provider, { makesAccounts: false });
    const sent = await expectStatus(
      owner.call<{ link: string }>('POST', '/invitations', { email: 'linus@example.org', role: 'auditor' }),
      201,
    );
    const token = sent.link.split('#')[1];
    const person = { sub: newSub(), name: 'Linus', email: 'another@example.net' };

    const first = await signInThere(appliance, provider, person, { begin: { invitation: token } });
    const second = await signInThere(appliance, provider, person);
    const spent = await appliance.stranger.call('POST', '/session/single-sign-on', { invitation: token });

    expect(first.status).toBe(201);
    expect(first.body.user).toMatchObject({ name: 'Linus', email: 'linus@example.org', role: 'auditor' });
    expect(second.body.user.id).toBe(first.body.user.id);
    expect(spent.status).toBe(404);
  });

  test('is asked for the second factor here, which the provider does not replace by itself', async () => {
    const admin = await appliance.addPerson('admin');
    const person = someone();
    expect((await linkThere(appliance, admin, provider, person)).body).toEqual({ done: 'linked' });

    const reply = await signInThere(appliance, provider, person);
    const session = await reply.browser.call('GET', '/session');

    expect(reply.status).toBe(202);
    expect(reply.body.ways).toContain('passkey');
    expect(session.status).toBe(401);
  });

  test('is held until they have a second factor, where they must have one', async () => {
    await setProvider(owner, provider, {
      groupsClaim: 'groups',
      roleGroups: [{ group: 'ops', role: 'admin' }],
    });

    const reply = await signInThere(appliance, provider, { ...someone(), groups: ['ops'] });
    const listed = await reply.browser.call('GET', '/people');

    expect(reply.body).toMatchObject({ restricted: true, user: { role: 'admin' } });
    expect(listed.status).toBe(403);
  });

  test('needs no factor here when the provider vouches for one by a value that the settings name', async () => {
    await setProvider(owner, provider, {
      ...{ groupsClaim: 'groups', roleGroups: [{ group: 'ops', role: 'admin' }] },
      ...{ strongAcr: ['gold'], strongAmr: ['hwk'] },
    });
    const person = { ...someone(), groups: ['ops'] };

    const weak = await signInThere(appliance, provider, { ...person, acr: 'silver', amr: ['pwd'] });
    const byAcr = await signInThere(appliance, provider, { ...person, acr: 'gold' });
    const byAmr = await signInThere(appliance, provider, { ...person, amr: ['pwd', 'hwk'] });

    expect([weak, byAcr, byAmr].map(({ body }) => body.restricted)).toEqual([true, false, false]);
  });
});

describe('groups', () => {
  const mapped = {
    groupsClaim: 'groups',
    roleGroups: [
      { group: 'readers', role: 'auditor' },
      { group: 'ops', role: 'admin' },
    ],
  };

  test('nobody in none of them comes in, where that is said, and what they had ends', async () => {
    await setProvider(owner, provider, { ...mapped, otherRole: null });
    const person = someone();
    const stranger = await signInThere(appliance, provider, { ...someone(), groups: ['cooks'] });
    const first = await signInThere(appliance, provider, { ...person, groups: ['readers'] });

    const left = await signInThere(appliance, provider, { ...person, groups: ['cooks'] });
    const before = await callerIn(appliance, first).call('GET', '/session');

    expect([stranger.status, first.status, left.status, before.status]).toEqual([401, 201, 401, 401]);
  });

  test('the highest counts, and a lost one ends the other sessions', async () => {
    await setProvider(owner, provider, { ...mapped, strongAcr: ['gold'] });
    const person = { ...someone(), acr: 'gold' };
    const high = await signInThere(appliance, provider, { ...person, groups: ['readers', 'ops'] });

    const low = await signInThere(appliance, provider, { ...person, groups: [] });
    const before = await callerIn(appliance, high).call<{ error: { code: string } }>('GET', '/session');

    expect([high.body.user.role, low.body.user.role]).toEqual(['admin', 'member']);
    expect(before.body.error.code).toBe('session_ended');
  });

  test('an owner stays one, and nobody becomes one', async () => {
    const second = await appliance.addPerson('owner');
    const person = { ...someone(), groups: ['readers'], acr: 'gold' };
    await setProvider(owner, provider, { ...mapped, strongAcr: ['gold'], otherRole: null });
    await linkThere(appliance, second, provider, person);

    const reply = await signInThere(appliance, provider, person);
    const toOwner = await owner.call(
      'PUT',
      '/settings/single-sign-on',
      settingsFor(provider, { groupsClaim: 'groups', roleGroups: [{ group: 'bosses', role: 'owner' }] }),
    );

    expect(reply.body.user.role).toBe('owner');
    expect(toOwner.status).toBe(400);
  });

  test('teams that are mapped follow them, and others stay', async () => {
    const team = async (name: string) =>
      (await expectStatus(owner.call<{ id: string }>('POST', '/teams', { name }), 201)).id;
    const [first, second, third] = [await team('First'), await team('Second'), await team('Third')];
    await setProvider(owner, provider, {
      groupsClaim: 'groups',
      teamGroups: [
        { group: 'one', teamId: first },
        { group: 'two', teamId: second },
      ],
    });
    const person = someone();
    const { body } = await signInThere(appliance, provider, { ...person, groups: ['one'] });
    await expectStatus(owner.call('PUT', `/teams/${third}/members/${body.user.id}`), 200);

    await signInThere(appliance, provider, { ...person, groups: ['two'] });
    const entry = await expectStatus(
      owner.call<{ teams: { name: string }[] }>('GET', `/people/${body.user.id}`),
      200,
    );

    expect(entry.teams.map(({ name }) => name).sort()).toEqual(['Second', 'Third']);
  });
});
