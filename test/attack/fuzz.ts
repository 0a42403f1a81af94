/**
 * Random requests made from the API's own description, as each role and as a stranger: half of what is sent fits the description, the
 * rest is near it or nothing like it. The appliance may refuse all of it; it may not break, and not say what is inside.
 */
import fc from 'fast-check';
import type { InjectOptions } from 'fastify';
import type { TestAppliance, TestCaller } from '../helpers/appliance.ts';

interface Schema {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
}

interface Operation {
  parameters?: { name: string; in: string; schema?: Schema }[];
  requestBody?: { content?: Record<string, { schema?: Schema }> };
}

export interface FuzzRoute {
  method: string;
  path: string;
  operation: Operation;
}

export interface FuzzFinding {
  who: string;
  request: string;
  what: string;
  answer: string;
}

/** Streams without an end, and what would end the run or the appliance under it. */
const LEFT_OUT =
  /\/events$|\/session$|end-others|\/machine\/|\/host|reboot|power|set-back|deactivate|\/sessions/;
const INSIDE =
  /node_modules|\.ts:\d+|at (async )?[\w.<>]+ \(|SELECT .* FROM|syntax error at|relation "|ECONNREFUSED \/|\/(tmp|work|data)\/[\w-]|AGE-SECRET-KEY-1|BEGIN (EC |RSA )?PRIVATE KEY|\$argon2id\$/i;

/** Health checks tell administrators which place on this machine they speak of. */
const NAMES_PLACES = new Set(['/api/v1/health-checks']);

const NASTY = fc.constantFrom<unknown>(
  ...[
    "'",
    "' or 1=1--",
    '"; drop table users;--',
    '${7*7}',
    '{{7*7}}',
    '<script>alert(1)</script>',
    '../../../etc/passwd',
  ],
  ...[
    '%00',
    '\u0000',
    '\ud800',
    '\u202e',
    'a'.repeat(5_000),
    '',
    ' ',
    '-1',
    '1e400',
    '9'.repeat(40),
    'NaN',
    'null',
    '[]',
  ],
  ...[-1, 0, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, true, null, [], {}, [[[]]]],
);

/** Every route that the API describes. */
export async function describedRoutes(appliance: TestAppliance): Promise<FuzzRoute[]> {
  const { body } = await appliance.stranger.call<{ paths: Record<string, Record<string, Operation>> }>(
    'GET',
    '/api/openapi.json',
  );
  return Object.entries(body.paths).flatMap(([path, operations]) =>
    Object.entries(operations)
      .filter(() => !LEFT_OUT.test(path))
      .map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
}

/** @param each how many requests for each route and caller. */
export async function fuzz(
  callers: Record<string, TestCaller>,
  routes: readonly FuzzRoute[],
  each: number,
  seed: number,
): Promise<{ requests: number; statuses: Record<string, number>; findings: FuzzFinding[] }> {
  const statuses: Record<string, number> = {};
  const findings: FuzzFinding[] = [];
  let requests = 0;
  for (const [index, route] of routes.entries()) {
    for (const [nth, [who, caller]] of Object.entries(callers).entries()) {
      const made = fc.sample(requestOf(route), { numRuns: each, seed: seed + index * 31 + nth });
      for (const { url, options } of made) {
        const answer = await caller.call<unknown>(route.method as 'GET', url, undefined, options);
        requests += 1;
        statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
        const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
        const what =
          answer.status >= 500 && answer.status !== 503 && answer.status !== 507
            ? `status ${answer.status}`
            : INSIDE.test(text) && !NAMES_PLACES.has(route.path)
              ? 'says what is inside'
              : undefined;
        if (what === undefined) continue;
        const request = `${route.method} ${url} ${textOf(options.payload)}`;
        findings.push({ who, request: request.slice(0, 500), what, answer: text.slice(0, 300) });
      }
    }
  }
  return { requests, statuses, findings };
}

function requestOf(route: FuzzRoute): fc.Arbitrary<{ url: string; options: InjectOptions }> {
  const parameters = route.operation.parameters ?? [];
  const schema = route.operation.requestBody?.content?.['application/json']?.schema;
  const values = fc.tuple(...parameters.map((one) => near(one.schema ?? {})));
  const bytes = fc.uint8Array({ maxLength: 300 }).map((one) => Buffer.from(one));
  const json = fc.oneof(
    { weight: 4, arbitrary: near(schema ?? {}) },
    { weight: 1, arbitrary: fc.jsonValue() },
  );
  const body = fc.oneof(
    {
      weight: schema === undefined ? 1 : 6,
      arbitrary: json.map((one) => ({ type: 'application/json', payload: textOf(one) })),
    },
    { weight: 1, arbitrary: bytes.map((payload) => ({ type: 'application/octet-stream', payload })) },
    { weight: 1, arbitrary: fc.constant({ type: 'application/json', payload: '{"a":' }) },
  );
  return fc.record({ values, body }).map(({ values: given, body: { type, payload } }) => {
    let url = route.path;
    const query: string[] = [];
    for (const [index, { name, in: place }] of parameters.entries()) {
      const value = encode(given[index]);
      if (place === 'path') url = url.replace(`{${name}}`, value === '' ? '_' : value);
      else if (place === 'query') query.push(`${name}=${value}`);
    }
    const asked = query.length === 0 ? url : `${url}?${query.join('&')}`;
    const headers = { 'content-type': type };
    return { url: asked, options: route.method === 'GET' ? {} : { headers, payload } };
  });
}

/** A value that fits, half of the time. */
function near(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 5, arbitrary: fitting(schema) },
    { weight: 2, arbitrary: NASTY },
    { weight: 1, arbitrary: fc.jsonValue() },
  );
}

function fitting(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined && schema.enum.length > 0) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined && schema.anyOf.length > 0) return fc.oneof(...schema.anyOf.map(fitting));
  switch ([schema.type].flat()[0]) {
    case 'object':
      return fc.record(
        Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, part]) => [name, near(part)])),
        { requiredKeys: (schema.required ?? []).filter((name) => name in (schema.properties ?? {})) },
      );
    case 'array':
      return fc.array(near(schema.items ?? {}), { maxLength: 4 });
    case 'integer':
    case 'number':
      return fc.integer({
        min: Math.max(-1e9, schema.minimum ?? -10),
        max: Math.min(1e9, schema.maximum ?? 1_000),
      });
    case 'boolean':
      return fc.boolean();
    case 'string':
      if (schema.format === 'uuid') return fc.uuid();
      if (schema.format === 'date-time')
        return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
      return fc.string({
        minLength: schema.minLength ?? 0,
        maxLength: Math.max(schema.minLength ?? 0, Math.min(60, schema.maxLength ?? 30)),
        unit: 'binary',
      });
    default:
      return fc.jsonValue();
  }
}

function textOf(value: unknown): string {
  return JSON.stringify(value ?? null);
}

function encode(value: unknown): string {
  const text = typeof value === 'string' ? value : textOf(value);
  return encodeURIComponent(text.toWellFormed())
    .slice(0, 6_000)
    .replace(/%[0-9A-F]?$/, '');
}
