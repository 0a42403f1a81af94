/** Keys for programs: what they may do, from where, for how long, and what is kept of what they did. */
import type { FastifyInstance, InjectOptions } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildApp } from '../../server/app.ts';
import { pruneApiLog, tellOfEndingKeys } from '../../server/identity/index.ts';
import { decodeToken } from '../../server/identity/api-keys/token.ts';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';

interface Made {
  token: string;
  key: { id: string; prefix: string; state: string; lastUsedAt: string | null };
}
interface Place {
  id: string;
  rootFolderId: string;
}

let appliance: TestAppliance;
let owner: TestCaller;
let member: TestCaller & { userId: string };
let mine: Place;
let other: Place;
/** Another server process on the same database. */
let second: FastifyInstance;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  member = await appliance.addPerson('member');
  [mine, other] = [
    await createTestWorkspace(appliance.deps, member.userId),
    await createTestWorkspace(appliance.deps, member.userId),
  ];
  second = await buildApp(appliance.deps);
  await second.ready();
});
afterAll(async () => {
  await second.close();
  await appliance.close();
});

async function make(who: TestCaller, wanted: Record<string, unknown> = {}): Promise<Made> {
  const reply = await who.call<Made>('POST', '/api-keys', {
    ...{ name: 'importer', workspaceId: mine.id, rights: ['files.read', 'files.write'] },
    ...wanted,
  });
  expect([reply.status, JSON.stringify(reply.body)]).toEqual([201, expect.any(String)]);
  return reply.body;
}

/** As a program does: no cookie, no header of ours. */
async function ask(
  token: string,
  method: InjectOptions['method'],
  path: string,
  { app = appliance.app, ...more }: InjectOptions & { app?: FastifyInstance } = {},
) {
  const headers = { authorization: `Bearer ${token}`, host: 'localhost', ...more.headers };
  const reply = await app.inject({ ...more, method, url: `/api/v1${path}`, headers } as InjectOptions);
  const body = (reply.body === '' ? {} : JSON.parse(reply.body)) as Record<string, unknown>;
  return { status: reply.statusCode, body };
}

const upload = (folderId: string, token: string, name: string) =>
  ask(token, 'PUT', `/folders/${folderId}/files?name=${name}`, {
    headers: { 'content-type': 'application/octet-stream' },
    payload: Buffer.from('content'),
  });

describe('a key', () => {
  test('that is none, was mistyped or has another secret is refused', async () => {
    const { token } = await make(member);
    const mistyped = `${token.slice(0, 20)}${token[20] === 'a' ? 'b' : 'a'}${token.slice(21)}`;
    const stranger = await make(owner, { workspaceId: null, rights: ['operations.read'] });
    const crossed = token.slice(0, 14) + stranger.token.slice(14);

    expect(decodeToken(token)).toBeDefined();
    expect(decodeToken(mistyped)).toBeUndefined();
    expect(token).toMatch(/^hf_[a-z2-7]{10}_[0-9A-Za-z]{49}$/);
    for (const wrong of ['x', 'hf_', mistyped, crossed, `${token}A`]) {
      expect([wrong, (await ask(wrong, 'GET', '/workspaces')).status]).toEqual([wrong, 401]);
    }
  });

  test('of one workspace sees no other one of the same person', async () => {
    const { token } = await make(member);

    const listed = await ask(token, 'GET', '/workspaces');
    const own = await ask(token, 'GET', `/folders/${mine.rootFolderId}`);
    const foreign = await ask(token, 'GET', `/folders/${other.rootFolderId}`);
    const written = await upload(other.rootFolderId, token, 'x');

    expect((listed.body.items as { id: string }[]).map(({ id }) => id)).toEqual([mine.id]);
    expect([own.status, foreign.status, written.status]).toEqual([200, 404, 404]);
    expect((await upload(mine.rootFolderId, token, 'taken')).status).toBe(201);
  });

  test('has only the rights that it was given, and none of people, sessions and settings', async () => {
    const reader = await make(member, { rights: ['files.read'] });
    const watcher = await make(owner, { workspaceId: null, rights: ['operations.read'] });

    expect((await upload(mine.rootFolderId, reader.token, 'no')).status).toBe(403);
    expect((await ask(watcher.token, 'GET', '/overview')).status).toBe(200);
    for (const [method, path] of [
      ['GET', '/session'],
      ['GET', '/sessions'],
      ['GET', '/people'],
      ['GET', '/api-keys'],
      ['POST', '/api-keys'],
      ['POST', '/snapshots'],
      ['GET', '/audit'],
      ['GET', '/workspaces'],
      ['PUT', '/settings/appliance'],
      ['GET', '/mail'],
    ] as const) {
      const reply = await ask(watcher.token, method, path, method === 'GET' ? {} : { payload: {} });
      expect([path, reply.status]).toEqual([path, 403]);
    }
  });

  test('cannot be made with more than its maker may do, or for a workspace that is not theirs', async () => {
    const foreign = await createTestWorkspace(
      appliance.deps,
      (await owner.call<{ user: { id: string } }>('GET', '/session')).body.user.id,
    );
    const refusals: [Record<string, unknown>, number][] = [
      [{ workspaceId: null, rights: ['operations.read'] }, 400],
      [{ rights: ['operations.read'] }, 400],
      [{ rights: ['account.own'] }, 400],
      [{ rights: [] }, 400],
      [{ workspaceId: foreign.id }, 404],
      [{ networks: ['192.0.2.0/33'] }, 400],
      [{ networks: ['nowhere'] }, 400],
      [{ days: 366 }, 400],
      [{ name: '  ' }, 400],
    ];
    const before = (await member.call<{ items: unknown[] }>('GET', '/api-keys')).body.items.length;

    for (const [wanted, status] of refusals) {
      const reply = await member.call('POST', '/api-keys', {
        ...{ name: 'x', workspaceId: mine.id, rights: ['files.read'], ...wanted },
      });
      expect([wanted, reply.status]).toEqual([wanted, status]);
    }

    expect((await member.call<{ items: unknown[] }>('GET', '/api-keys')).body.items).toHaveLength(before);
  });

  test('counts only from its networks', async () => {
    const away = await make(member, { networks: ['192.0.2.0/24', '2001:db8::/32'] });
    const here = await make(member, { networks: ['127.0.0.0/8'] });

    expect((await ask(away.token, 'GET', '/workspaces')).status).toBe(403);
    expect((await ask(here.token, 'GET', '/workspaces')).status).toBe(200);
    expect((await ask(away.token, 'GET', '/workspaces', { remoteAddress: '192.0.2.9' })).status).toBe(200);
  });

  test('and a session in one request are refused; a key needs no mark of a page', async () => {
    const { token } = await make(member);

    const both = await ask(token, 'GET', '/workspaces', { headers: { cookie: member.cookie } });
    const written = await upload(mine.rootFolderId, token, 'plain');
    const evil = await ask(token, 'POST', '/session', {
      payload: { email: 'a@b.example', password: 'x' },
    });

    expect([both.status, written.status, evil.status]).toEqual([400, 201, 403]);
  });

  test('that is revoked ends with the next request, in every process', async () => {
    const { token, key } = await make(member);
    expect((await ask(token, 'GET', '/workspaces', { app: second })).status).toBe(200);

    expect((await member.call('DELETE', `/api-keys/${key.id}`)).status).toBe(204);

    expect((await ask(token, 'GET', '/workspaces', { app: second })).status).toBe(401);
    expect((await ask(token, 'GET', '/workspaces')).status).toBe(401);
    expect((await member.call('POST', `/api-keys/${key.id}/rotate`, {})).status).toBe(409);
  });

  test('of somebody else can be revoked by an administrator only', async () => {
    const { key } = await make(member);
    const stranger = await appliance.addPerson('member');
    const admin = await appliance.addPerson('admin');

    expect((await stranger.call('DELETE', `/api-keys/${key.id}`)).status).toBe(404);
    expect((await stranger.call('POST', `/api-keys/${key.id}/rotate`, {})).status).toBe(404);
    expect((await admin.call('POST', `/api-keys/${key.id}/rotate`, {})).status).toBe(404);
    expect((await stranger.call('GET', '/api-keys?all=true')).status).toBe(403);
    const all = await admin.call<{ items: { id: string }[] }>('GET', '/api-keys?all=true');
    expect(all.body.items.map(({ id }) => id)).toContain(key.id);
    expect((await admin.call('DELETE', `/api-keys/${key.id}`)).status).toBe(204);
  });

  test('that is rotated counts beside the new secret as long as was asked for', async () => {
    const { token, key } = await make(member);
    const rotated = await member.call<Made>('POST', `/api-keys/${key.id}/rotate`, { overlapHours: 1 });
    const status = async (one: string) => (await ask(one, 'GET', '/workspaces')).status;

    expect([await status(token), await status(rotated.body.token)]).toEqual([200, 200]);
    appliance.clock.offsetMs += 3_601_000;
    expect([await status(token), await status(rotated.body.token)]).toEqual([401, 200]);
    appliance.clock.offsetMs -= 3_601_000;
    const at = await member.call<Made>('POST', `/api-keys/${key.id}/rotate`, { overlapHours: 0 });
    expect([await status(rotated.body.token), await status(at.body.token)]).toEqual([401, 200]);
  });

  test('runs out, after a notice by mail a week before', async () => {
    const { token, key } = await make(member, { days: 3 });

    await tellOfEndingKeys(appliance.deps);
    await tellOfEndingKeys(appliance.deps);
    const notices = await appliance.deps.db
      .selectFrom('mail_messages')
      .select('template')
      .where('template', '=', 'api-key-ending')
      .execute();
    appliance.clock.offsetMs += 3 * 86_400_000 + 1_000;
    const late = await ask(token, 'GET', '/workspaces');
    appliance.clock.offsetMs -= 3 * 86_400_000 + 1_000;

    expect(notices).toHaveLength(1);
    expect(late).toMatchObject({
      status: 401,
      body: { error: { message: expect.stringContaining('ran out') as string } },
    });
    expect(key.state).toBe('active');
  });

  test('loses what its person loses, and ends with the account for good', async () => {
    const admin = await appliance.addPerson('admin');
    const { token } = await make(admin, { workspaceId: null, rights: ['operations.read', 'backups.run'] });
    const setRole = (role: string) =>
      appliance.deps.db.updateTable('users').set({ role }).where('id', '=', admin.userId).execute();
    expect((await ask(token, 'GET', '/overview')).status).toBe(200);

    await setRole('member');
    expect((await ask(token, 'GET', '/overview')).status).toBe(403);
    await setRole('admin');
    expect((await owner.call('POST', `/people/${admin.userId}/deactivate`, {})).status).toBeLessThan(300);

    expect((await ask(token, 'GET', '/overview')).status).toBe(401);
    await appliance.deps.db
      .updateTable('users')
      .set({ disabled_at: null })
      .where('id', '=', admin.userId)
      .execute();
    expect((await ask(token, 'GET', '/overview')).status).toBe(401);
  });

  test('lies in the database as a hash only', async () => {
    const { token, key } = await make(member);
    const row = await appliance.deps.db
      .selectFrom('api_keys')
      .selectAll()
      .where('id', '=', key.id)
      .executeTakeFirstOrThrow();

    expect(JSON.stringify(row)).not.toContain(token.slice(14));
    expect(row.secret_hash).toHaveLength(32);
  });
});

describe('the log of what keys asked for', () => {
  const logOf = (who: TestCaller, query: string) =>
    who.call<{ items: Record<string, unknown>[]; nextCursor: string | null }>('GET', `/api-log?${query}`);

  test('says when, which key, what and with what answer, without query strings; the audit log names key and person', async () => {
    const { token, key } = await make(member, { name: 'log' });
    await upload(mine.rootFolderId, token, 'canary-name');
    await upload(other.rootFolderId, token, 'refused');

    const entries = await waitFor('the entries', async () => {
      const { body } = await logOf(member, `scope=${mine.id}&key=${key.id}`);
      return body.items.length === 2 ? body.items : undefined;
    });

    expect(entries).toMatchObject([
      { method: 'PUT', route: '/api/v1/folders/:id/files', status: 404, objectId: other.rootFolderId },
      { method: 'PUT', status: 201, objectId: mine.rootFolderId, address: '127.0.0.1', keyId: key.id },
    ]);
    expect(JSON.stringify(entries)).not.toContain('canary-name');
    const failed = await logOf(member, `scope=${mine.id}&key=${key.id}&failed=true`);
    expect(failed.body.items).toHaveLength(1);
    const listed = await member.call<{ items: Made['key'][] }>('GET', '/api-keys');
    expect(listed.body.items.find(({ id }) => id === key.id)?.lastUsedAt).not.toBeNull();
    const audit = await owner.call<{ items: Record<string, unknown>[] }>(
      'GET',
      `/audit?actor=${member.userId}&action=workspaces.file.uploaded`,
    );
    expect(audit.body.items[0]).toMatchObject({
      actorId: member.userId,
      actorLabel: `API key ${key.prefix.slice(3)}`,
    });
  });

  test('names a key that was refused, because it ended or came from elsewhere, and so does the log of requests', async () => {
    const away = await make(member, { networks: ['192.0.2.0/24'] });
    const ended = await make(member);
    await member.call('DELETE', `/api-keys/${ended.key.id}`);
    expect((await ask(away.token, 'GET', '/workspaces')).status).toBe(403);
    expect((await ask(ended.token, 'GET', '/workspaces')).status).toBe(401);
    expect((await ask(`${ended.token.slice(0, 14)}${'0'.repeat(49)}`, 'GET', '/workspaces')).status).toBe(
      401,
    );

    for (const [{ key }, status] of [[away, 403] as const, [ended, 401] as const]) {
      const entries = await waitFor('the entry', async () => {
        const { body } = await logOf(member, `scope=${mine.id}&key=${key.id}`);
        return body.items.length > 0 ? body.items : undefined;
      });
      expect(entries).toMatchObject([{ status, method: 'GET', route: '/api/v1/workspaces' }]);
      const { body } = await member.call<{ items: Made['key'][] }>('GET', '/api-keys');
      expect(body.items.find(({ id }) => id === key.id)?.lastUsedAt).toBeNull();
      const requests = await owner.call<{ items: object[] }>(
        'GET',
        `/requests?who=${member.userId}&status=${status}`,
      );
      expect(requests.body.items[0]).toMatchObject({
        status,
        route: '/api/v1/workspaces',
        who: member.userId,
      });
    }
  });

  test('is not shown to others', async () => {
    const stranger = await appliance.addPerson('member');

    expect((await logOf(stranger, `scope=${mine.id}`)).status).toBe(404);
    expect((await logOf(stranger, 'scope=x')).status).toBe(400);
    expect((await logOf(member, `scope=${mine.id}&cursor=x`)).status).toBe(400);
    const change = { enabled: false, days: 14, reason: null };
    const path = `/api-log/settings/${mine.id}`;
    expect((await stranger.call('PUT', path, change)).status).toBe(404);
    expect((await member.call('PUT', '/api-log/settings/appliance', change)).status).toBe(404);
  });

  test('is kept 14 days, longer only with a reason, and can be switched off', async () => {
    const path = `/api-log/settings/${mine.id}`;
    expect((await member.call('PUT', path, { enabled: true, days: 15, reason: null })).status).toBe(400);
    const longer = { enabled: false, days: 30, reason: 'A contract asks for it' };
    expect((await member.call('PUT', path, longer)).body).toEqual(longer);

    const { token, key } = await make(member, { name: 'off' });
    expect((await ask(token, 'GET', '/workspaces')).status).toBe(200);
    await waitFor('the last use', async () => {
      const { body } = await member.call<{ items: Made['key'][] }>('GET', '/api-keys');
      return body.items.find(({ id }) => id === key.id)?.lastUsedAt ?? undefined;
    });
    expect((await logOf(member, `scope=${mine.id}&key=${key.id}`)).body.items).toEqual([]);

    await member.call('PUT', path, { enabled: true, days: 14, reason: null });
    const later = {
      ...appliance.deps.clock,
      // Keys were refused here at times far ahead of now.
      now: () => new Date(appliance.clock.now().getTime() + 400 * 86_400_000),
    };
    await pruneApiLog({ ...appliance.deps, clock: later });
    expect((await logOf(member, `scope=${mine.id}`)).body.items).toEqual([]);
  });
});
