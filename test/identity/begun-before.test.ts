/** What was begun before a right was taken away does not end after it. */
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SentInvitation } from '../../server/identity/invitations/schema.ts';
import { hashPassword } from '../../server/identity/passwords/password-hash.ts';
import {
  browserOf,
  expectStatus,
  OWNER,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';

let appliance: TestAppliance;
let owner: TestCaller;
beforeEach(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterEach(() => appliance.close());

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

describe('an act whose body came slowly', () => {
  test('is refused when the session was ended meanwhile', async () => {
    const thief = await appliance.addPerson('owner');
    const victim = await appliance.addPerson('member');
    const whole = JSON.stringify({ role: 'owner' });
    let sendRest: () => void = () => undefined;
    const rest = new Promise<void>((resolve) => (sendRest = resolve));
    const body = Readable.from(
      (async function* () {
        yield whole.slice(0, 5);
        await rest;
        yield whole.slice(5);
      })(),
    );
    const reply = appliance.app.inject({
      ...{ method: 'PUT', url: `/api/v1/people/${victim.userId}/role`, payload: body },
      headers: { cookie: thief.cookie, 'x-holdfast': '1', 'content-type': 'application/json' },
    });
    await pause(1_100);
    await expectStatus(owner.call('DELETE', `/people/${thief.userId}/sessions`), 200);
    sendRest();

    expect((await reply).statusCode).toBe(401);
    const { role } = await appliance.deps.db
      .selectFrom('users')
      .select('role')
      .where('id', '=', victim.userId)
      .executeTakeFirstOrThrow();
    expect(role).toBe('member');
  });
});

describe('a sign-in whose password was looked at', () => {
  test('opens nothing when the password was changed meanwhile', async () => {
    const person = await appliance.addPerson('member');
    const newHash = await hashPassword('another kettle hums 8');
    // Others in front of it: their passwords are looked at first.
    const crowd = Array.from({ length: 6 }, (_, index) =>
      browserOf(appliance.app).call('POST', '/session', {
        email: `nobody-${index}@example.org`,
        password: 'x',
      }),
    );
    const late = browserOf(appliance.app).call('POST', '/session', {
      email: person.email,
      password: OWNER.password,
    });
    await pause(50);
    await appliance.deps.db
      .updateTable('users')
      .set({ password_hash: newHash })
      .where('id', '=', person.userId)
      .execute();

    expect((await late).status).toBe(401);
    await Promise.all(crowd);
  });
});

describe('an invitation', () => {
  test('is withdrawn with the account of the owner who sent it, or their role', async () => {
    for (const end of ['deactivate', 'role'] as const) {
      const leaver = await appliance.addPerson('owner');
      const sent = await expectStatus(
        leaver.call<SentInvitation>('POST', '/invitations', {
          email: `back-${end}@example.org`,
          role: 'owner',
        }),
        201,
      );
      const path = `/people/${leaver.userId}`;
      const ended =
        end === 'role'
          ? await owner.call('PUT', `${path}/role`, { role: 'member' })
          : await owner.call('POST', `${path}/deactivate`);
      expect(ended.status).toBeLessThan(300);

      const token = sent.link?.split('#')[1] ?? '';
      const accepted = await appliance.stranger.call('POST', '/invitations/accept', {
        ...{ token, name: 'Mallory', password: 'amber lantern walks 9' },
      });
      expect(accepted.status).toBe(404);
    }
  });
});

describe('an API key', () => {
  const ask = (token: string, method: 'GET' | 'POST', path: string) =>
    appliance.app.inject({
      ...{ method, url: `/api/v1${path}` },
      headers: { authorization: `Bearer ${token}`, host: 'localhost' },
    });

  test('of a member rests from when members need a second factor, until its person has one', async () => {
    const member = await appliance.addPerson('member');
    const { id } = await createTestWorkspace(appliance.deps, member.userId);
    const made = await expectStatus(
      member.call<{ token: string }>('POST', '/api-keys', {
        ...{ name: 'importer', workspaceId: id, rights: ['files.read'] },
      }),
      201,
    );
    expect((await ask(made.token, 'GET', '/workspaces')).statusCode).toBe(200);
    const settings = await expectStatus(owner.call<object>('GET', '/settings/sessions'), 200);
    await expectStatus(
      owner.call('PUT', '/settings/sessions', { ...settings, membersNeedSecondFactor: true }),
      200,
    );

    const refused = await ask(made.token, 'GET', '/workspaces');
    expect([refused.statusCode, refused.body]).toEqual([
      403,
      expect.stringContaining('second_factor_required'),
    ]);
  });

  test('of an owner gives no consent that only an owner may give', async () => {
    const made = await expectStatus(
      owner.call<{ token: string }>('POST', '/api-keys', {
        ...{ name: 'nightly', workspaceId: null, rights: ['backups.run'] },
      }),
      201,
    );

    const refused = await ask(made.token, 'POST', '/snapshots?acceptWarnings=true');
    expect([refused.statusCode, refused.body]).toEqual([403, expect.stringContaining('Only an owner')]);
  });

  test('log of a workspace is not there for those who do not belong to it', async () => {
    const member = await appliance.addPerson('member');
    const { id } = await createTestWorkspace(appliance.deps, member.userId);
    const other = await appliance.addPerson('member');

    expect((await member.call('GET', `/api-log/settings/${id}`)).status).toBe(200);
    expect((await other.call('GET', `/api-log/settings/${id}`)).status).toBe(404);
    expect((await other.call('GET', `/api-log?scope=${id}`)).status).toBe(404);
    expect((await other.call('GET', '/api-log?scope=appliance')).status).toBe(404);
  });
});
