/** A request for each route that takes a query or a body, with values that fit: what sqlmap then changes. */
import { randomUUID } from 'node:crypto';

interface Schema {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
}

interface Operation {
  parameters?: { name: string; in: string; schema?: Schema }[];
  requestBody?: { content?: Record<string, { schema?: Schema }> };
}

export interface Description {
  paths: Record<string, Record<string, Operation>>;
}

export interface SampleRequest {
  method: string;
  /** As the API describes it, `:id` for a parameter. */
  route: string;
  /** With its query. */
  url: string;
  body: string | undefined;
  parameters: number;
}

/** Streams without an end, and what would shut out whoever tries the rest: a new password, the end of sessions. */
const LEFT_OUT = /\/events$|\/sessions\/end-others$|\/host\/power$|\/me\/password$/;

/** Fits most of what the API asks for. */
const WORDS = [
  'abc',
  'x@example.org',
  '123456',
  '2026-01-01T00:00:00.000Z',
  '30 3 * * *',
  'https://authority.example/directory',
  'example.org',
  '2xx',
  'A'.repeat(43),
  'aA0-'.repeat(16),
];

/** @param ids of things that are there, by the first part of the address. */
export function sampleRequests(api: Description, ids: Readonly<Record<string, string>>): SampleRequest[] {
  return Object.entries(api.paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, operation]) => {
      const query = (operation.parameters ?? []).filter((one) => one.in === 'query');
      const schema = operation.requestBody?.content?.['application/json']?.schema;
      if ((query.length === 0 && schema === undefined) || LEFT_OUT.test(path)) return [];
      const body = schema === undefined ? undefined : sampleOf(schema, '');
      const asked = query.map(({ name, schema: one }) => {
        const value = sampleOf({ ...one, maximum: Math.min(one?.maximum ?? 5, 5) }, name);
        return `${name}=${encodeURIComponent(typeof value === 'string' ? value : JSON.stringify(value))}`;
      });
      const kind = path.split('/')[3] ?? '';
      const place = path.replace(/\{(\w+)\}/g, (_, name: string) =>
        name === 'id' ? (ids[kind] ?? randomUUID()) : (ids.people ?? randomUUID()),
      );
      return [
        {
          method: method.toUpperCase(),
          route: path.replace(/\{(\w+)\}/g, ':$1'),
          url: asked.length === 0 ? place : `${place}?${asked.join('&')}`,
          body: body === undefined ? undefined : JSON.stringify(body),
          parameters: query.length + (body === undefined ? 0 : Object.keys(body as object).length),
        },
      ];
    }),
  );
}

function sampleOf(schema: Schema, name: string): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  if (schema.anyOf !== undefined) return sampleOf(schema.anyOf[0] ?? {}, name);
  switch ([schema.type].flat()[0]) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([key, part]) => [key, sampleOf(part, key)]),
      );
    case 'array':
      return Array.from({ length: Math.max(1, schema.minItems ?? 1) }, () =>
        sampleOf(schema.items ?? {}, name),
      );
    case 'integer':
    case 'number':
      return schema.maximum ?? schema.minimum ?? 1;
    case 'boolean':
      return false;
    case 'string':
      return textFor(schema, name);
    default:
      return 'abc';
  }
}

function textFor({ format, pattern, minLength = 0, maxLength = 4_000 }: Schema, name: string): string {
  if (format === 'uuid') return randomUUID();
  const fits = new RegExp(pattern ?? '', 'u');
  const long = (word: string) => (word.length < minLength ? word.padEnd(minLength, 'a') : word);
  const first = /email|address|^to$/i.test(name) ? ['x@example.org'] : [];
  const word = [...first, ...WORDS].map(long).find((one) => one.length <= maxLength && fits.test(one));
  return word ?? long('abc').slice(0, maxLength);
}
