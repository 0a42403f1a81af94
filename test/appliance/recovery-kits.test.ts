import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answerKitChallenge, generateAgeIdentity } from '../../server/keys/index.ts';
import {
  expectStatus,
  OWNER,
  proveTestKit,
  SETTINGS,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
  type TestKit,
} from '../helpers/appliance.ts';

let appliance: TestAppliance;
let owner: TestCaller;
let kit: TestKit;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterAll(() => appliance.close());

async function bannerKinds(caller: TestCaller): Promise<string[]> {
  const { body } = await caller.call<{ banners: { kind: string }[] }>('GET', '/session');
  return body.banners.map((banner) => banner.kind);
}

describe('settings', () => {
  test('a region of its own that is not allowed is refused', async () => {
    const reply = await owner.call('PUT', '/settings/appliance', {
      ...SETTINGS,
      allowedRegions: ['us-east'],
    });

    expect(reply.status).toBe(400);
    expect((await owner.call('GET', '/settings/appliance')).body.region).toBeNull();
  });

  test('a kit cannot be begun before the appliance has a name', async () => {
    const { recipient } = await generateAgeIdentity();

    expect((await owner.call('POST', '/recovery-kits', { recipient })).status).toBe(409);
  });

  test('a change is kept, audited with before and after, and shown by a banner where it is not production', async () => {
    await expectStatus(owner.call('PUT', '/settings/appliance', { ...SETTINGS, stage: 'staging' }), 200);

    expect(await bannerKinds(owner)).toContain('stage');
    const { body } = await owner.call<{ items: { detail: unknown }[] }>(
      'GET',
      '/audit?action=appliance.settings.changed',
    );
    expect(body.items[0]?.detail).toMatchObject({
      before: { stage: 'production' },
      after: { stage: 'staging' },
    });
    await expectStatus(owner.call('PUT', '/settings/appliance', SETTINGS), 200);
    expect(await bannerKinds(owner)).not.toContain('stage');
  });
});

describe('recovery kits', () => {
  test('a wrong answer proves nothing, uses the challenge up, and is audited', async () => {
    const made = await generateAgeIdentity();
    const begun = await expectStatus(
      owner.call<{ kitId: string; challenge: string }>('POST', '/recovery-kits', {
        recipient: made.recipient,
      }),
      201,
    );

    const wrong = await owner.call('POST', `/recovery-kits/${begun.kitId}/proof`, {
      response: 'f'.repeat(64),
    });
    const late = await owner.call('POST', `/recovery-kits/${begun.kitId}/proof`, {
      response: await answerKitChallenge(begun.kitId, made.identity, begun.challenge),
    });

    expect(wrong.status).toBe(400);
    expect(wrong.body).toMatchObject({ error: { code: 'wrong_key' } });
    expect(late.status).toBe(404);
    expect((await owner.call<{ items: unknown[] }>('GET', '/recovery-kits')).body.items).toEqual([]);
    expect(await bannerKinds(owner)).toContain('kit-unproven');
    const { body } = await owner.call<{ items: unknown[] }>(
      'GET',
      '/audit?action=appliance.recovery-kit.refused',
    );
    expect(body.items).toHaveLength(1);
  });

  test('a secret key is not taken for a recipient', async () => {
    const { identity } = await generateAgeIdentity();

    const reply = await owner.call('POST', '/recovery-kits', { recipient: identity });

    expect(reply.status).toBe(400);
    expect(JSON.stringify(reply.body)).not.toContain(identity);
  });

  test('the right answer proves it and brings the repository to life', async () => {
    kit = await proveTestKit(owner);

    const { body } = await owner.call<{ items: { id: string; state: string }[] }>('GET', '/recovery-kits');
    expect(body.items).toMatchObject([{ id: kit.id, state: 'proven' }]);
    expect((await appliance.deps.keys.status()).repository).toMatchObject({
      claimed: true,
      repositoryId: kit.repositoryId,
    });
    expect(await bannerKinds(owner)).not.toContain('kit-unproven');
    expect((await owner.call('GET', '/setup')).body).toMatchObject({
      claimed: true,
      complete: false,
      steps: { appliance: true, kit: true, target: false },
    });
  });

  test('it can be proven again later', async () => {
    const { challenge } = await expectStatus(
      owner.call<{ challenge: string }>('POST', `/recovery-kits/${kit.id}/challenge`),
      200,
    );
    const response = await answerKitChallenge(kit.id, kit.identity, challenge);

    expect((await owner.call('POST', `/recovery-kits/${kit.id}/proof`, { response })).status).toBe(200);
  });

  describe('sealed by a set-up file', () => {
    const sealed = Buffer.from(`age-encryption.org/v1\n${'x'.repeat(200)}`);
    const keep = (id: string, content: Buffer) =>
      appliance.console.call('PUT', `/recovery-kits/${id}/sealed`, { sealed: content.toString('base64') });
    const path = () => `/recovery-kits/${kit.id}/sealed`;

    test('are kept for the owner alone, fetched as they are, and removed', async () => {
      await expectStatus(keep(kit.id, sealed), 204);

      const { items } = (await owner.call<{ items: { sealedCopy: boolean }[] }>('GET', '/recovery-kits'))
        .body;
      expect(items.map((item) => item.sealedCopy)).toEqual([true]);
      const fetched = await owner.call<Buffer>('GET', path());
      expect(Buffer.from(fetched.body)).toEqual(sealed);
      await expectStatus(owner.call('DELETE', path()), 204);
      expect((await owner.call('GET', path())).status).toBe(404);
      const { body } = await owner.call<{ items: { action: string }[] }>('GET', `/audit?objectId=${kit.id}`);
      expect(body.items.map((entry) => entry.action).filter((action) => action.includes('copy'))).toEqual([
        'appliance.recovery-kit.copy-removed',
        'appliance.recovery-kit.copy-fetched',
        'appliance.recovery-kit.copy-kept',
      ]);
    });

    test('cannot be put there by a session, and must be age files', async () => {
      const body = { sealed: sealed.toString('base64') };
      expect((await owner.call('PUT', path(), body)).status).toBe(404);
      expect((await keep(kit.id, Buffer.from('{"secret":"in the open"}'))).status).toBe(400);
    });

    test('that were never proven go with the next one', async () => {
      const [first, second] = [randomUUID(), randomUUID()];
      await expectStatus(keep(first, sealed), 204);
      await expectStatus(keep(kit.id, sealed), 204);
      await expectStatus(keep(second, sealed), 204);

      expect((await owner.call('GET', `/recovery-kits/${first}/sealed`)).status).toBe(404);
      for (const id of [kit.id, second])
        expect((await owner.call('DELETE', `/recovery-kits/${id}/sealed`)).status).toBe(204);
    });
  });
});

describe('an owner who lost the password', () => {
  const password = 'a new kettle of brass 9';
  const recover = async (identity: string, newPassword: string) => {
    const { challenge } = await expectStatus(
      appliance.console.call<{ challenge: string }>('POST', `/recovery-kits/${kit.id}/challenge`),
      200,
    );
    const response = await answerKitChallenge(kit.id, identity, challenge).catch(() => 'f'.repeat(64));
    return appliance.console.call('POST', '/console/recover-owner', {
      kitId: kit.id,
      response,
      password: newPassword,
    });
  };

  test('gets nothing with another kit, nor with a weak password', async () => {
    const other = await generateAgeIdentity();

    expect((await recover(other.identity, password)).status).toBe(400);
    expect((await recover(kit.identity, 'password1')).status).toBe(400);

    await expect(appliance.signIn(OWNER.email, OWNER.password)).resolves.toBeDefined();
    expect(await bannerKinds(owner)).not.toContain('console-recovery');
  });

  test('has no such way but the console', async () => {
    const body = { kitId: kit.id, response: 'f'.repeat(64), password };

    expect((await owner.call('POST', '/console/recover-owner', body)).status).toBe(404);
  });

  test('is let back in with kit and console: old sessions end, it is audited, everyone sees a banner', async () => {
    const reply = await recover(kit.identity, password);

    expect(reply.status).toBe(200);
    expect((await owner.call('GET', '/session')).status).toBe(401);
    await expect(appliance.signIn(OWNER.email, OWNER.password)).rejects.toThrow('401');
    const again = await appliance.signIn(OWNER.email, password);
    expect(await bannerKinds(again)).toContain('console-recovery');
    const { body } = await again.call<{ items: { actorKind: string; actorLabel: string | null }[] }>(
      'GET',
      '/audit?action=appliance.owner.recovered',
    );
    expect(body.items).toMatchObject([{ actorKind: 'console', actorLabel: expect.any(String) as unknown }]);
  });

  test('is refused when there is another owner who can help', async () => {
    await appliance.addPerson('owner');

    expect((await recover(kit.identity, password)).status).toBe(409);
  });
});

describe('signing out', () => {
  test('ends the session on the server and clears the browser', async () => {
    const person = await appliance.addPerson('member');

    const reply = await person.call('DELETE', '/session');

    expect(reply.status).toBe(204);
    expect(reply.headers['clear-site-data']).toBe('"cache", "cookies", "storage"');
    expect(reply.headers['set-cookie']).toContain('Max-Age=0');
    expect((await person.call('GET', '/session')).status).toBe(401);
  });
});
