/**
 * From the tables of `helpers/route-rights.ts`, which name the right of every route and the roles of every right, everybody tries every route: with the right or without, with objects of their own, of
 * others, and of nobody.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RIGHT_NAMES, RIGHTS, type Access, type Right, type Role } from '../server/identity/index.ts';
import { fingerprint, nobodysThings, ownThings, requestFor, type Things } from './helpers/access-things.ts';
import {
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
  type TestReply,
} from './helpers/appliance.ts';
import { CASES, ROLES_OF } from './helpers/route-rights.ts';

/** Routes that answer for as long as the caller listens. */
const ENDLESS = new Set(['GET /api/v1/events']);
/**
 * Routes of things inside a workspace, or of one person: there is a foreign one, and it must look like none. Administrators may see who
 * belongs to any workspace.
 */
function isOwned(route: string, role: Role): boolean {
  const right = CASES[route] ?? '';
  if (/^(files|account)\./.test(right)) return /:id|POST .*\/folders$/.test(route);
  return route.includes('/audit/filters/') || (right === 'workspaces.members' && role === 'member');
}
/** Called by a machine outside, with a proof in the body: what a browser is made to send is refused for the lack of it. */
const OWN_PROOF = new Set(['POST /api/v1/single-sign-on/back-channel-logout']);
/** Reading may be an act of its own: an export of the log is entered in it. */
const READS_ARE_AUDITED = /^audit_(entries|leaves|pending)$/;
/** The page itself and the API reference: files that anybody may read. */
const STATIC = /^(GET|HEAD) \/(?!api\/v1\/|health\/)/;
const ROLES: readonly Role[] = ['owner', 'admin', 'auditor', 'member'];

let appliance: TestAppliance;
const people = new Map<Role, TestCaller>();
const things = new Map<Role, Things>();
let foreign: Things;

beforeAll(async () => {
  appliance = await startTestAppliance();
  people.set('owner', await appliance.claim());
  for (const role of ['admin', 'auditor', 'member'] as const)
    people.set(role, await appliance.addPerson(role));
  for (const role of ROLES) things.set(role, await ownThings(appliance, caller(role)));
  foreign = await ownThings(appliance, await appliance.addPerson('admin'));
});
afterAll(() => appliance.close());

function caller(role: Role): TestCaller {
  return people.get(role) ?? appliance.stranger;
}

function guarded(): [string, Right][] {
  return Object.entries(CASES).flatMap(([route, access]) =>
    access === 'public' || access === 'setup' ? [] : [[route, access]],
  );
}

function routesOf(role: Role): string[] {
  return guarded().flatMap(([route, right]) => (mayHold(role, right) ? [route] : []));
}

function mayHold(role: Role, right: Right): boolean {
  const letter = { owner: 'o', admin: 'a', auditor: 'u', member: 'm' }[role];
  return ROLES_OF[right].split(' ').includes(letter);
}

function call(who: TestCaller, route: string, ids: Things): Promise<TestReply> {
  const { method, path, body, options } = requestFor(route, ids);
  return who.call(method, path, body, options);
}

/** Gets past the guard and no further: its body, or its query, is none. */
function knock(who: TestCaller, route: string): Promise<TestReply> {
  const { method, path } = requestFor(route, nobodysThings());
  if (method === 'GET') return who.call(method, path);
  return who.call(method, path, undefined, {
    headers: { 'content-type': 'application/json' },
    payload: '{',
  });
}

/** Calls each of the routes and gives those whose answer is not one of `expected`. */
async function oddOnes(
  routes: readonly string[],
  expected: readonly number[],
  ask: (route: string) => Promise<TestReply>,
): Promise<[string, number, unknown][]> {
  const odd: [string, number, unknown][] = [];
  for (const route of routes) {
    const { status, body } = await ask(route);
    if (!expected.includes(status)) odd.push([route, status, body]);
  }
  return odd;
}

test('every route is in the table, with the right that it declares', () => {
  const declared = new Map<string, string>();
  for (const { method, url, access } of appliance.app.routeAccess) {
    const route = `${method} ${url}`;
    if (method === 'HEAD' || method === 'OPTIONS') continue;
    if (access === 'public' && STATIC.test(route) && !(route in CASES)) continue;
    declared.set(route, typeof access === 'string' ? access : access.right);
  }

  expect(Object.fromEntries([...declared].sort())).toEqual(Object.fromEntries(Object.entries(CASES).sort()));
});

test('every right is in the table, with the roles that have it', () => {
  const letters = { owner: 'o', admin: 'a', auditor: 'u', member: 'm' };
  const held = RIGHT_NAMES.map((right) => {
    const { roles, apiKeys, console: atConsole } = RIGHTS[right];
    const words = [
      ...roles.map((role) => letters[role]),
      ...(apiKeys ? ['key'] : []),
      ...(atConsole ? ['console'] : []),
    ];
    return [right, words.join(' ')];
  });

  expect(Object.fromEntries(held)).toEqual(ROLES_OF);
});

test('a HEAD route asks for what its GET asks for', () => {
  const wrong = appliance.app.routeAccess.filter(
    ({ method, url, access }: { method: string; url: string; access: Access }) => {
      const get = CASES[`GET ${url}`];
      return (
        method === 'HEAD' && get !== undefined && get !== (typeof access === 'string' ? access : access.right)
      );
    },
  );

  expect(wrong).toEqual([]);
});

test('everybody may see the table of rights', async () => {
  for (const role of ROLES) {
    const { body } = await caller(role).call<{ rights: { right: string }[] }>('GET', '/rights');
    expect(body.rights.map(({ right }) => right)).toEqual(RIGHT_NAMES);
  }
});

describe('without a session', () => {
  test('every route that is not public answers 401, and nothing changes', async () => {
    const before = await fingerprint(appliance);
    const routes = guarded().map(([route]) => route);

    for (const ids of [foreign, nobodysThings()])
      expect(await oddOnes(routes, [401], (route) => call(appliance.stranger, route, ids))).toEqual([]);

    expect(await fingerprint(appliance)).toBe(before);
  });

  test('a made-up or ended session is none', async () => {
    const cookies = [`__Host-holdfast=${'A'.repeat(43)}`, '__Host-holdfast=', `holdfast=${'A'.repeat(43)}`];

    for (const cookie of cookies) {
      const reply = await appliance.stranger.call('GET', '/overview', undefined, { headers: { cookie } });
      expect(reply.status).toBe(401);
    }
  });

  test('the claim is closed once there is an owner', async () => {
    for (const route of ['POST /api/v1/setup/claim', 'POST /api/v1/setup/claim-code'])
      expect((await call(appliance.stranger, route, nobodysThings())).status).toBe(409);
  });
});

describe.each(ROLES)('%s', (role) => {
  test('every route that is not theirs answers 403, whosever the object is, and nothing changes', async () => {
    const closed = guarded().flatMap(([route, right]) => (mayHold(role, right) ? [] : [route]));
    const before = await fingerprint(appliance);

    for (const ids of [things.get(role) ?? foreign, foreign, nobodysThings()])
      expect(await oddOnes(closed, [403], (route) => call(caller(role), route, ids))).toEqual([]);

    expect(await fingerprint(appliance)).toBe(before);
  });

  test('every route that is theirs lets them in', async () => {
    const open = routesOf(role).filter((route) => !ENDLESS.has(route));
    const before = await fingerprint(appliance, READS_ARE_AUDITED);

    const kept = open.filter((route) => route !== 'DELETE /api/v1/session');
    const answers = await Promise.all(
      kept.map(async (route) => [route, (await knock(caller(role), route)).status]),
    );

    expect(answers.filter(([, status]) => status === 401 || status === 403)).toEqual([]);
    expect(await fingerprint(appliance, READS_ARE_AUDITED)).toBe(before);
  });

  test('an object of another and one of nobody answer 404 alike, and nothing changes', async () => {
    const owned = routesOf(role).filter((route) => isOwned(route, role));
    const before = await fingerprint(appliance);

    for (const route of owned) {
      const [other, none] = [
        await call(caller(role), route, foreign),
        await call(caller(role), route, nobodysThings()),
      ];
      expect([route, other.status, withoutId(other)]).toEqual([route, 404, withoutId(none)]);
    }
    expect(owned.length).toBeGreaterThan(0);
    expect(await fingerprint(appliance)).toBe(before);
  });

  test('their own objects open', async () => {
    const reads = routesOf(role).filter((route) =>
      /^GET .*\/(folders|nodes|files|workspaces)\/:/.test(route),
    );
    const own = things.get(role) ?? foreign;

    expect(await oddOnes(reads, [200], (route) => call(caller(role), route, own))).toEqual([]);
  });

  test('an object that there is not answers 404, and nothing changes', async () => {
    const before = await fingerprint(appliance);
    // A test has no machine of ours: what is the machine's has no object that could be looked for.
    const routes = routesOf(role).filter((route) => route.includes('/:id') && !route.includes('/host/'));

    expect(await oddOnes(routes, [404], (route) => call(caller(role), route, nobodysThings()))).toEqual([]);
    expect(await fingerprint(appliance)).toBe(before);
  });
});

function withoutId({ body }: TestReply): unknown {
  return { ...(body as { error: object }).error, requestId: '' };
}

describe('a request that another site caused', () => {
  test('is refused on every route that changes something, before anything else is looked at', async () => {
    const before = await fingerprint(appliance);
    const changing = Object.keys(CASES).filter((name) => !name.startsWith('GET ') && !OWN_PROOF.has(name));

    for (const headers of [
      { 'x-holdfast': '' },
      { 'sec-fetch-site': 'cross-site' },
      { origin: 'https://evil.example' },
    ]) {
      const forged = (route: string) => {
        const { method, path } = requestFor(route, nobodysThings());
        return caller('owner').call(method, path, {}, { headers });
      };
      expect(await oddOnes(changing, [403], forged)).toEqual([]);
      expect(await oddOnes([...OWN_PROOF], [400, 403], forged)).toEqual([]);
    }
    expect(await fingerprint(appliance)).toBe(before);
  });
});

describe('the console', () => {
  test('its own routes do not exist for people', async () => {
    const own = (await appliance.consoleApp()).routeAccess.filter(({ access }) => access === 'console');
    const routes = own.filter(({ method }) => method !== 'HEAD').map(({ method, url }) => `${method} ${url}`);

    expect(routes.length).toBeGreaterThan(0);
    expect(await oddOnes(routes, [404], (route) => call(caller('owner'), route, nobodysThings()))).toEqual(
      [],
    );
  });

  test('it does not open what belongs to a person or to the members of a workspace', async () => {
    const closed = guarded().flatMap(([route, right]) =>
      ROLES_OF[right].includes('console') ? [] : [route],
    );

    expect(closed.length).toBeGreaterThan(0);
    expect(await oddOnes(closed, [403], (route) => call(appliance.console, route, foreign))).toEqual([]);
  });
});
