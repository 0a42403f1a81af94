/** The judges on what the tools really said: of the appliance, and of what was weak on purpose. */
import { describe, expect, test } from 'vitest';
import { judgeFfuf } from './ffuf.ts';
import { judgeHydra } from './hydra.ts';
import { sampleRequests } from './sample-requests.ts';
import { judgeProbes, mostConnected } from './slowhttptest.ts';
import { judgeSqlmap, readSqlmap } from './sqlmap.ts';
import { judgeTestssl } from './testssl.ts';
import { countStatuses, findBreaks } from './verdict.ts';

describe('testssl.sh', () => {
  const good = [
    { id: 'TLS1_3', severity: 'OK', finding: 'offered with final' },
    { id: 'TLS1', severity: 'INFO', finding: 'not offered' },
    { id: 'DNS_CAArecord', severity: 'LOW', finding: '--' },
    { id: 'engine_problem', severity: 'WARN', finding: 'No engine or GOST support via engine' },
  ];

  test('finds everything above low, and what could not be looked at', () => {
    const bad = [
      { id: 'TLS1', severity: 'LOW', finding: 'offered (deprecated)' },
      { id: 'cert_revocation', severity: 'HIGH', finding: 'Neither CRL nor OCSP URI provided' },
      { id: 'HTTP_status_code', severity: 'WARN', finding: 'check failed because of connect problem' },
    ];

    expect(judgeTestssl([...good, ...bad], ['TLS1_3', 'scanTime'])).toEqual([
      'LOW TLS1: offered (deprecated)',
      'HIGH cert_revocation: Neither CRL nor OCSP URI provided',
      'WARN HTTP_status_code: check failed because of connect problem',
      'the tool said nothing of scanTime',
    ]);
  });

  test('takes what is in order, and what only the tool lacks', () => {
    expect(judgeTestssl(good, ['TLS1_3'])).toEqual([]);
  });
});

describe('sqlmap', () => {
  const FOUND = `[1/1] URL:
GET http://localhost:4000/items?id=1
[19:31:56] [INFO] testing URL 'http://localhost:4000/items?id=1'
[19:31:57] [INFO] heuristic (basic) test shows that GET parameter 'id' might be injectable (possible DBMS: 'PostgreSQL')
sqlmap identified the following injection point(s) with a total of 24 HTTP(s) requests:
---
Parameter: id (GET)
    Type: boolean-based blind
`;
  const NOT_FOUND = `[1/2] URL:
GET http://localhost:4000/api/v1/people?search=a
[19:31:56] [INFO] testing URL 'http://localhost:4000/api/v1/people?search=a'
[19:31:57] [WARNING] heuristic (basic) test shows that GET parameter 'search' might not be injectable
[19:31:57] [WARNING] GET parameter 'search' does not seem to be injectable
[19:31:58] [ERROR] all tested parameters do not appear to be injectable. Try to increase values
[2/2] URL:
[19:31:58] [INFO] testing URL 'http://localhost:4000/api/v1/teams'
[19:31:58] [WARNING] (custom) POST parameter 'JSON name' does not seem to be injectable
[19:32:02] [INFO] you can find results of scanning in multiple targets mode inside the CSV file
`;
  const CUT = `[19:30:52] [INFO] testing URL 'https://localhost:4000/api/v1/people?search=a'
[19:31:05] [ERROR] can't establish SSL connection, skipping to the next target
`;
  const people = { method: 'GET', route: '/api/v1/people', url: '/api/v1/people?search=a', body: undefined };
  const request = { ...people, parameters: 1 };
  const answer = { method: 'GET', route: '/api/v1/people', status: 400, address: '127.0.4.1', code: null };

  test('names the parameter that is injectable', () => {
    expect(readSqlmap(FOUND).injectable.at(-1)).toBe('http://localhost:4000/items, id (GET)');
    expect(judgeSqlmap([readSqlmap(FOUND)], [request], [answer])).toHaveLength(2);
  });

  test('counts what was not found, and finds nothing then', () => {
    expect(readSqlmap(NOT_FOUND)).toEqual({ begun: 2, parameters: 2, injectable: [], failures: [] });
    expect(judgeSqlmap([readSqlmap(NOT_FOUND)], [request], [answer])).toEqual([]);
  });

  test('does not take a route for tried that it could not reach, or that only told it to wait', () => {
    expect(judgeSqlmap([readSqlmap(CUT)], [request], [answer])[0]).toContain(
      'not tried: https://localhost:4000',
    );
    expect(judgeSqlmap([readSqlmap(NOT_FOUND)], [request], [{ ...answer, status: 429 }])).toEqual([
      'nothing but refusals for too many requests at GET /api/v1/people',
    ]);
    expect(judgeSqlmap([], [request], [answer])).toEqual(['only 0 of 1 routes were begun']);
  });

  test('is given a fitting value for each parameter of the description', () => {
    const schema = {
      type: 'object',
      properties: {
        email: { type: 'string' },
        code: { type: 'string', pattern: '^[0-9]{6}$' },
        on: { type: 'boolean' },
      },
    };
    const post = {
      parameters: [{ name: 'limit', in: 'query', schema: { type: 'integer', maximum: 200 } }],
      requestBody: { content: { 'application/json': { schema } } },
    };
    const paths = {
      '/api/v1/teams/{id}': { post },
      '/api/v1/events': { get: post },
      '/api/v1/rights': { get: {} },
    };

    expect(sampleRequests({ paths }, { teams: 'T' })).toEqual([
      {
        method: 'POST',
        route: '/api/v1/teams/:id',
        url: '/api/v1/teams/T?limit=5',
        body: '{"email":"x@example.org","code":"123456","on":false}',
        parameters: 4,
      },
    ]);
  });
});

test('ffuf: what answers with something else than the page or what is open to all is found', () => {
  const meant = { pageBytes: 835, paths: new Set(['/health/live', '/favicon.svg']) };
  const hit = (path: string, status: number, length: number) => ({
    url: `https://localhost:1${path}`,
    status,
    length,
  });

  expect(
    judgeFfuf(
      [hit('/health/live', 200, 17), hit('/.git/config', 200, 835), hit('/api/docs/', 200, 900)],
      meant,
    ),
  ).toEqual([]);
  expect(
    judgeFfuf(
      [hit('/.git/config', 200, 92), hit('/api/v1/x', 200, 835), hit('/x', 500, 2), hit('/y', 302, 0)],
      meant,
    ),
  ).toHaveLength(4);
});

describe('hydra', () => {
  const good = {
    output: '1 of 1 target completed, 0 valid password found',
    attempts: [
      { right: false, status: 401 },
      { right: true, status: 429 },
    ],
    elsewhere: { right: true, status: 202, ms: 900 },
    alive: true,
  };

  test('finds nothing where the right password came too late and the owner got in', () => {
    expect(judgeHydra(good)).toEqual([]);
  });

  test.each([
    [
      { output: '[4000][http-post-form] host: 127.0.0.1   login: ada@example.org   password: x' },
      /found the password/,
    ],
    [{ attempts: [...good.attempts, { right: true, status: 202 }] }, /got in/],
    [{ attempts: [{ right: false, status: 429 }] }, /never tried/],
    [
      { attempts: Array.from({ length: 30 }, () => ({ right: true, status: 401 })) },
      /30 guesses were looked at/,
    ],
    [{ elsewhere: { right: true, status: 429, ms: 1 } }, /owner could not sign in/],
    [{ alive: false }, /did not answer/],
  ])('finds %o', (change, words) => {
    expect(judgeHydra({ ...good, ...change }).join('\n')).toMatch(words);
  });
});

describe('slowhttptest', () => {
  const probes = (ms: number | undefined) => Array.from({ length: 30 }, () => ({ path: '/', ms }));

  test('counts connections in what the tool says in colours', () => {
    const said = '\u001b[1;32mconnected:   \u001b[0;32m256\n…\nconnected:   \u001b[0;32m 12\n';
    expect(mostConnected(said)).toBe(256);
  });

  test('others that get no answer, or wait long, are found', () => {
    expect(judgeProbes('slow read', probes(20))).toEqual([]);
    expect(judgeProbes('slow read', [...probes(20), ...probes(undefined)])[0]).toContain(
      '30 of 60 requests of others',
    );
    expect(judgeProbes('slow read', probes(4_000))).toEqual(['slow read: others waited 4000 ms (p99)']);
    expect(judgeProbes('slow read', [])[0]).toContain('only 0 requests');
  });
});

test('a failure inside is found, whoever provoked it; other answers are counted', () => {
  const of = (status: number) => ({ method: 'GET', route: '/x', status, address: null, code: 'internal' });

  expect(findBreaks([of(200), of(500), of(500)])).toEqual(['GET /x answered 500 internal, 2 times']);
  expect(countStatuses([of(429), of(200), of(200)])).toBe('200: 2, 429: 1');
});
