/** Passkeys through the routes, with one made of software: first and second step, what is refused, and keeping several. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  browserOf,
  expectStatus,
  ORIGIN,
  OWNER,
  startTestAppliance,
  type TestAppliance,
} from '../helpers/appliance.ts';
import { addTestPasskey } from '../helpers/sign-in.ts';
import { assertWith, attest, softwarePasskey, type Claims } from '../helpers/software-passkey.ts';

type TestBrowser = ReturnType<typeof browserOf>;

let appliance: TestAppliance;
beforeEach(async () => {
  appliance = await startTestAppliance();
});
afterEach(() => appliance.close());

const browser = () => browserOf(appliance.app);

async function withPassword() {
  const page = browser();
  const { email, password } = OWNER;
  return { page, reply: await page.call('POST', '/session', { email, password }) };
}

const give = (page: TestBrowser, proof: object) => page.call('POST', '/session/second-factor', proof);

async function firstPasskey(passkey = softwarePasskey(OWNER.email), claims: Claims = {}, origin = ORIGIN) {
  const page = browser();
  const { options } = await expectStatus(
    page.call<{ options: unknown }>('POST', '/session/passkey-options', { step: 'first' }),
    200,
  );
  const response = assertWith(passkey, options, origin, claims);
  return { page, response, reply: await page.call('POST', '/session/passkey', { response }) };
}

describe('a passkey', () => {
  test('signs in alone when it verified the person, and the e-mail is not asked', async () => {
    await appliance.claim();

    const { page, reply } = await firstPasskey();

    expect(reply).toMatchObject({ status: 201, body: { restricted: false, user: { email: OWNER.email } } });
    expect((await page.call('GET', '/workspaces')).status).toBe(200);
  });

  test.each<[string, { claims?: Claims; origin?: string; seed?: string }]>([
    ['that did not verify the person', { claims: { verified: false } }],
    ['of another relying party', { claims: { relyingParty: 'evil.example' } }],
    ['from a page of another origin', { origin: 'https://evil.example' }],
    ['from another port', { origin: 'https://localhost:8443' }],
    ['that nobody knows', { seed: 'stranger' }],
  ])('%s is refused as first step', async (_, { claims, origin, seed }) => {
    await appliance.claim();

    const { reply, page } = await firstPasskey(softwarePasskey(seed ?? OWNER.email), claims, origin);

    expect(reply.status).toBe(401);
    expect((await page.call('GET', '/session')).status).toBe(401);
  });

  test('answers a challenge once, and only that of its own browser', async () => {
    await appliance.claim();
    const { page, response, reply } = await firstPasskey();
    expect(reply.status).toBe(201);

    expect((await page.call('POST', '/session/passkey', { response })).status).toBe(401);
    const other = browser();
    await other.call('POST', '/session/passkey-options', { step: 'first' });
    expect((await other.call('POST', '/session/passkey', { response })).status).toBe(401);
  });

  test('whose counter does not move on is refused as a copy', async () => {
    await appliance.claim();
    const stuck = { ...softwarePasskey(OWNER.email), counter: () => 7 };

    expect((await firstPasskey(stuck)).reply.status).toBe(401);
  });

  test('is the second step after the password too, verified or not', async () => {
    await appliance.claim();
    const { page, reply } = await withPassword();
    expect(reply.body).toMatchObject({ ways: ['passkey', 'recovery-code'] });
    const { options } = await expectStatus(
      page.call<{ options: unknown }>('POST', '/session/passkey-options', { step: 'second' }),
      200,
    );
    const response = assertWith(softwarePasskey(OWNER.email), options, ORIGIN, { verified: false });

    expect((await give(page, { kind: 'passkey', response })).status).toBe(201);
  });

  test('of somebody else is no second step', async () => {
    await appliance.claim();
    const admin = await appliance.addPerson('admin');
    expect((await admin.call('GET', '/overview')).status).toBe(200);
    const [row] = await appliance.deps.db
      .selectFrom('passkeys')
      .select('user_id')
      .where('user_id', '=', admin.userId)
      .execute();
    expect(row).toBeDefined();
    const { page } = await withPassword();
    const { options } = await expectStatus(
      page.call<{ options: unknown }>('POST', '/session/passkey-options', { step: 'second' }),
      200,
    );
    const session = (await admin.call<{ user: { email: string } }>('GET', '/session')).body;
    const response = assertWith(softwarePasskey(session.user.email), options, ORIGIN);

    expect((await give(page, { kind: 'passkey', response })).status).toBe(401);
  });

  test('cannot be made where the address is a number, and the page is told why', async () => {
    const page = browser();
    await expectStatus(page.call('POST', '/setup/claim', { code: appliance.claimCode, owner: OWNER }), 201);
    const headers = { host: '192.0.2.7' };

    const ways = await page.call('GET', '/me/sign-in', undefined, { headers });
    const options = await page.call('POST', '/me/passkeys/options', undefined, { headers });

    expect(ways.body.passkeysImpossible).toMatch(/IP address/);
    expect(options.status).toBe(409);
  });

  test('of somebody else is neither renamed nor removed', async () => {
    const owner = await appliance.claim();
    const { body } = await owner.call<{ passkeys: { id: string }[] }>('GET', '/me/sign-in');
    const admin = await appliance.addPerson('admin');
    const path = `/me/passkeys/${body.passkeys[0]?.id ?? ''}`;

    expect((await admin.call('PATCH', path, { name: 'Mine' })).status).toBe(404);
    expect((await admin.call('DELETE', path)).status).toBe(404);
    expect((await owner.call('GET', '/me/sign-in')).body).toEqual(body);
  });

  test('has a name, which is sealed; several may be there; the last cannot be taken away', async () => {
    const page = browserOf(appliance.app, (await appliance.claim()).cookie);
    expect(await addTestPasskey(page.call, ORIGIN, softwarePasskey('second'))).toBeUndefined();
    type Ways = { passkeys: { id: string; name: string }[] };
    const [first, second] = (await page.call<Ways>('GET', '/me/sign-in')).body.passkeys;
    await expectStatus(page.call('PATCH', `/me/passkeys/${second?.id}`, { name: 'Key on my ring' }), 204);
    const rows = await appliance.deps.db.selectFrom('passkeys').selectAll().execute();
    expect(rows.some((row) => row.name_sealed.includes('ring'))).toBe(false);

    await expectStatus(page.call('DELETE', `/me/passkeys/${first?.id}`), 201);

    expect((await page.call<Ways>('GET', '/me/sign-in')).body.passkeys).toMatchObject([
      { name: 'Key on my ring' },
    ]);
    expect((await page.call('DELETE', `/me/passkeys/${second?.id}`)).body).toMatchObject({
      error: { code: 'wrong_state' },
    });
    expect((await page.call<Ways>('GET', '/me/sign-in')).body.passkeys).toHaveLength(1);
  });

  test('that is known already, or answers another challenge, is not taken', async () => {
    const page = browserOf(appliance.app, (await appliance.claim()).cookie);
    const asked = await expectStatus(page.call<{ options: unknown }>('POST', '/me/passkeys/options'), 200);
    const known = attest(softwarePasskey(OWNER.email), asked.options, ORIGIN);
    expect((await page.call('POST', '/me/passkeys', { name: 'Again', response: known })).status).toBe(409);
    await page.call('POST', '/me/passkeys/options');
    const late = attest(softwarePasskey('late'), asked.options, ORIGIN);

    expect((await page.call('POST', '/me/passkeys', { name: 'Late', response: late })).status).toBe(400);
    expect((await page.call('POST', '/me/passkeys', { name: 'None', response: late })).status).toBe(409);
  });
});

test('a person who was disabled meanwhile does not get in by the second step or a passkey', async () => {
  await appliance.claim();
  const { page } = await withPassword();
  const { options } = await expectStatus(
    page.call<{ options: unknown }>('POST', '/session/passkey-options', { step: 'second' }),
    200,
  );
  await appliance.deps.db.updateTable('users').set({ disabled_at: new Date() }).execute();
  const response = assertWith(softwarePasskey(OWNER.email), options, ORIGIN);

  expect((await give(page, { kind: 'passkey', response })).status).toBe(401);
  expect((await firstPasskey()).reply.status).toBe(401);
});
