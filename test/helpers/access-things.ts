/** Objects that a test of access tries routes with: those of a person, and ids of nothing. */
import { randomUUID } from 'node:crypto';
import type { InjectOptions } from 'fastify';
import { withClient } from '../../server/lib/postgres/index.ts';
import { createTestWorkspace } from './workspaces.ts';
import type { TestAppliance, TestCaller } from './appliance.ts';

/** Ids by what they are of. */
export interface Things {
  workspace: string;
  folder: string;
  file: string;
  filter: string;
  /** A run that restored something for them. */
  restore: string;
  /** Of everything else. */
  other: string;
}

interface WellFormed {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  body?: unknown;
  options?: InjectOptions;
}

const BYTES = { headers: { 'content-type': 'application/octet-stream' } };

/** Bodies and queries that routes of objects need before they look for the object. */
const PARTS: Record<string, (ids: Things) => { body?: unknown; query?: string; options?: InjectOptions }> = {
  'POST /api/v1/folders': ({ folder }) => ({ body: { parentId: folder, name: 'new' } }),
  'PUT /api/v1/folders/:id/files': () => ({
    query: '?name=new',
    options: { ...BYTES, payload: Buffer.from('content') },
  }),
  'POST /api/v1/folders/:id/paths': () => ({ body: { paths: ['new'] } }),
  'POST /api/v1/folders/:id/batch': ({ folder }) => ({
    options: { ...BYTES, payload: batchOf(folder) },
  }),
  'PUT /api/v1/people/:id/role': () => ({ body: { role: 'member' } }),
  'DELETE /api/v1/people/:id/second-factors': () => ({ body: { reason: 'Lost the phone' } }),
  'PATCH /api/v1/teams/:id': () => ({ body: { name: 'renamed' } }),
  'PUT /api/v1/workspaces/:id/magic-links': () => ({ body: { allowed: true } }),
  'PATCH /api/v1/workspaces/:id': () => ({ body: { name: 'renamed' } }),
  'POST /api/v1/workspaces/:id/people': () => ({ body: { email: 'ada@example.org', role: 'viewer' } }),
  'PUT /api/v1/workspaces/:id/people/:holderId': () => ({ body: { role: 'viewer' } }),
  'PUT /api/v1/workspaces/:id/teams/:holderId': () => ({ body: { role: 'viewer' } }),
  'PATCH /api/v1/nodes/:id': () => ({ body: { name: 'renamed' } }),
  'PATCH /api/v1/me/passkeys/:id': () => ({ body: { name: 'renamed' } }),
  'POST /api/v1/snapshots/:id/restores': ({ folder, file }) => ({ body: { folderId: folder, nodeId: file } }),
  'PUT /api/v1/point-in-time': () => ({
    body: { enabled: true, windowDays: 7, objectiveSeconds: 300, pileLimitBytes: null },
  }),
  'POST /api/v1/restore-tests/point-in-time': () => ({
    body: { targetId: randomUUID(), time: '2020-01-01T00:00:00Z', mode: 'quick' },
  }),
  'POST /api/v1/targets/:id/retention/preview': () => ({ body: { policy: { kind: 'keep-everything' } } }),
  'PUT /api/v1/targets/:id/retention': () => ({ body: { policy: { kind: 'keep-everything' } } }),
  'POST /api/v1/targets/:id/retention/agree': () => ({ body: { reason: 'Little space', removes: 1 } }),
  'POST /api/v1/snapshots/:id/forget': () => ({ body: { reason: 'Little space' } }),
  'POST /api/v1/snapshots/:id/accept': () => ({ body: { reason: 'A large share moved' } }),
  'PUT /api/v1/snapshots/:id/hold': () => ({ body: { reason: 'litigation' } }),
  'POST /api/v1/snapshots/:id/hold/lift': () => ({ body: { reason: 'settled' } }),
  'POST /api/v1/access-reviews/:id/items/:itemId/decision': () => ({
    body: { decision: 'keep', version: 'any' },
  }),
  'POST /api/v1/access-reviews/:id/keep-unchanged': () => ({ body: { count: 1 } }),
  'PATCH /api/v1/access-reviews/:id': () => ({
    body: { dueAt: new Date(Date.now() + 86_400_000).toISOString() },
  }),
  'POST /api/v1/access-reviews/:id/withdraw': () => ({ body: { reason: 'Begun by mistake' } }),
  'POST /api/v1/access-reviews/:id/sign-off': () => ({ body: { statement: 'All is well' } }),
  'PATCH /api/v1/registers/:id': () => ({
    body: {
      ...{ version: 1, kind: 'training', what: 'Fire safety', doneOn: '2026-01-10', dueOn: null },
      ...{ reference: '', note: '' },
    },
  }),
  'POST /api/v1/approvals/:id/refuse': () => ({ body: { reason: 'Not now' } }),
  'PUT /api/v1/restore-tests/assertions/:id': () => ({
    body: {
      ...{ version: 1, name: 'People', sql: 'select 1', runsIn: 'every', enabled: true },
      expected: { of: 'rows', is: 'at-least', value: 1 },
    },
  }),
  'POST /api/v1/alerts/:id/acknowledge': () => ({ body: { days: 3 } }),
  'PUT /api/v1/targets/:id/quota': () => ({ body: { quotaBytes: null } }),
  'PUT /api/v1/webhooks/:id': () => ({
    body: { name: 'Pager', allowHttp: false, events: ['alert.raised'], least: 'bad', paused: false },
  }),
  'POST /api/v1/webhooks/:id/secret': () => ({ body: { overlapHours: 24 } }),
  'PUT /api/v1/targets/:id/sign-in': () => ({ body: { signIn: { kind: 'password', password: 'unlikely' } } }),
  'PUT /api/v1/targets/:id/price': () => ({ body: { price: null } }),
  'PUT /api/v1/targets/:id/pace': () => ({ body: { pace: null } }),
  'PUT /api/v1/targets/:id/lock': () => ({ body: { days: 30 } }),
  'PUT /api/v1/targets/:id/work-hours': () => ({ body: { hours: null } }),
  'PUT /api/v1/targets/:id/host-key': () => ({ body: { fingerprint: `SHA256:${'A'.repeat(43)}` } }),
  'POST /api/v1/keys/rekey': () => ({ body: { follows: 1, reason: 'A kit was lost' } }),
  'POST /api/v1/keys/write-only': () => ({
    body: { on: true, follows: 1, reason: 'Nobody reads them here' },
  }),
  'POST /api/v1/recovery-kits/:id/retire': () => ({ body: { reason: 'Lost' } }),
  'POST /api/v1/recovery-kits/:id/keepings': () => ({
    body: {
      ...{ holder: 'Grace', place: 'Safe', handedOverOn: null, reference: '', note: '', reviewOn: null },
      follows: null,
    },
  }),
  'POST /api/v1/recovery-kits/:id/proof': () => ({ body: { response: 'A'.repeat(43) } }),
};

/** Things that belong to this person alone: a workspace with a folder and a file, a restore that has ended, and a kept filter of the audit log. */
export async function ownThings(appliance: TestAppliance, who: TestCaller): Promise<Things> {
  const things = nobodysThings();
  const { body: session } = await who.call<{ user: { id: string } }>('GET', '/session');
  const { id, rootFolderId } = await createTestWorkspace(appliance.deps, session.user.id);
  things.workspace = id;
  things.folder = rootFolderId;
  const upload = requestFor('PUT /api/v1/folders/:id/files', things);
  const file = await who.call<{ id: string }>(upload.method, upload.path, undefined, upload.options);
  if (file.status === 201) things.file = file.body.id;
  await who.call('POST', '/audit/filters', { name: 'mine', query: 'result=failed' });
  const filters = await who.call<{ items?: { id: string }[] }>('GET', '/audit/filters');
  const filter = filters.body.items?.[0]?.id;
  if (filter !== undefined) things.filter = filter;
  await appliance.deps.db
    .insertInto('runs')
    .values({
      ...{ id: things.restore, kind: 'restore-file', state: 'succeeded', input: '{}', cause: 'person' },
      ...{ requested_by: session.user.id, created_at: appliance.clock.now() },
    })
    .execute();
  return things;
}

/** Ids of nothing. */
export function nobodysThings(): Things {
  return {
    workspace: randomUUID(),
    folder: randomUUID(),
    file: randomUUID(),
    filter: randomUUID(),
    restore: randomUUID(),
    other: randomUUID(),
  };
}

/** A well-formed request of a route with these objects. */
export function requestFor(route: string, ids: Things): WellFormed {
  const [method = '', url = ''] = route.split(' ');
  const { body, query = '', options } = PARTS[route]?.(ids) ?? {};
  const path = url
    .replace('/workspaces/:id', `/workspaces/${ids.workspace}`)
    .replace('/folders/:id', `/folders/${ids.folder}`)
    .replace('/nodes/:id', `/nodes/${ids.file}`)
    .replace('/files/:id', `/files/${ids.file}`)
    .replace('/filters/:id', `/filters/${ids.filter}`)
    .replace('/restores/:id', `/restores/${ids.restore}`)
    .replace('/snapshots/:id', `/snapshots/${'ab'.repeat(32)}`)
    .replace('/bundles/:sha256', `/bundles/${'ab'.repeat(32)}`)
    .replace(':name', 'nothing')
    .replaceAll(/:\w+/g, ids.other);
  const withBody = method !== 'GET' && options?.payload === undefined;
  return {
    method: method as WellFormed['method'],
    path: `${path}${query}`,
    ...(withBody ? { body: body ?? {} } : {}),
    ...(options === undefined ? {} : { options }),
  };
}

/** Everything in the database except when somebody was last seen, and sessions' idle ends with it. */
export async function fingerprint(appliance: TestAppliance, without = /^$/): Promise<string> {
  return withClient(appliance.database.adminAddress, 'test', async (client) => {
    const { rows: tables } = await client.query<{ name: string }>(
      "select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'sessions' order by 1",
    );
    const parts: string[] = [];
    for (const { name } of tables.filter((table) => !without.test(table.name))) {
      const { rows } = await client.query<{ sum: string | null }>(
        `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as sum from ${name} t`,
      );
      parts.push(`${name}:${rows[0]?.sum}`);
    }
    return parts.join('\n');
  });
}

function batchOf(folderId: string): Buffer {
  const file = { folderId, name: 'new', sizeBytes: 1, mtime: '0' };
  const head = Buffer.from(JSON.stringify({ files: [file] }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, Buffer.from('x')]);
}
