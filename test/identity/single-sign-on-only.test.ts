import { randomUUID } from 'node:crypto';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import {
  expectStatus,
  ORIGIN,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import type { IdentityProvider } from '../helpers/identity-provider.ts';
import {
  callerIn,
  linkThere,
  setProvider,
  settingsFor,
  signInThere,
  startProviderFor,
} from '../helpers/single-sign-on.ts';
import { addTestPasskey } from '../helpers/sign-in.ts';
import { softwarePasskey } from '../helpers/software-passkey.ts';

let appliance: TestAppliance;
let provider: IdentityProvider;
let owner: TestCaller;
const closing: (() => Promise<void>)[] = [];

interface Preview {
  since: string | null;
  linked: number;
  passwordsRemoved: number;
  factorsRemoved: number;
  factorsKept: number;
  lockedOut: { id: string }[];
  lockedOutCount: number;
  obstacles: string[];
  withoutPassword: number;
}

beforeEach(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  provider = await startProviderFor(appliance);
  await setProvider(owner, provider);
  const [kept, keptProvider] = [appliance, provider];
  closing.push(async () => {
    await keptProvider.stop();
    await kept.close();
  });
});
afterAll(async () => {
  for (const close of closing) await close();
});

const preview = () => expectStatus(owner.call<Preview>('GET', '/settings/single-sign-on/only'), 200);
const someone = () => {
  const sub = `sub-${randomUUID()}`;
  return { sub, email: `${sub}@example.org`, name: 'Grace' };
};
const byPassword = (email: string) =>
  appliance.stranger.call('POST', '/session', { email, password: OWNER.password });

async function switchOn(): Promise<Preview> {
  const { linked } = await preview();
  return expectStatus(owner.call<Preview>('PUT', '/settings/single-sign-on/only', { on: true, linked }), 200);
}

describe('it is not switched on', () => {
  test('while somebody would be locked out, who is named', async () => {
    const member = await appliance.addPerson('member');

    const before = await preview();
    const reply = await owner.call('PUT', '/settings/single-sign-on/only', { on: true, linked: 0 });

    expect(before).toMatchObject({ lockedOutCount: 1, lockedOut: [{ id: member.userId }] });
    expect(reply.status).toBe(409);
    expect((await byPassword(member.email)).status).toBe(201);
  });

  test('while somebody is linked with an earlier provider, which opens nothing any more', async () => {
    const linkedThere = await signInThere(appliance, provider, someone());
    await setProvider(owner, provider, { issuer: 'https://another.example' });
    const settings = await expectStatus(
      owner.call<{ linkedPeople: number }>('GET', '/settings/single-sign-on'),
      200,
    );
    const elsewhere = await preview();
    await setProvider(owner, provider);

    expect(linkedThere.status).toBe(201);
    expect(settings.linkedPeople).toBe(0);
    expect(elsewhere).toMatchObject({ linked: 0, lockedOutCount: 1 });
    expect((await preview()).lockedOutCount).toBe(0);
  });

  test('without a provider, or when more people changed than the preview said', async () => {
    await signInThere(appliance, provider, someone());
    const stale = await owner.call('PUT', '/settings/single-sign-on/only', { on: true, linked: 0 });
    await setProvider(owner, provider, { enabled: false });
    const without = await owner.call('PUT', '/settings/single-sign-on/only', { on: true, linked: 1 });

    expect([stale.status, without.status]).toEqual([409, 409]);
    expect((await preview()).since).toBeNull();
  });

  test('by anybody but an owner, nor without a fresh proof', async () => {
    const admin = await appliance.addPerson('admin');
    owner.proves = false;
    appliance.clock.offsetMs = 11 * 60_000;

    const byAdmin = await admin.call('PUT', '/settings/single-sign-on/only', { on: true, linked: 0 });
    const stale = await owner.call('PUT', '/settings/single-sign-on/only', { on: true, linked: 0 });

    expect([byAdmin.status, stale.status]).toEqual([403, 403]);
  });
});

describe('once it is on', () => {
  test('people who are not owners have no password, factor or open session here', async () => {
    const member = await appliance.addPerson('member');
    await linkThere(appliance, member, provider, { ...someone(), sub: 'the-member' });

    const after = await switchOn();
    const told = await member.call<{ error: { code: string } }>('GET', '/session');
    const password = await byPassword(member.email);
    const there = await signInThere(appliance, provider, { ...someone(), sub: 'the-member' });
    const ways = await appliance.stranger.call('GET', '/sign-in/ways');

    expect(after).toMatchObject({ linked: 1, passwordsRemoved: 0, withoutPassword: 1 });
    expect(told.body.error.code).toBe('session_ended');
    expect([password.status, there.status]).toEqual([401, 201]);
    expect(ways.body).toMatchObject({ password: false, singleSignOn: { name: 'Acme login' } });
  });

  test('an administrator keeps the factor, where the provider vouches for none, and is asked for it', async () => {
    const admin = await appliance.addPerson('admin');
    await linkThere(appliance, admin, provider, { ...someone(), sub: 'the-admin' });
    const weak = await preview();
    await setProvider(owner, provider, { strongAcr: ['gold'] });
    const strong = await preview();
    await setProvider(owner, provider);

    await switchOn();
    const there = await signInThere(appliance, provider, { ...someone(), sub: 'the-admin' });

    expect(weak).toMatchObject({ factorsKept: 1, factorsRemoved: 0, passwordsRemoved: 1 });
    expect(strong).toMatchObject({ factorsKept: 0, factorsRemoved: 1 });
    expect(there.status).toBe(202);
  });

  test('nobody but owners gets a password or factor', async () => {
    await setProvider(owner, provider, { strongAcr: ['gold'] });
    const sent = await expectStatus(
      owner.call<{ link: string }>('POST', '/invitations', { email: 'new@example.org', role: 'member' }),
      201,
    );
    const token = sent.link.split('#')[1];
    await switchOn();
    const person = someone();

    const invited = await appliance.stranger.call('POST', '/invitations/accept', {
      ...{ token, name: 'New', password: 'copper kettle sings 8' },
    });
    const there = await signInThere(appliance, provider, person, { begin: { invitation: token } });
    const who = callerIn(appliance, there);
    const factor = addTestPasskey((...asked) => who.call(...asked), ORIGIN, softwarePasskey(person.email));

    expect(invited.status).toBe(409);
    expect(there.status).toBe(201);
    await expect(factor).rejects.toThrow('answered 409');
  });

  test('an owner comes in with a password and a second factor, and the other owners hear of it', async () => {
    const second = await appliance.addPerson('owner');
    await switchOn();

    const inside = await appliance.signIn(OWNER.email, OWNER.password);
    const alerts = await expectStatus(second.call<{ alerts: { kind: string }[] }>('GET', '/sessions'), 200);
    const own = await expectStatus(inside.call<{ alerts: { kind: string }[] }>('GET', '/sessions'), 200);
    const { items } = await expectStatus(
      owner.call<{ items: unknown[] }>('GET', '/audit?action=identity.session.past-single-sign-on'),
      200,
    );

    expect(alerts.alerts.map(({ kind }) => kind)).toEqual(['past-single-sign-on']);
    expect(own.alerts).toEqual([]);
    expect(items).toHaveLength(1);
  });

  test('the provider stays, and an owner who would be locked out does not step down', async () => {
    const second = await appliance.addPerson('owner');
    await switchOn();

    const removed = await owner.call('DELETE', '/settings/single-sign-on');
    const off = await owner.call(
      'PUT',
      '/settings/single-sign-on',
      settingsFor(provider, { enabled: false }),
    );
    const moved = await owner.call(
      'PUT',
      '/settings/single-sign-on',
      settingsFor(provider, { issuer: 'https://example.org' }),
    );
    const lowered = await owner.call('PUT', `/people/${second.userId}/role`, { role: 'member' });

    expect([removed.status, off.status, moved.status, lowered.status]).toEqual([409, 409, 409, 409]);
  });

  test('an owner who is linked steps down without what only owners have here', async () => {
    const second = await appliance.addPerson('owner');
    await linkThere(appliance, second, provider, { ...someone(), sub: 'the-second' });
    await switchOn();

    await expectStatus(owner.call('PUT', `/people/${second.userId}/role`, { role: 'member' }), 200);
    const password = await byPassword(second.email);
    const there = await signInThere(appliance, provider, { ...someone(), sub: 'the-second' });

    expect([password.status, there.status]).toEqual([401, 201]);
  });

  test('the last owner with password and second factor keeps role and account', async () => {
    const second = await appliance.addPerson('owner');
    const member = await appliance.addPerson('member');
    const me = await expectStatus(owner.call<{ user: { id: string } }>('GET', '/session'), 200);
    const { id } = me.user;
    for (const who of [{ ...owner, userId: id }, second, member])
      await linkThere(appliance, who, provider, { ...someone(), sub: `the-${who.userId}` });
    await switchOn();
    const { db } = appliance.deps;
    const users = () => db.updateTable('users').where('id', '=', second.userId);
    const { password_hash } = await db
      .selectFrom('users')
      .select('password_hash')
      .where('id', '=', second.userId)
      .executeTakeFirstOrThrow();
    await users().set({ password_hash: null }).execute();

    const lowered = await owner.call('PUT', `/people/${id}/role`, { role: 'member' });
    const shut = await owner.call('POST', `/people/${id}/deactivate`);
    const several = await owner.call('POST', '/people/deactivate-several', {
      ...{ userIds: [id, member.userId], reason: 'They left' },
    });
    const lost = await second.call('DELETE', `/people/${id}/second-factors`, { reason: 'A lost phone' });
    await users().set({ password_hash }).execute();
    const after = await owner.call('PUT', `/people/${id}/role`, { role: 'member' });

    const told = [lowered, shut, several, lost].map(({ status, body }) => [status, JSON.stringify(body)]);
    expect(told).toEqual(
      told.map(() => [409, expect.stringContaining('No owner with a password') as string]),
    );
    expect(after.status).toBe(200);
  });

  test('it is switched off again, and says how many have no password', async () => {
    const person = someone();
    await signInThere(appliance, provider, person);
    await switchOn();

    const off = await expectStatus(
      owner.call<Preview>('PUT', '/settings/single-sign-on/only', { on: false }),
      200,
    );
    const there = await signInThere(appliance, provider, person);

    expect(off).toMatchObject({ since: null, withoutPassword: 1 });
    expect(there.status).toBe(201);
  });
});
