import fastify, { type FastifyInstance } from 'fastify';
import { afterEach, describe, expect, test } from 'vitest';
import {
  installAccessGuard,
  installConsoleGuard,
  openToEveryone,
  type Access,
  type GuardDeps,
} from '../../server/identity/index.ts';
import { installErrorReplies } from '../../server/lib/http.ts';

let app: FastifyInstance;
afterEach(() => app.close());

/** No database: what is tested here is decided before one is asked. */
const deps = { origins: ['https://vault.example.org'], isClaimed: async () => false } as unknown as GuardDeps;

function build(access: Access | undefined): FastifyInstance {
  app = fastify();
  installErrorReplies(app);
  installAccessGuard(app, deps);
  app.route({
    method: ['GET', 'POST'],
    url: '/thing',
    config: access === undefined ? {} : { access },
    handler: () => 'done',
  });
  return app;
}

describe('the access guard', () => {
  test('a route that does not say who may call it stops the server from starting', async () => {
    await expect(build(undefined).ready()).rejects.toThrow('GET /thing');
  });

  test('such a route on the console stops it too', async () => {
    app = fastify();
    installConsoleGuard(app, 'tester');
    app.get('/thing', () => 'done');

    await expect(app.ready()).rejects.toThrow('do not say who may call them: GET /thing, HEAD /thing');
  });

  test('the routes of another plugin can be opened as a whole', async () => {
    build('public').register(async (scope) => {
      openToEveryone(scope);
      await scope.register(async (plugin) => {
        plugin.get('/foreign', () => 'done');
      });
    });

    expect((await app.inject('/foreign')).statusCode).toBe(200);
  });

  test('without a session a route that asks for a right answers 401, and its handler does not run', async () => {
    const reply = await build({ right: 'settings.change' }).inject('/thing');

    expect(reply.statusCode).toBe(401);
    expect(reply.json()).toMatchObject({ error: { code: 'unauthenticated' } });
  });

  test('a route of the console does not exist for others', async () => {
    expect((await build('console').inject('/thing')).statusCode).toBe(404);
  });

  test('a handler of a public route that asks for the person gets an error, not nothing', async () => {
    app = fastify();
    installErrorReplies(app);
    installAccessGuard(app, deps);
    app.get('/thing', { config: { access: 'public' } }, (request) => request.person.userId);

    expect((await app.inject('/thing')).statusCode).toBe(401);
  });
});

describe('requests that another site could cause', () => {
  const own = { host: 'box.example.org:8443', 'x-holdfast': '1' };
  const refused: [string, Record<string, string>][] = [
    ['a form post without our header', { host: own.host }],
    ['our header with another value', { ...own, 'x-holdfast': 'yes' }],
    ['another site, as the browser says', { ...own, 'sec-fetch-site': 'cross-site' }],
    ['a sibling host, as the browser says', { ...own, 'sec-fetch-site': 'same-site' }],
    ['another origin', { ...own, origin: 'https://evil.example.org' }],
    ['our host over plain HTTP', { ...own, origin: 'http://box.example.org:8443' }],
    ['our host on another port', { ...own, origin: 'https://box.example.org' }],
    ['no origin to speak of', { ...own, origin: 'null' }],
  ];
  for (const [name, headers] of refused) {
    test(`refused: ${name}`, async () => {
      const reply = await build('public').inject({ method: 'POST', url: '/thing', headers });

      expect(reply.statusCode).toBe(403);
    });
  }

  const taken: [string, Record<string, string>][] = [
    ['a program', own],
    ['our own page', { ...own, origin: 'https://box.example.org:8443', 'sec-fetch-site': 'same-origin' }],
    [
      'our page under a configured name',
      { ...own, origin: 'https://vault.example.org', 'sec-fetch-site': 'same-origin' },
    ],
  ];
  for (const [name, headers] of taken) {
    test(`taken: ${name}`, async () => {
      const reply = await build('public').inject({ method: 'POST', url: '/thing', headers });

      expect(reply.statusCode).toBe(200);
    });
  }

  test('reading needs none of it', async () => {
    expect((await build('public').inject('/thing')).statusCode).toBe(200);
  });
});

describe('the console guard', () => {
  test('opens operations and refuses what only members may see', async () => {
    app = fastify();
    installErrorReplies(app);
    installConsoleGuard(app, 'tester');
    app.get('/operations', { config: { access: { right: 'operations.read' } } }, (request) => request.actor);
    app.get('/content', { config: { access: { right: 'files.read' } } }, () => 'content');

    const operations = await app.inject({ url: '/operations', headers: { 'x-holdfast-account': 'ada' } });
    expect(operations.json()).toMatchObject({ kind: 'console', label: 'ada' });
    expect((await app.inject('/content')).statusCode).toBe(403);
  });

  test('an account name that could not be one is replaced by our own', async () => {
    app = fastify();
    installConsoleGuard(app, 'tester');
    app.get('/operations', { config: { access: 'console' } }, (request) => request.actor);

    const reply = await app.inject({ url: '/operations', headers: { 'x-holdfast-account': '<script>' } });
    expect(reply.json()).toMatchObject({ label: 'tester' });
  });
});
