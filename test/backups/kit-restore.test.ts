/**
 * Restores with the kit and stock tools only: `age`, `zstd`, Python with `cryptography`, and kit-restore.py. The snapshot is
 * taken by the real pipeline; nothing of Holdfast runs in the restore.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import {
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
  chmod,
  open,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { encodeObject } from '../../server/backups/objects/object-lines.ts';
import { numberedName, sha256Of } from '../../server/backups/objects/object-names.ts';
import { openChunkWriter } from '../../server/backups/pipeline/index.ts';
import { buildKeyringObject } from '../../server/keys/keyring-object.ts';
import { fileKeyContext, sealField, deriveKey } from '../../server/keys/sealing.ts';
import { applyRecord, emptyKeyring } from '../../server/keys/keyring/model.ts';
import {
  createLocalRepositoryKeys,
  kitToJson,
  kitToText,
  makeRecoveryKit,
  signStatement,
} from '../../server/keys/index.ts';
import { sealFile } from '../../server/workspaces/seal-file.ts';
import { tool } from '../helpers/tools.ts';
import {
  bytesOf,
  createPlace,
  openPlace,
  openPlaceWriter,
  withWriter,
  type Place,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const SCRIPT = join(import.meta.dirname, '../../server/backups/kit-restore.py');

let place: Place;
let source: string;
let kitPath: string;
const named = { name: 'Jahresbericht für Zoë.txt', content: bytesOf('report', 3_000_000) };

interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Python with a PATH on which nothing but age and zstd of the machine is needed. */
function restore(args: string[], target = place.path, kit = kitPath): Ran {
  const python = tool('python3');
  const [age, zstd] = [tool('age'), tool('zstd')];
  const path = [dirname(age.path), dirname(zstd.path), '/usr/bin', '/bin'].join(':');
  const done = spawnSync(python.path, ['-B', SCRIPT, '--target', target, '--kit', kit, ...args], {
    encoding: 'utf8',
    env: { ...python.env, PATH: path },
  });
  return { status: done.status, stdout: done.stdout, stderr: done.stderr };
}

beforeAll(async () => {
  place = await createPlace();
  source = join(place.top, 'source');
  await fillSource(source);
  kitPath = join(place.top, 'kit.json');
  await writeFile(kitPath, kitToJson(makeKit()));
  await takeRealSnapshot();
}, 60_000);

afterAll(async () => {
  await place.dispose();
});

function makeKit() {
  const { kit, statement, trustRoot } = place.local;
  return makeRecoveryKit({
    kitId: kit.id,
    applianceName: 'Test',
    createdAt: '2026-01-01T00:00:00.000Z',
    repositoryId: statement.repositoryId,
    trustRoot: Buffer.from(trustRoot.publicKey).toString('base64'),
    ageIdentity: kit.identity,
    targets: [{ name: 'Test', kind: 'directory', location: place.path }],
  });
}

async function fillSource(top: string): Promise<void> {
  await mkdir(join(top, 'deep/er'), { recursive: true });
  await writeFile(join(top, 'empty'), '');
  await writeFile(join(top, 'small.txt'), 'small\n');
  await writeFile(join(top, 'deep/er/large.bin'), bytesOf('large', 5_000_001));
  await writeFile(join(top, 'deep/repeated.txt'), 'the same line again\n'.repeat(200_000));
  await writeFile(join(top, 'line\nbreak "quoted" \\ ünïcode'), 'odd name');
  await writeFile(Buffer.concat([Buffer.from(`${top}/not-utf8-`), Buffer.from([0xff, 0xfe])]), 'bytes');
  await link(join(top, 'small.txt'), join(top, 'deep/hard-link'));
  await symlink('../small.txt', join(top, 'deep/soft-link'));
  const sparse = await open(join(top, 'sparse'), 'w');
  await sparse.write('end', 3_000_000);
  await sparse.close();
  await chmod(join(top, 'small.txt'), 0o640);
  await utimes(join(top, 'small.txt'), 1_600_000_000.5, 1_600_000_000.5);
  await chmod(join(top, 'deep/er'), 0o555);
}

/** A tree, and one file as the appliance stores it: sealed content, sealed names, keys in a keyring object. */
async function takeRealSnapshot(): Promise<void> {
  const repository = await openPlace(place);
  const { local } = place;
  const writer = await openPlaceWriter(place, repository);
  const [generation] = local.writeKeys.generations;
  if (generation === undefined) throw new Error('no generation');
  const chunks = openChunkWriter({
    target: { kind: 'directory', path: place.path },
    generation,
    catalogue: repository.catalogue,
    onPacks: (packs) => writer.publishIndex(packs),
  });
  const tree = await chunks.addTree(source, { name: 'tree' });

  const ids = { workspace: randomUUID(), root: randomUUID(), folder: randomUUID(), node: randomUUID() };
  const [workspaceKey, subjectKey] = [
    { id: randomUUID(), material: randomBytes(32) },
    { id: randomUUID(), material: randomBytes(32) },
  ];
  const file = {
    workspaceId: ids.workspace,
    subjectKeyId: subjectKey.id,
    contentId: randomUUID(),
    version: 1,
  };
  const dataKey = randomBytes(32);
  const store = join(place.top, 'store');
  const stored: Buffer[] = [];
  await sealFile(Readable.from([named.content]), { ...file, key: dataKey }, async (parts) => {
    for (const part of parts) stored.push(Buffer.from(part));
  });
  await mkdir(join(store, file.contentId.slice(0, 2)), { recursive: true });
  await writeFile(join(store, file.contentId.slice(0, 2), file.contentId), Buffer.concat(stored));
  const files = await chunks.addTree(store, { name: 'files' });

  const nameKey = { version: 1, key: deriveKey(workspaceKey.material, 'names') };
  const sealName = (type: string, objectId: string, name: string): string =>
    sealField(
      nameKey,
      { type, workspaceId: ids.workspace, subjectId: '', objectId, version: '' },
      name,
    ).toString('base64');
  const wrapKey = { version: 1, key: deriveKey(subjectKey.material, 'wrap') };
  const wrapped = sealField(wrapKey, fileKeyContext(file), dataKey).toString('base64');
  const common = { workspaceId: ids.workspace, mtimeNs: '1700000000123456789', mode: null, createdAt: '' };
  const lists: Record<string, object[]> = {
    'workspaces.jsonl': [
      {
        id: ids.workspace,
        rootFolderId: ids.root,
        nameSealed: sealName('workspace-name', ids.workspace, 'Team'),
      },
    ],
    [`nodes/${ids.root.slice(0, 2)}.jsonl`]: [
      { ...common, id: ids.root, parentId: null, kind: 'folder', nameSealed: '' },
      {
        ...common,
        id: ids.folder,
        parentId: ids.root,
        kind: 'folder',
        nameSealed: sealName('node-name', ids.folder, 'Berichte'),
      },
    ],
    [`nodes/${ids.folder.slice(0, 2)}-file.jsonl`]: [
      {
        ...common,
        id: ids.node,
        parentId: ids.folder,
        kind: 'file',
        nameSealed: sealName('node-name', ids.node, named.name),
        file: { ...file, wrappedKey: wrapped, sizeBytes: String(named.content.length) },
      },
    ],
  };
  const appliance = chunks.openSource('appliance', 'directory', {});
  appliance.addEntry({ path: 'nodes', type: 'directory', mode: 0o700 });
  for (const [path, lines] of Object.entries(lists)) {
    const text = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    await appliance.addFile({ path, type: 'file', mode: 0o600 }, [text], { chunkBytes: 4096 });
  }
  const applianceSection = await appliance.finish();
  const totals = await chunks.finish();

  const keyring = emptyKeyring();
  const at = '2026-01-01T00:00:00.000Z';
  const common2 = { state: 'enabled' as const, createdAt: at, expiresAt: null };
  applyRecord(keyring, {
    kind: 'key',
    key: {
      ...common2,
      id: workspaceKey.id,
      kind: 'workspace',
      workspaceId: ids.workspace,
      subject: null,
      versions: [{ version: 1, material: workspaceKey.material, createdAt: at }],
    },
  });
  const build = (addition: number) =>
    buildKeyringObject({
      keyring,
      repository: {
        repositoryId: local.statement.repositoryId,
        trustRoot: { publicKey: '', privateKey: '' },
        kits: [],
        claim: null,
        lastHeadNumber: '0',
        publication: null,
      },
      epoch: 3,
      addition,
      createdAt: new Date(at),
      kits: [local.kit],
      sign: (statement) => signStatement(local.signingKey, statement),
    });
  const base = await build(0);
  keyring.changedSinceBase.clear();
  applyRecord(keyring, {
    kind: 'key',
    key: {
      ...common2,
      id: subjectKey.id,
      kind: 'subject',
      workspaceId: ids.workspace,
      subject: 'none/2026-01',
      versions: [{ version: 1, material: subjectKey.material, createdAt: at }],
    },
  });
  const addition = await build(1);
  await writer.publishKeyring(base.name, base.bytes);
  await writer.publishKeyring(addition.name, addition.bytes);
  await writer.publishSnapshot({
    takenAt: at,
    durationMs: 1,
    generation: 1,
    keyringEpoch: '3',
    addedBytes: totals.bytesAdded,
    storedBytes: totals.bytesStored,
    facts: {},
    sections: [tree, applianceSection, files],
  });
  await writer.publishHead();
  await repository.close();
}

/** Every entry of a tree: kind, mode, time, link count, and what it holds. */
async function describeTree(top: string): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  const names = (await readdir(top, { recursive: true, encoding: 'buffer' })) as unknown as Buffer[];
  for (const name of names) {
    const path = Buffer.concat([Buffer.from(`${top}/`), name]);
    const stats = await lstat(path, { bigint: true });
    const content = stats.isFile()
      ? createHash('sha256')
          .update(await readFile(path))
          .digest('hex')
      : stats.isSymbolicLink()
        ? await readlink(path)
        : 'directory';
    found[name.toString('latin1')] = [
      String(stats.mode),
      String(stats.mtimeNs),
      Number(stats.nlink),
      content,
    ];
  }
  return found;
}

describe('kit-restore.py', () => {
  test('refuses what is not a kit, the kit of another appliance, and a folder without a repository', async () => {
    const other = await createLocalRepositoryKeys();
    const foreign = join(place.top, 'foreign.json');
    await writeFile(foreign, JSON.stringify({ ...makeKit(), ageIdentity: other.kit.identity }));
    const root = join(place.top, 'root.json');
    await writeFile(
      root,
      JSON.stringify({ ...makeKit(), trustRoot: Buffer.from(other.trustRoot.publicKey).toString('base64') }),
    );
    const noKit = join(place.top, 'no-kit');
    await writeFile(noKit, 'hello');

    expect(restore(['list'], place.path, noKit).status).toBe(12);
    expect(restore(['list'], place.path, foreign)).toMatchObject({
      status: 12,
      stderr: expect.stringContaining('does not open this repository') as string,
    });
    expect(restore(['list'], place.path, root)).toMatchObject({
      status: 12,
      stderr: expect.stringContaining('not valid') as string,
    });
    expect(restore(['list'], source).status).toBe(10);
  });

  test('refuses a folder that is not empty and a snapshot that is not there', () => {
    expect(restore(['restore', 'latest', '--section', 'tree', '--to', source])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('not empty') as string,
    });
    expect(restore(['restore', '77', '--section', 'tree', '--to', join(place.top, 'x')]).status).toBe(1);
    expect(restore(['restore', '1', '--section', 'nope', '--to', join(place.top, 'x')]).status).toBe(1);
  });

  test('lists the snapshots, also with the text form of the kit', async () => {
    const text = join(place.top, 'kit.txt');
    await writeFile(text, kitToText(makeKit()));

    for (const kit of [kitPath, text]) {
      const done = restore(['list', '--json'], place.path, kit);
      expect(done).toMatchObject({ status: 0, stderr: '' });
      const listed = JSON.parse(done.stdout) as {
        snapshots: { number: number; sections: { name: string }[] }[];
      };
      expect(listed.snapshots.map((one) => one.number)).toEqual([1]);
      expect(listed.snapshots[0]?.sections.map((one) => one.name)).toEqual(['tree', 'appliance', 'files']);
    }
    expect(restore(['list']).stdout).toContain('tree (directory)');
  });

  test('restores a directory source: names, content, links, modes, times', async () => {
    const to = join(place.top, 'restored');

    const done = restore(['restore', 'latest', '--section', 'tree', '--to', to]);

    expect(done, done.stderr).toMatchObject({ status: 0 });
    expect(await describeTree(to)).toEqual(await describeTree(source));
  });

  test('restores an uploaded file under its own name', async () => {
    const to = join(place.top, 'named');

    const done = restore(['files', 'latest', '--to', to]);

    expect(done, done.stderr).toMatchObject({ status: 0 });
    const path = join(to, 'Team', 'Berichte', named.name);
    expect((await readFile(path)).equals(named.content)).toBe(true);
    expect((await lstat(path, { bigint: true })).mtimeNs).toBe(1700000000123456789n);
    expect(await readdir(to)).toEqual(['Team']);
  });

  test('shows which keys there are, and never a key', () => {
    const done = restore(['keyring']);

    expect(done.status).toBe(0);
    expect(
      done.stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { kind: string }).kind),
    ).toEqual(['workspace', 'subject']);
    expect(done.stdout).not.toContain('material');
  });

  test('names what is damaged, restores the rest, and says that it is partial', async () => {
    const damaged = join(place.top, 'damaged');
    expect(spawnSync('cp', ['-a', place.path, damaged]).status).toBe(0);
    const packs: { path: string; size: number }[] = [];
    for (const name of await readdir(join(damaged, 'packs'), { recursive: true })) {
      const path = join(damaged, 'packs', name);
      const stats = await lstat(path);
      if (stats.isFile()) packs.push({ path, size: stats.size });
    }
    packs.sort((a, b) => b.size - a.size);
    await truncate(packs[0]?.path ?? '', 1000);
    const heads = await readdir(join(damaged, 'heads'));
    await writeFile(join(damaged, 'heads', `99-${'0'.repeat(64)}`), 'forged\n');

    const to = join(place.top, 'partial');
    const done = restore(['restore', 'latest', '--section', 'tree', '--to', to], damaged);

    expect(done.status).toBe(3);
    expect(done.stderr).toContain('was changed after it was written');
    expect(done.stderr).toContain('heads/99-');
    expect(heads.length).toBeGreaterThan(0);
    await rm(damaged, { recursive: true });
  });

  test('does without parts that are kept no more: says since when and why, and restores the rest', async () => {
    const because = 'no rule keeps it';
    await withWriter(place, async (writer) => {
      const [one] = writer.retained();
      await writer.forget([], [{ snapshotId: one?.sha256 ?? '', sections: ['files'], because }]);
    });

    expect(restore(['list']).stdout).toMatch(/files: kept no more since \d{4}-\d\d-\d\d, no rule keeps it/);
    const to = join(place.top, 'gone');
    for (const args of [
      ['restore', '1', '--section', 'files', '--to', to],
      ['files', '1', '--to', to],
    ]) {
      const done = restore(args);
      expect(done.status).toBe(1);
      expect(done.stderr).toContain('the part files is kept no more since');
      expect(done.stderr).toContain('what is left: tree, appliance');
    }
    await expect(lstat(to)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(restore(['restore', 'latest', '--section', 'tree', '--to', to])).toMatchObject({ status: 0 });
  });

  test('stops at a head that needs a newer script, and goes back to no earlier one', async () => {
    const { writeKeys, statement } = place.local;
    const header = {
      type: 'head',
      repositoryId: statement.repositoryId,
      number: 999,
      must: ['time-travel'],
    } as const;
    const bytes = await encodeObject(header, [{ head: {} }], writeKeys);
    await writeFile(join(place.path, numberedName('heads', { number: 999, sha256: sha256Of(bytes) })), bytes);

    expect(restore(['list'])).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringContaining('use a newer script') as string,
    });
  });
});
