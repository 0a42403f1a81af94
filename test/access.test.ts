/**
 * Every route and who may call it. A route that is not in this table fails the test: whoever adds one says here, in plain
 * sight, who may call it.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Access, Role } from '../server/identity/index.ts';
import { withClient } from '../server/lib/postgres/index.ts';
import { startTestAppliance, type TestAppliance, type TestCaller } from './helpers/appliance.ts';

const EVERYONE: Access = 'public';
const SIGNED_IN: Access = { roles: ['owner', 'admin', 'auditor', 'member'] };
const READERS: Access = { roles: ['owner', 'admin', 'auditor'] };
const ADMINISTRATORS: Access = { roles: ['owner', 'admin'] };
const OWNER: Access = { roles: ['owner'] };

const CASES: Record<string, Access> = {
  'GET /health/live': EVERYONE,
  'GET /health/ready': EVERYONE,
  'GET /api/openapi.json': EVERYONE,
  'GET /api/v1/setup': EVERYONE,
  'POST /api/v1/setup/claim': 'setup',
  'POST /api/v1/setup/claim-code': 'setup',
  'GET /api/v1/setup/recovery': 'setup',
  'POST /api/v1/setup/recovery': 'setup',
  'POST /api/v1/setup/recovery/look': 'setup',
  'GET /api/v1/session': SIGNED_IN,
  'POST /api/v1/session': EVERYONE,
  'DELETE /api/v1/session': SIGNED_IN,
  'GET /api/v1/settings/appliance': READERS,
  'PUT /api/v1/settings/appliance': OWNER,
  'GET /api/v1/recovery-kits': READERS,
  'POST /api/v1/recovery-kits': OWNER,
  'POST /api/v1/recovery-kits/:id/challenge': OWNER,
  'POST /api/v1/recovery-kits/:id/proof': OWNER,
  'GET /api/v1/recovery-kits/:id/sealed': OWNER,
  'DELETE /api/v1/recovery-kits/:id/sealed': OWNER,
  'GET /api/v1/overview': READERS,
  'GET /api/v1/health-checks': ADMINISTRATORS,
  'GET /api/v1/audit': READERS,
  'GET /api/v1/audit/actions': READERS,
  'GET /api/v1/audit/log': READERS,
  'GET /api/v1/audit/export': READERS,
  'GET /api/v1/audit/selection': READERS,
  'GET /api/v1/audit/entries/:id/proof': READERS,
  'GET /api/v1/audit/retention': READERS,
  'PUT /api/v1/audit/retention': OWNER,
  'POST /api/v1/audit/verifications': READERS,
  'GET /api/v1/audit/filters': READERS,
  'POST /api/v1/audit/filters': READERS,
  'DELETE /api/v1/audit/filters/:id': READERS,
  'GET /api/v1/workspaces': SIGNED_IN,
  'GET /api/v1/folders/:id': SIGNED_IN,
  'POST /api/v1/folders': SIGNED_IN,
  'PUT /api/v1/folders/:id/files': SIGNED_IN,
  'POST /api/v1/folders/:id/paths': SIGNED_IN,
  'POST /api/v1/folders/:id/batch': SIGNED_IN,
  'GET /api/v1/nodes/:id': SIGNED_IN,
  'PATCH /api/v1/nodes/:id': SIGNED_IN,
  'DELETE /api/v1/nodes/:id': SIGNED_IN,
  'GET /api/v1/files/:id/content': SIGNED_IN,
  'GET /api/v1/files/:id/preview': SIGNED_IN,
  'GET /api/v1/targets': READERS,
  'POST /api/v1/targets': ADMINISTRATORS,
  'POST /api/v1/targets/probe': ADMINISTRATORS,
  'POST /api/v1/targets/verify': ADMINISTRATORS,
  'POST /api/v1/targets/prune': ADMINISTRATORS,
  'GET /api/v1/targets/:id': READERS,
  'POST /api/v1/targets/:id/probe': ADMINISTRATORS,
  'POST /api/v1/targets/:id/retire': ADMINISTRATORS,
  'GET /api/v1/schedules': READERS,
  'PUT /api/v1/schedules/:name': ADMINISTRATORS,
  'GET /api/v1/snapshots': READERS,
  'POST /api/v1/snapshots': ADMINISTRATORS,
  'GET /api/v1/snapshots/:id': READERS,
  'DELETE /api/v1/snapshots/:id': ADMINISTRATORS,
  'GET /api/v1/snapshots/:id/content': SIGNED_IN,
  'POST /api/v1/snapshots/:id/restores': SIGNED_IN,
  'GET /api/v1/runs': READERS,
  'GET /api/v1/runs/:id': READERS,
  'GET /api/v1/runs/:id/log': READERS,
  'GET /api/v1/runs/:id/events': READERS,
  'POST /api/v1/runs/:id/cancel': ADMINISTRATORS,
  'GET /api/v1/events': READERS,
  'GET /api/v1/quarantine': READERS,
  'POST /api/v1/quarantine/release': OWNER,
  'GET /api/v1/host/shares': READERS,
  'POST /api/v1/host/shares': ADMINISTRATORS,
  'DELETE /api/v1/host/shares/:id': ADMINISTRATORS,
  'GET /api/v1/host': READERS,
  'POST /api/v1/host/claim-volume': OWNER,
  'POST /api/v1/host/ways': OWNER,
  'PATCH /api/v1/host/ways/:id': OWNER,
  'DELETE /api/v1/host/ways/:id': OWNER,
  'POST /api/v1/host/ways/:id/test': OWNER,
  'DELETE /api/v1/host/unknown-keyslots': OWNER,
  'POST /api/v1/host/volume/grow': ADMINISTRATORS,
  'POST /api/v1/host/power': ADMINISTRATORS,
  'POST /api/v1/host/support-bundle': ADMINISTRATORS,
  'GET /api/v1/host/updates': READERS,
  'PUT /api/v1/host/updates/bundle': ADMINISTRATORS,
  'GET /api/v1/host/updates/upload': READERS,
  'POST /api/v1/host/updates/upload': ADMINISTRATORS,
  'PATCH /api/v1/host/updates/upload/:id': ADMINISTRATORS,
  'DELETE /api/v1/host/updates/upload/:id': ADMINISTRATORS,
  'POST /api/v1/host/updates/fetch': ADMINISTRATORS,
  'POST /api/v1/host/updates/check': ADMINISTRATORS,
  'DELETE /api/v1/host/updates/bundles/:sha256': ADMINISTRATORS,
  'POST /api/v1/host/updates/install': ADMINISTRATORS,
  'POST /api/v1/host/updates/way-back': ADMINISTRATORS,
  'POST /api/v1/host/updates/:id/restart': ADMINISTRATORS,
  'POST /api/v1/host/updates/:id/cancel': ADMINISTRATORS,
  'PUT /api/v1/host/updates/window': ADMINISTRATORS,
  'GET /api/v1/host/set-back': READERS,
  'GET /api/v1/host/set-back/plan': OWNER,
  'GET /api/v1/host/set-back/undo': OWNER,
  'POST /api/v1/host/set-back': OWNER,
  'POST /api/v1/host/set-back/check': OWNER,
  'POST /api/v1/host/set-back/undo': OWNER,
  'POST /api/v1/host/set-back/discard': OWNER,
  'GET /api/v1/host/network': READERS,
  'PUT /api/v1/host/network': ADMINISTRATORS,
  'POST /api/v1/host/network/confirm': ADMINISTRATORS,
  'POST /api/v1/host/network/give-up': ADMINISTRATORS,
  'GET /api/v1/host/hardening': READERS,
  'GET /api/v1/host/ssh': READERS,
  'POST /api/v1/host/ssh': OWNER,
  'DELETE /api/v1/host/ssh': OWNER,
  'GET /api/v1/certificate': READERS,
  'PUT /api/v1/certificate': ADMINISTRATORS,
  'DELETE /api/v1/certificate': ADMINISTRATORS,
  'POST /api/v1/certificate/request': ADMINISTRATORS,
  'GET /api/v1/restore-tests': READERS,
  'POST /api/v1/restore-tests': ADMINISTRATORS,
  'GET /api/v1/restore-tests/preflight': ADMINISTRATORS,
  'GET /api/v1/restore-tests/kit-material': ADMINISTRATORS,
  'GET /api/v1/restore-tests/:id': READERS,
  'GET /api/v1/restore-tests/:id/report': READERS,
};

/** The page itself and the API reference: files that anybody may read. */
const STATIC = /^(GET|HEAD) \/(?!api\/v1\/|health\/)/;
const ROLES: readonly Role[] = ['owner', 'admin', 'auditor', 'member'];

let appliance: TestAppliance;
const people = new Map<Role, TestCaller>();
beforeAll(async () => {
  appliance = await startTestAppliance();
  people.set('owner', await appliance.claim());
  for (const role of ['admin', 'auditor', 'member'] as const)
    people.set(role, await appliance.addPerson(role));
});
afterAll(() => appliance.close());

/** Everything in the database except when somebody was last seen, and sessions' idle ends with it. */
async function fingerprint(): Promise<string> {
  return withClient(appliance.database.adminAddress, 'test', async (client) => {
    const { rows: tables } = await client.query<{ name: string }>(
      "select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'sessions' order by 1",
    );
    const parts: string[] = [];
    for (const { name } of tables) {
      const { rows } = await client.query<{ sum: string | null }>(
        `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as sum from ${name} t`,
      );
      parts.push(`${name}:${rows[0]?.sum}`);
    }
    return parts.join('\n');
  });
}

function pathOf(route: string): { method: string; path: string } {
  const [method = '', url = ''] = route.split(' ');
  const path = url
    .replace('/snapshots/:id', `/snapshots/${'ab'.repeat(32)}`)
    .replace(':name', 'snapshot')
    .replaceAll(/:\w+/g, () => randomUUID());
  return { method, path };
}

function callAs(caller: TestCaller, route: string) {
  const { method, path } = pathOf(route);
  return caller.call(method as 'GET', path, method === 'GET' ? undefined : {});
}

function guarded(): [string, { roles: readonly Role[] }][] {
  return Object.entries(CASES).flatMap(([route, access]) =>
    typeof access === 'string' ? [] : [[route, access]],
  );
}

test('every route is in the table, with the access that it declares', () => {
  const declared = new Map<string, Access>();
  for (const { method, url, access } of appliance.app.routeAccess) {
    const route = `${method} ${url}`;
    if (method === 'HEAD' || method === 'OPTIONS') continue;
    if (access === 'public' && STATIC.test(route) && !(route in CASES)) continue;
    declared.set(route, access);
  }

  expect(Object.fromEntries([...declared].sort())).toEqual(Object.fromEntries(Object.entries(CASES).sort()));
});

test('a HEAD route asks for what its GET asks for', () => {
  const wrong = appliance.app.routeAccess.filter(({ method, url, access }) => {
    const get = CASES[`GET ${url}`];
    return method === 'HEAD' && get !== undefined && JSON.stringify(get) !== JSON.stringify(access);
  });

  expect(wrong).toEqual([]);
});

describe('without a session', () => {
  test('every route that is not public answers 401, and nothing changes', async () => {
    const before = await fingerprint();

    const answers: [string, number][] = [];
    for (const [route] of guarded()) answers.push([route, (await callAs(appliance.stranger, route)).status]);

    expect(answers.filter(([, status]) => status !== 401)).toEqual([]);
    expect(await fingerprint()).toBe(before);
  });

  test('a made-up or ended session is none', async () => {
    const cookies = [`__Host-holdfast=${'A'.repeat(43)}`, '__Host-holdfast=', `holdfast=${'A'.repeat(43)}`];

    for (const cookie of cookies) {
      const reply = await appliance.stranger.call('GET', '/overview', undefined, { headers: { cookie } });
      expect(reply.status).toBe(401);
    }
  });

  test('the claim is closed once there is an owner', async () => {
    expect((await callAs(appliance.stranger, 'POST /api/v1/setup/claim')).status).toBe(409);
    expect((await callAs(appliance.stranger, 'POST /api/v1/setup/claim-code')).status).toBe(409);
  });
});

describe('with another role', () => {
  for (const role of ROLES) {
    test(`${role}: every route that is not theirs answers 403, and nothing changes`, async () => {
      const caller = people.get(role) ?? appliance.stranger;
      const closed = guarded().filter(([, access]) => !access.roles.includes(role));
      const before = await fingerprint();

      const answers: [string, number][] = [];
      for (const [route] of closed) answers.push([route, (await callAs(caller, route)).status]);

      expect(answers.filter(([, status]) => status !== 403)).toEqual([]);
      expect(await fingerprint()).toBe(before);
    });
  }

  test("a member sees nothing of another's workspace: its folder answers as one that does not exist", async () => {
    const { body } = await (people.get('owner') ?? appliance.stranger).call<{
      items: { rootFolderId: string }[];
    }>('GET', '/workspaces');
    const member = people.get('member') ?? appliance.stranger;

    const other = await member.call('GET', `/folders/${body.items[0]?.rootFolderId}`);
    const none = await member.call('GET', `/folders/${randomUUID()}`);

    expect(other.status).toBe(404);
    expect({ ...(other.body.error as object), requestId: '' }).toEqual({
      ...(none.body.error as object),
      requestId: '',
    });
    expect((await member.call<{ items: unknown[] }>('GET', '/workspaces')).body.items).toEqual([]);
  });
});

describe('a request that another site caused', () => {
  test('is refused on every route that changes something, before anything else is looked at', async () => {
    const owner = people.get('owner') ?? appliance.stranger;
    const before = await fingerprint();

    const answers: [string, number][] = [];
    for (const route of Object.keys(CASES).filter((name) => !name.startsWith('GET '))) {
      const { method, path } = pathOf(route);
      for (const headers of [
        { 'x-holdfast': '' },
        { 'sec-fetch-site': 'cross-site' },
        { origin: 'https://evil.example' },
      ]) {
        const reply = await owner.call(method as 'POST', path, {}, { headers });
        answers.push([route, reply.status]);
      }
    }

    expect(answers.filter(([, status]) => status !== 403)).toEqual([]);
    expect(await fingerprint()).toBe(before);
  });
});

describe('the console', () => {
  test('its own routes do not exist for people', async () => {
    const own = appliance.consoleApp.routeAccess.filter(({ access }) => access === 'console');
    const owner = people.get('owner') ?? appliance.stranger;

    expect(own.length).toBeGreaterThan(0);
    for (const { method, url } of own.filter((route) => route.method !== 'HEAD')) {
      expect((await callAs(owner, `${method} ${url}`)).status).toBe(404);
    }
  });

  test('it does not open what belongs to the members of a workspace', async () => {
    for (const [route, access] of guarded().filter(([, { roles }]) => roles.includes('member'))) {
      expect([route, access.roles.length, (await callAs(appliance.console, route)).status]).toEqual([
        route,
        4,
        403,
      ]);
    }
  });
});
