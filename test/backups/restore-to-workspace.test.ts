/** Files and folders of a snapshot back in their workspace: beside the present ones, in their place, whole or honestly not. */
import { createHash, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clearUnfinished } from '../../server/backups/index.ts';
import { contentPath } from '../../server/workspaces/index.ts';
import type { EarlierState, OwnRestore, SnapshotFolder } from '../../server/backups/schema.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { killRunAt, startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';

interface Node {
  id: string;
  name: string;
  kind: 'file' | 'folder';
}

let appliance: StockedAppliance;
let snapshotId: string;
/** Folder `Ärger`, with files, an empty folder, and another one with one small and one large file. */
let tree: Node;
let inner: Node;
let letter: Node;
const contents = new Map<string, string | null>([
  ['nothing in it', null],
  ['in "quotes"', null],
]);

const call = <T>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown) =>
  appliance.owner.call<T>(method, path, body);
const makeFolder = (parentId: string, name: string) =>
  expectStatus(call<Node>('POST', '/folders', { parentId, name }), 201);
async function put(folderId: string, name: string, content: Buffer): Promise<Node> {
  const headers = { 'content-type': 'application/octet-stream' };
  const path = `/folders/${folderId}/files?name=${encodeURIComponent(name)}`;
  return expectStatus(appliance.owner.call<Node>('PUT', path, content, { headers }), 201);
}
const list = async (folderId: string): Promise<Node[]> =>
  (await expectStatus(call<{ items: Node[] }>('GET', `/folders/${folderId}?limit=500`), 200)).items;
const namesIn = async (folderId: string): Promise<string[]> =>
  (await list(folderId)).map(({ name }) => name).sort();
const find = async (folderId: string, name: string | RegExp): Promise<Node> => {
  const nodes = await list(folderId);
  const found = nodes.find((node) => (typeof name === 'string' ? node.name === name : name.test(node.name)));
  if (found === undefined)
    throw new Error(`no ${String(name)} among ${nodes.map((node) => node.name).join(', ')}`);
  return found;
};
const read = (id: string) => expectStatus(call<Buffer>('GET', `/files/${id}/content`), 200);
const ask = (body: object) => call<Run>('POST', `/snapshots/${snapshotId}/restores`, body);
async function restore(body: object, signal?: AbortSignal) {
  await expectStatus(ask(body), 202);
  return appliance.performRun(signal);
}

const digest = (content: Buffer) => createHash('sha256').update(content).digest('hex');

/** What is below a folder, by path; of files a hash of their content, of folders null. */
async function readTree(folderId: string, above = ''): Promise<Map<string, string | null>> {
  const found = new Map<string, string | null>();
  for (const node of await list(folderId)) {
    const path = `${above}${node.name}`;
    found.set(path, node.kind === 'folder' ? null : digest(await read(node.id)));
    if (node.kind === 'folder')
      for (const [below, content] of await readTree(node.id, `${path}/`)) found.set(below, content);
  }
  return found;
}

beforeAll(async () => {
  appliance = await startStockedAppliance();
  // The process that looks into snapshots finds its keys by it.
  process.env.HOLDFAST_DATA = appliance.dataDir;
  const { rootFolderId } = appliance;
  tree = await makeFolder(rootFolderId, 'Ärger');
  await makeFolder(tree.id, 'nothing in it');
  inner = await makeFolder(tree.id, 'in "quotes"');
  for (const [folderId, name, content] of [
    [tree.id, 'empty', Buffer.alloc(0)],
    [tree.id, ' space and .dots. .txt', Buffer.from('odd\n'.repeat(50))],
    [inner.id, 'large 日本', Buffer.from(randomBytes(1_500_000).toString('hex'))],
    [inner.id, 'small', Buffer.from('small')],
  ] as const) {
    await put(folderId, name, content);
    contents.set(`${folderId === inner.id ? 'in "quotes"/' : ''}${name}`, digest(content));
  }
  letter = await put(rootFolderId, 'letter.txt', Buffer.from('first form'));
  snapshotId = await appliance.takeSnapshot();
}, 120_000);
afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

describe('a folder', () => {
  test('comes back with all that is in it, beside the present one, which stays as it is', async () => {
    const { rootFolderId } = appliance;
    await put(inner.id, 'added later', Buffer.from('later'));

    const run = await restore({ folderId: rootFolderId, nodeId: tree.id });

    expect(run).toMatchObject({ kind: 'restore-folder', state: 'succeeded' });
    expect(run.result).toMatchObject({ files: 4, folders: 3, bytes: 3_000_205, problems: 0 });
    const restored = await find(rootFolderId, /^Ärger \(of \d{4}-\d\d-\d\d \d{4}\)$/);
    expect(run.result?.nodeId).toBe(restored.id);
    expect(await readTree(restored.id)).toEqual(contents);
    expect((await find(rootFolderId, 'Ärger')).id).toBe(tree.id);
    expect(await namesIn(inner.id)).toContain('added later');
    expect(run.reports.at(-1)).toMatchObject({ filesDone: 4, filesTotal: 4, bytesDone: 3_000_205 });
  });

  test('that comes back twice gets a number', async () => {
    await restore({ folderId: appliance.rootFolderId, nodeId: tree.id });

    expect((await find(appliance.rootFolderId, /^Ärger \(of .*\) \(2\)$/)).kind).toBe('folder');
  });

  test('takes the place of the present one, which is kept under another name', async () => {
    const { rootFolderId } = appliance;
    const run = await restore({ folderId: rootFolderId, nodeId: tree.id, inPlace: true });

    expect(run.result).toMatchObject({ keptNodeId: tree.id });
    const now = await find(rootFolderId, 'Ärger');
    expect(now.id).toBe(run.result?.nodeId);
    expect(await readTree(now.id)).toEqual(contents);
    expect((await find(rootFolderId, /^Ärger \(until \d{4}-\d\d-\d\d \d{4}\)$/)).id).toBe(tree.id);
    // The one in it can be brought back too, wherever it lies by now.
    const second = await restore({ folderId: tree.id, nodeId: inner.id, inPlace: true });
    expect(second.result).toMatchObject({ keptNodeId: inner.id, folderId: tree.id });
    expect(await namesIn((await find(tree.id, 'in "quotes"')).id)).not.toContain('added later');
  });

  test('that was deleted comes back where it was, or in the nearest folder above that is left', async () => {
    const { rootFolderId } = appliance;
    await expectStatus(call('DELETE', `/nodes/${inner.id}`), 204);
    const first = await restore({ folderId: tree.id, nodeId: inner.id });
    expect(first.result?.folderId).toBe(tree.id);
    await expectStatus(call('DELETE', `/nodes/${tree.id}`), 204);
    const second = await restore({ folderId: tree.id, nodeId: inner.id });

    expect(second.result?.folderId).toBe(rootFolderId);
    expect(second.lines.join()).toContain('nearest above');
    await find(rootFolderId, /^in "quotes" \(of /);
    const refused = await ask({ folderId: tree.id, nodeId: inner.id, inPlace: true });
    expect(refused.status).toBe(409);
  });

  test('at the top brings everything back as a folder, and takes no place', async () => {
    const { rootFolderId } = appliance;
    expect((await ask({ folderId: rootFolderId, nodeId: rootFolderId, inPlace: true })).status).toBe(409);

    const run = await restore({ folderId: rootFolderId, nodeId: rootFolderId });

    expect(run.state).toBe('succeeded');
    const top = await namesIn(String(run.result?.nodeId));
    expect(top).toEqual(['letter.txt', 'Ärger']);
  });

  test('is gone again when its restore is cancelled', async () => {
    const before = await namesIn(appliance.rootFolderId);
    const cancel = new AbortController();
    await expectStatus(ask({ folderId: appliance.rootFolderId, nodeId: tree.id }), 202);
    cancel.abort();
    const run = await appliance.performRun(cancel.signal);

    expect(run.state).toBe('cancelled');
    expect(await namesIn(appliance.rootFolderId)).toEqual(before);
  });

  test('says in its name that it is not whole when the restore was killed, and can be restored again', async () => {
    await expectStatus(ask({ folderId: appliance.rootFolderId, nodeId: tree.id }), 202);
    expect(await killRunAt(appliance, 'workspaces.bring.committed')).toMatchObject({ signal: 'SIGKILL' });

    const left = await find(appliance.rootFolderId, /not whole yet$/);
    for (const [path, content] of await readTree(left.id)) expect(content).toEqual(contents.get(path));
    const run = await restore({ folderId: appliance.rootFolderId, nodeId: tree.id });
    expect(await readTree(String(run.result?.nodeId))).toEqual(contents);

    // What a whole one has brought stays, and so does what somebody has begun to use.
    const used = await put(left.id, 'used', Buffer.from('used'));
    await clearUnfinished(appliance.deps);
    expect((await find(left.id, 'used')).id).toBe(used.id);
    expect((await find(appliance.rootFolderId, /not whole yet$/)).id).toBe(left.id);
    expect(await readTree(String(run.result?.nodeId))).toEqual(contents);
    await expectStatus(call('DELETE', `/nodes/${left.id}`), 204);
  });

  test('that nobody has touched since its restore was killed is deleted again', async () => {
    await expectStatus(ask({ folderId: appliance.rootFolderId, nodeId: tree.id }), 202);
    expect(await killRunAt(appliance, 'workspaces.bring.committed')).toMatchObject({ signal: 'SIGKILL' });
    const left = await find(appliance.rootFolderId, /not whole yet$/);
    const before = await namesIn(appliance.rootFolderId);
    expect((await readTree(left.id)).size).toBeGreaterThan(0);

    await clearUnfinished(appliance.deps);

    expect(await namesIn(appliance.rootFolderId)).toEqual(before.filter((name) => name !== left.name));
    await clearUnfinished(appliance.deps);
  });

  test('with a file that does not open comes back without it, says so, and takes no place', async () => {
    const { rootFolderId } = appliance;
    const folder = await makeFolder(rootFolderId, 'one is damaged');
    await put(folder.id, 'good', Buffer.from('good'));
    const bad = await put(folder.id, 'bad', randomBytes(5_000));
    const { content_id: contentId } = await appliance.deps.db
      .selectFrom('file_versions')
      .select('content_id')
      .where('node_id', '=', bad.id)
      .executeTakeFirstOrThrow();
    const stored = await open(contentPath(appliance.dataDir, contentId), 'r+');
    await stored.write(Buffer.from([1, 2, 3, 4]), 0, 4, 2_000);
    await stored.close();
    snapshotId = await appliance.takeSnapshot();

    const run = await restore({ folderId: rootFolderId, nodeId: folder.id, inPlace: true });

    expect(run.state).toBe('partial');
    expect(run.result).toMatchObject({ files: 1, problems: 1 });
    expect(run.result).not.toHaveProperty('keptNodeId');
    // By its id: whoever may see runs may not see names.
    expect(run.lines.join()).toContain(bad.id);
    expect(run.lines.join()).not.toContain('bad:');
    expect(await namesIn(String(run.result?.nodeId))).toEqual(['good']);
    expect((await find(rootFolderId, 'one is damaged')).id).toBe(folder.id);
  });
});

describe('a file', () => {
  test('takes the place of the present one, which is kept', async () => {
    const { rootFolderId } = appliance;
    const headers = { 'content-type': 'application/octet-stream' };
    const path = `/folders/${rootFolderId}/files?name=letter.txt&onConflict=replace`;
    await appliance.owner.call('PUT', path, Buffer.from('second form'), { headers });

    const run = await restore({ folderId: rootFolderId, nodeId: letter.id, inPlace: true });

    expect(run).toMatchObject({ kind: 'restore-file', state: 'succeeded' });
    expect(String(await read((await find(rootFolderId, 'letter.txt')).id))).toBe('first form');
    const kept = await find(rootFolderId, /^letter \(until .*\)\.txt$/);
    expect([kept.id, String(await read(kept.id))]).toEqual([letter.id, 'second form']);
  });

  test('whose folder is gone comes back in the nearest above that is left', async () => {
    const { rootFolderId } = appliance;
    const folder = await makeFolder(rootFolderId, 'goes away');
    const file = await put(folder.id, 'inside', Buffer.from('inside'));
    snapshotId = await appliance.takeSnapshot();
    await expectStatus(call('DELETE', `/nodes/${folder.id}`), 204);

    const run = await restore({ folderId: folder.id, nodeId: file.id });

    expect(run.result?.folderId).toBe(rootFolderId);
    await find(rootFolderId, /^inside \(of /);
  });
});

test('a folder of a snapshot says whether the workspace has it still', async () => {
  const { rootFolderId } = appliance;
  const look = async (folder: string) =>
    (
      await expectStatus(
        call<SnapshotFolder>('GET', `/snapshots/${snapshotId}/content?folderId=${folder}`),
        200,
      )
    ).present;
  const gone = await find(rootFolderId, 'one is damaged');

  expect(await look(gone.id)).toBe(true);
  await expectStatus(call('DELETE', `/nodes/${gone.id}`), 204);
  expect(await look(gone.id)).toBe(false);
});

test('each restore is asked for and done in the audit log', async () => {
  const rows = await appliance.deps.db.selectFrom('audit_entries').select('action').execute();

  const actions = new Set(rows.map(({ action }) => action));
  for (const action of [
    'backups.folder.restore-requested',
    'backups.folder.restored',
    'backups.file.restored',
    'workspaces.folder.put-in-place',
    'workspaces.files.restored',
  ])
    expect(actions).toContain(action);
});

test('who asked for a restore follows and cancels it, whatever their role; others who may not see work do not', async () => {
  const editor = await appliance.addPerson('member');
  const other = await appliance.addPerson('member');
  const member = `/workspaces/${appliance.workspaceId}/people`;
  for (const person of [editor, other])
    await expectStatus(appliance.owner.call('PUT', `${member}/${person.userId}`, { role: 'editor' }), 200);
  const { rootFolderId } = appliance;
  const asked = await expectStatus(
    editor.call<Run>('POST', `/snapshots/${snapshotId}/restores`, {
      ...{ folderId: rootFolderId, nodeId: rootFolderId },
    }),
    202,
  );
  const path = `/restores/${asked.id}`;

  expect(await editor.call('GET', path)).toMatchObject({ status: 200, body: { state: 'queued' } });
  expect((await editor.call('GET', `${path}/log`)).status).toBe(200);
  expect((await editor.call('POST', `/runs/${asked.id}/cancel`)).status).toBe(403);
  for (const [method, of] of [
    ['GET', path],
    ['GET', `${path}/log`],
    ['POST', `${path}/cancel`],
  ] as const)
    for (const person of [other, appliance.owner]) expect((await person.call(method, of)).status).toBe(404);
  expect(await editor.call('GET', path)).toMatchObject({ body: { state: 'queued' } });

  expect(await editor.call('POST', `${path}/cancel`)).toMatchObject({
    status: 200,
    body: { state: 'cancelled' },
  });

  expect((await editor.call('POST', `${path}/cancel`)).status).toBe(409);
  const entry = await appliance.deps.db
    .selectFrom('audit_entries')
    .select(['actor_id'])
    .where('action', '=', 'backups.run.cancelled')
    .where('object_id', '=', asked.id)
    .execute();
  expect(entry).toEqual([{ actor_id: editor.userId }]);
});

test('restores are found again by who asked for them, by name, and by nobody else', async () => {
  const editor = await appliance.addPerson('member');
  const grant = `/workspaces/${appliance.workspaceId}/people/${editor.userId}`;
  await expectStatus(appliance.owner.call('PUT', grant, { role: 'editor' }), 200);
  const own = async (person: Pick<typeof editor, 'call'>) =>
    (await expectStatus(person.call<{ items: OwnRestore[] }>('GET', '/restores'), 200)).items;
  const { items } = await expectStatus(
    editor.call<SnapshotFolder>('GET', `/snapshots/${snapshotId}/content`),
    200,
  );
  const wanted = items.find(({ kind }) => kind === 'folder');
  const body = { folderId: appliance.rootFolderId, nodeId: wanted?.nodeId };
  const asked = await expectStatus(editor.call<Run>('POST', `/snapshots/${snapshotId}/restores`, body), 202);

  expect(await own(editor)).toMatchObject([
    { run: { id: asked.id, state: 'queued' }, kind: 'folder', name: wanted?.name, snapshotId },
  ]);
  expect((await own(appliance.owner)).map(({ run }) => run.id)).not.toContain(asked.id);

  await expectStatus(editor.call('POST', `/restores/${asked.id}/cancel`), 200);
  expect(await own(editor)).toMatchObject([{ run: { state: 'cancelled' } }]);

  // Who may not see the workspace any more is told no name of it.
  await expectStatus(appliance.owner.call('DELETE', grant), 200);
  expect(await own(editor)).toEqual([]);
});

test('an editor, who sees no operations, is told which states there are', async () => {
  const editor = await appliance.addPerson('member');

  expect((await editor.call('GET', '/snapshots')).status).toBe(403);
  const page = await expectStatus(
    editor.call<{ items: EarlierState[]; nextCursor: string | null }>('GET', '/earlier-states?limit=1'),
    200,
  );
  expect(page.items).toMatchObject([{ whole: true }]);
  expect((await editor.call('GET', '/earlier-states?cursor=x')).status).toBe(400);
  expect(await editor.call('GET', '/earlier-states?cursor=1')).toMatchObject({
    body: { items: [], nextCursor: null },
  });
});
