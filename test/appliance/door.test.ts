/** The door of the server on real connections: what no honest client sends, how much, how often, and from where. */
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { FastifyInstance } from 'fastify';
import { buildApp } from '../../server/app.ts';
import { CONNECTION_LIMITS } from '../../server/lib/door/index.ts';
import { loadTlsIdentity } from '../../server/lib/tls.ts';
import { OWNER, startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { askRaw, openRaw, type RawConnection } from '../helpers/raw-connection.ts';
import { waitFor } from '../helpers/wait-for.ts';

let appliance: TestAppliance;
let owner: TestCaller;
let app: FastifyInstance;
let port: number;
const apps: FastifyInstance[] = [];

async function listen(options: object = {}, config: object = {}): Promise<number> {
  const deps = { ...appliance.deps, config: { ...appliance.deps.config, ...config } };
  const tls = await loadTlsIdentity(deps.config, deps.clock);
  app = await buildApp(deps, { tls, ...options });
  apps.push(app);
  await app.listen({ host: '127.0.0.1', port: 0 });
  return (app.server.address() as AddressInfo).port;
}

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  port = await listen();
});
afterAll(async () => {
  await Promise.all(apps.map((one) => one.close()));
  await appliance.close();
});

const GET = ['GET /api/v1/session HTTP/1.1', 'Host: a'];
const POST = ['POST /api/v1/session HTTP/1.1', 'Host: a', 'x-holdfast: 1', 'Content-Type: application/json'];
const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);

describe('a request is refused', () => {
  test.each([
    ['with a length and chunks (smuggling)', [...POST, 'Content-Length: 5', 'Transfer-Encoding: chunked']],
    ['with chunks and a length', [...POST, 'Transfer-Encoding: chunked', 'Content-Length: 5']],
    ['with two lengths', [...POST, 'Content-Length: 5', 'Content-Length: 6']],
    ['with a length that is none', [...POST, 'Content-Length: +5']],
    ['with chunked said in another way', [...POST, 'Transfer-Encoding: xchunked', 'Content-Length: 5']],
    ['with a space before a colon', [...POST, 'Content-Length : 5']],
    ['with a header on two lines', [...GET, 'X-A: b', ' c: d']],
    ['without Host', ['GET /api/v1/session HTTP/1.1']],
    ['with two Hosts', [...GET, 'Host: b']],
    ['with two cookies headers', [...GET, 'Cookie: a=b', 'Cookie: c=d']],
    ['with a whole address in its first line', ['GET http://evil.example/ HTTP/1.1', 'Host: a']],
    ['with a broken percent sign', ['GET /api/v1/%zz HTTP/1.1', 'Host: a']],
    ['with a zero byte', ['GET /files/%00 HTTP/1.1', 'Host: a']],
    ['with a method that is none', ['GRAB / HTTP/1.1', 'Host: a']],
    ['in another version of HTTP', ['GET / HTTP/3.7', 'Host: a']],
    ['with 101 headers', [...GET, ...Array.from({ length: 100 }, (_, index) => `X-${index}: 1`)]],
    ['with an address of 9 KiB', [`GET /${'a'.repeat(9_000)} HTTP/1.1`, 'Host: a']],
  ])('%s', async (_what, lines) => {
    const answer = await askRaw(port, lines, 'a=b&c');

    expect(statusOf(answer), answer).toBe(400);
    expect(answer).not.toMatch(/node_modules|\.ts:\d|at Object\./);
  });

  test('with 17 KiB of headers: 431', async () => {
    expect(statusOf(await askRaw(port, [...GET, `X-Big: ${'a'.repeat(17_000)}`]))).toBe(431);
  });

  test('with TRACE, CONNECT or a method that no route has: nothing is sent back of it', async () => {
    for (const line of ['TRACE / HTTP/1.1', 'CONNECT a:443 HTTP/1.1', 'PROPFIND / HTTP/1.1']) {
      const answer = await askRaw(port, [line, 'Host: a', 'X-Secret: echo-me']);
      expect(answer).not.toContain('echo-me');
      expect(answer === '' || statusOf(answer) >= 400).toBe(true);
    }
  });

  test.each([
    ['{"__proto__":{"role":"owner"},"email":"a@b.cd","password":"x"}', /not valid|prototype|__proto__/],
    ['{"constructor":{"prototype":{"x":1}},"email":"a@b.cd","password":"x"}', /not valid|prototype/],
  ])('with %s, and no object changes by it', async (payload, words) => {
    const answer = await askRaw(port, [...POST, `Content-Length: ${payload.length}`], payload);

    expect([statusOf(answer), answer]).toEqual([400, expect.stringMatching(words)]);
    expect(({} as { role?: string }).role).toBeUndefined();
  });

  test('with a parameter said twice that may be said once', async () => {
    const twice = await owner.call('GET', '/audit?limit=1&limit=2');
    const objects = await owner.call('GET', '/audit?action=a&action=b');

    expect([twice.status, objects.status]).toEqual([400, 400]);
  });

  test('with a method said in a header or a field: it stays what it is', async () => {
    const lines = [
      'GET /api/v1/session?_method=DELETE HTTP/1.1',
      'Host: a',
      'X-HTTP-Method-Override: DELETE',
    ];

    expect(statusOf(await askRaw(port, lines))).toBe(401);
  });
});

describe('a body has a limit', () => {
  test('20 MB of JSON that say their length are answered 413 with a hint, and the connection lives on', async () => {
    const connection = await openRaw(port);
    connection.send(`${[...POST, 'Content-Length: 20000000'].join('\r\n')}\r\n\r\n`);
    connection.send(Buffer.alloc(20_000_000, 32));

    const answer = await connection.until(/"requestId"/, 20_000);
    expect(statusOf(answer)).toBe(413);
    expect(answer).toContain('256 KiB of JSON are the most');
    connection.send(`${GET.join('\r\n')}\r\n\r\n`);
    await connection.until(/401 Unauthorized/, 20_000);
    connection.close();
  });

  test('20 MB in chunks too', async () => {
    const connection = await openRaw(port);
    connection.send(`${[...POST, 'Transfer-Encoding: chunked'].join('\r\n')}\r\n\r\n`);
    const piece = Buffer.concat([Buffer.from('f4240\r\n'), Buffer.alloc(1_000_000, 32), Buffer.from('\r\n')]);
    for (let index = 0; index < 20; index += 1) connection.send(piece);
    connection.send('0\r\n\r\n');

    expect(statusOf(await connection.until(/"requestId"/, 20_000))).toBe(413);
    connection.close();
  });
});

test('every answer says what a browser may do with it, and one of the API is kept nowhere', async () => {
  for (const path of ['/', '/api/v1/session', '/api/v1/nothing', '/api/openapi.json']) {
    const answer = await askRaw(port, [`GET ${path} HTTP/1.1`, 'Host: a']);
    expect(answer).toMatch(/content-security-policy: default-src 'none';script-src 'self'/i);
    expect(answer).not.toMatch(/unsafe-|content-security-policy:[^\r]*\*/i);
    expect(answer).toMatch(/strict-transport-security: max-age=31536000/i);
    expect(answer).toMatch(/cross-origin-opener-policy: same-origin\r/i);
    expect(answer).toMatch(/cross-origin-resource-policy: same-origin\r/i);
    expect(answer).toMatch(/x-content-type-options: nosniff/i);
    expect(answer).toMatch(/permissions-policy: .*camera=\(\)/i);
    expect(answer).not.toMatch(/^(server|x-powered-by):/im);
    if (path.startsWith('/api/')) expect(answer).toMatch(/cache-control: no-store\r/i);
  }
});

test('every answer names its type, and text its characters', async () => {
  const script =
    /src="(\/assets\/[^"]+\.js)"/.exec(await askRaw(port, ['GET / HTTP/1.1', 'Host: a']))?.[1] ?? '';
  for (const path of [
    '/',
    script,
    '/favicon.svg',
    '/api/v1/session',
    '/api/v1/setup',
    '/api/openapi.json',
    '/%zz',
  ]) {
    const answer = await askRaw(port, [`GET ${path} HTTP/1.1`, 'Host: a']);
    expect([path, /^content-type: ([^\r]+)/im.exec(answer)?.[1]]).toEqual([
      path,
      path === '/favicon.svg'
        ? 'image/svg+xml'
        : expect.stringMatching(/^(text\/html|application\/(javascript|json)); charset=utf-8$/i),
    ]);
  }
  expect(await askRaw(port, ['GRAB / HTTP/1.1', 'Host: a'])).toMatch(
    /content-type: application\/json; charset=utf-8/i,
  );
});

test('a file that is not there is not found, and every page of the interface is', async () => {
  for (const [path, status] of [
    ['/files', 200],
    ['/people/invitations', 200],
    ['/robots.txt', 200],
    ['/.well-known/security.txt', 404],
    ['/.env', 404],
    ['/wp-login.php', 404],
    ['/assets/../../package.json', 404],
  ] as const)
    expect([path, statusOf(await askRaw(port, [`GET ${path} HTTP/1.1`, 'Host: a']))]).toEqual([path, status]);
});

describe('whoever asks too often', () => {
  const few = { address: 20, person: 5, unknown: 3 };
  test('is told to wait: changes of strangers, one person, one address; others are answered', async () => {
    const narrow = await listen({ rates: few });
    const changes: number[] = [];
    for (let index = 0; index < 4; index += 1)
      changes.push(statusOf(await askRaw(narrow, [...POST, 'Content-Length: 2'], '{}')));
    const person: string[] = [];
    for (let index = 0; index < 6; index += 1)
      person.push(await askRaw(narrow, [...GET, `Cookie: ${owner.cookie}`]));
    const address: number[] = [];
    // Of the person's only the first counted for the address: nobody knew yet whose it was.
    for (let index = 0; index < 16; index += 1) address.push(statusOf(await askRaw(narrow, GET)));

    expect(changes).toEqual([400, 400, 400, 429]);
    expect(person.map(statusOf)).toEqual([200, 200, 200, 200, 200, 429]);
    expect(person.at(-1)).toMatch(/retry-after: \d+\r[\s\S]*Too many requests from you/);
    expect(address).toEqual([...Array.from({ length: 15 }, () => 401), 429]);
    const other = await openRaw(narrow, '127.0.0.9');
    other.send(`${GET.join('\r\n')}\r\n\r\n`);
    expect(statusOf(await other.until(/\r\n\r\n/))).toBe(401);
    other.close();
  });

  test('leaves to the others behind the same gateway what is theirs, signed in or not', async () => {
    const member = await appliance.addPerson('member');
    const narrow = await listen({ rates: { address: 8, person: 5, unknown: 50 } });
    const ask = async (cookie?: string, path = '/api/v1/session') => {
      const lines = [
        `GET ${path} HTTP/1.1`,
        'Host: a',
        ...(cookie === undefined ? [] : [`Cookie: ${cookie}`]),
      ];
      return statusOf(await askRaw(narrow, lines));
    };
    expect([await ask(owner.cookie), await ask(member.cookie)]).toEqual([200, 200]);

    const noisy: number[] = [];
    for (let index = 0; index < 20; index += 1) noisy.push(await ask(owner.cookie));
    const strangers: number[] = [];
    for (let index = 0; index < 20; index += 1) strangers.push(await ask());

    expect(noisy.filter((status) => status === 200)).toHaveLength(4);
    expect(strangers.at(-1)).toBe(429);
    expect(await ask(member.cookie)).toBe(200);
    expect(await ask(member.cookie, '/favicon.svg')).not.toBe(429);
  });

  test('with a session that has ended is counted as a stranger again', async () => {
    const member = await appliance.addPerson('member');
    const narrow = await listen({ rates: { address: 6, person: 50, unknown: 50 } });
    const ask = async () => statusOf(await askRaw(narrow, [...GET, `Cookie: ${member.cookie}`]));
    expect(await ask()).toBe(200);
    await owner.call('DELETE', `/people/${member.userId}/sessions`);

    const statuses: number[] = [];
    for (let index = 0; index < 9; index += 1) statuses.push(await ask());

    expect(statuses.slice(0, 3)).toEqual([401, 401, 401]);
    expect(statuses.at(-1)).toBe(429);
  });

  describe('with a session that was accepted before', () => {
    const few = { address: 6, person: 5, unknown: 3 };
    const part = (at: number, cookie: string) =>
      askRaw(at, ['GET /favicon.svg HTTP/1.1', 'Host: a', `Cookie: ${cookie}`]).then(statusOf);
    const times = async (count: number, ask: () => Promise<number>) => {
      const statuses: number[] = [];
      for (let index = 0; index < count; index += 1) statuses.push(await ask());
      return statuses;
    };
    const session = async (at: number, cookie: string) =>
      statusOf(await askRaw(at, [...GET, `Cookie: ${cookie}`]));

    test('has changes where nobody is asked for counted as a stranger, and none of them for the person', async () => {
      const member = await appliance.addPerson('member');
      const narrow = await listen({ rates: few });
      expect(await session(narrow, member.cookie)).toBe(200);
      await owner.call('DELETE', `/people/${member.userId}/sessions`);

      const changes = await times(5, async () =>
        statusOf(await askRaw(narrow, [...POST, `Cookie: ${member.cookie}`, 'Content-Length: 2'], '{}')),
      );

      expect(changes).toEqual([400, 400, 400, 429, 429]);
    });

    test('who reads pages with an old one uses up nothing of the person', async () => {
      const member = await appliance.addPerson('member');
      const again = await appliance.signIn(member.email, OWNER.password);
      const narrow = await listen({ rates: { ...few, address: 50 } });
      expect(await session(narrow, member.cookie)).toBe(200);

      const read = await times(6, () => part(narrow, member.cookie));

      expect(read.at(-1)).toBe(429);
      expect(await times(4, () => session(narrow, again.cookie))).toEqual([200, 200, 200, 200]);
    });

    test('and signed out, or used by nobody for half an hour, is counted for the address', async () => {
      const [one, other] = [await appliance.addPerson('member'), await appliance.addPerson('member')];
      for (const age of [
        async (at: number) => {
          const out = [
            'DELETE /api/v1/session HTTP/1.1',
            'Host: a',
            'x-holdfast: 1',
            `Cookie: ${one.cookie}`,
          ];
          expect(statusOf(await askRaw(at, out))).toBe(204);
          return one.cookie;
        },
        async (at: number) => {
          expect(await session(at, other.cookie)).toBe(200);
          vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 31 * 60_000);
          return other.cookie;
        },
      ]) {
        const narrow = await listen({ rates: { ...few, address: 4, person: 50 } });
        const cookie = await age(narrow);

        const read = await times(5, () => part(narrow, cookie));

        vi.restoreAllMocks();
        expect(read.at(-1)).toBe(429);
      }
    });
  });

  test('from one address by many connections gets no more of them; another address does', async () => {
    const narrow = await listen({ connections: { ...CONNECTION_LIMITS, perAddress: 3 } });
    const held: RawConnection[] = [];
    for (let index = 0; index < 3; index += 1) held.push(await openRaw(narrow));

    expect((await openRaw(narrow)).isOpen()).toBe(false);
    const other = await openRaw(narrow, '127.0.0.9');
    expect(other.isOpen()).toBe(true);
    held[0]?.close();
    await waitFor('the place to be free', async () => {
      const next = await openRaw(narrow);
      const free = next.isOpen();
      next.close();
      return free;
    });
    [...held, other].forEach((one) => {
      one.close();
    });
  });
});

describe('where a request comes from', () => {
  /** The address in the audit entry of a refused sign-in. */
  async function seenFrom(at: number, forwarded: string): Promise<string | null | undefined> {
    const body = JSON.stringify({
      email: `x-${at}-${forwarded.length}@example.org`,
      password: 'wrong words',
    });
    const lines = [...POST, `X-Forwarded-For: ${forwarded}`, `Content-Length: ${body.length}`];
    expect(statusOf(await askRaw(at, lines, body))).toBe(401);
    type Page = { items: { address: string | null }[] };
    const { body: page } = await owner.call<Page>('GET', '/audit?action=identity.sign-in.refused&limit=1');
    return page.items[0]?.address;
  }

  test('is the peer, whatever a stranger says', async () => {
    expect(await seenFrom(port, '198.51.100.1')).toBe('127.0.0.1');
  });

  test('is what a named proxy says of its own peer, not what that peer says', async () => {
    const behind = await listen({}, { trustedProxies: ['127.0.0.1'] });

    expect(await seenFrom(behind, '203.0.113.5, 198.51.100.2')).toBe('198.51.100.2');
    expect(await seenFrom(behind, '203.0.113.5, ::ffff:198.51.100.3')).toBe('198.51.100.3');
    expect(await seenFrom(behind, '203.0.113.50, evil')).toBe('127.0.0.1');
  });
});
