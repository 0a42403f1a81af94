/** A claimed appliance, and short ways to do what tests do with files. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InjectOptions } from 'fastify';
import { writeTransaction } from '../../server/lib/db.ts';
import type { FolderPage, Node, Workspace } from '../../server/workspaces/schema.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

export interface TestWorkspace {
  appliance: TestAppliance;
  owner: TestCaller;
  id: string;
  root: string;
  upload(name: string, content: Buffer | string, options?: UploadOptions): Promise<Node>;
  folder(name: string, parentId?: string): Promise<Node>;
  list(id?: string, query?: string): Promise<FolderPage>;
  /** Makes a person a member. */
  admit(userId: string, role: 'viewer' | 'editor' | 'manager'): Promise<void>;
  /** Everything that must stay as it is after a refusal. */
  state(): Promise<unknown>;
  /** Paths of files in the store, temporaries too. */
  stored(): Promise<string[]>;
}

interface UploadOptions {
  folderId?: string;
  query?: string;
}

export async function startTestWorkspace(): Promise<TestWorkspace> {
  const appliance = await startTestAppliance();
  const owner = await appliance.claim();
  const { items } = await expectStatus(owner.call<{ items: Workspace[] }>('GET', '/workspaces'), 200);
  const [workspace] = items;
  if (workspace === undefined) throw new Error('the claim made no workspace');
  const { db } = appliance.deps;
  const root = workspace.rootFolderId;
  const stored = () => listStore(appliance.dataDir);
  return {
    appliance,
    owner,
    id: workspace.id,
    root,
    upload: (name, content, options = {}) =>
      expectStatus(
        owner.call<Node>(
          'PUT',
          uploadPath(options.folderId ?? root, name, options.query),
          undefined,
          bytes(content),
        ),
        201,
      ),
    folder: (name, parentId = root) =>
      expectStatus(owner.call<Node>('POST', '/folders', { parentId, name }), 201),
    list: (id = root, query = '') =>
      expectStatus(owner.call<FolderPage>('GET', `/folders/${id}${query}`), 200),
    admit: (userId, role) =>
      writeTransaction(db, async (tx) => {
        await tx
          .insertInto('workspace_members')
          .values({ workspace_id: workspace.id, user_id: userId, role })
          .execute();
      }),
    state: async () => ({
      nodes: await db.selectFrom('nodes').selectAll().orderBy('id').execute(),
      versions: await db.selectFrom('file_versions').selectAll().orderBy('content_id').execute(),
      names: await db.selectFrom('node_name_index').selectAll().orderBy('node_id').execute(),
      doomed: await db.selectFrom('doomed_contents').selectAll().execute(),
      audit: await db.selectFrom('audit_entries').select('id').where('result', '=', 'done').execute(),
      stored: await stored(),
    }),
    stored,
  };
}

export function uploadPath(folderId: string, name: string, query = ''): string {
  return `/folders/${folderId}/files?name=${encodeURIComponent(name)}${query}`;
}

export function bytes(content: Buffer | string): InjectOptions {
  return { payload: content, headers: { 'content-type': 'application/octet-stream' } };
}

export async function download(
  caller: TestCaller,
  app: TestAppliance['app'],
  id: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }> {
  const reply = await app.inject({
    method: 'GET',
    url: `/api/v1/files/${id}/content`,
    headers: { cookie: caller.cookie, ...headers },
  });
  return { status: reply.statusCode, headers: reply.headers, body: reply.rawPayload };
}

async function listStore(dataDir: string): Promise<string[]> {
  const found = await readdir(join(dataDir, 'files'), { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

export function noise(length: number): Buffer {
  return randomBytes(length);
}
