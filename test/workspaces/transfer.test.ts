import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exportDirectory, importDirectory } from '../../server/workspaces/index.ts';
import { noise, startTestWorkspace, type TestWorkspace } from './workspace.ts';

const ACTOR = { kind: 'console', label: 'tester' } as const;

let space: TestWorkspace;
let scratch: string;
beforeAll(async () => {
  space = await startTestWorkspace();
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-transfer-'));
});
afterAll(async () => {
  await space.appliance.close();
  await rm(scratch, { recursive: true, force: true });
});

async function makeTree(name: string): Promise<string> {
  const top = join(scratch, name);
  await mkdir(join(top, 'empty folder'), { recursive: true });
  await mkdir(join(top, 'deep', 'er', 'still'), { recursive: true });
  await writeFile(join(top, 'zero'), '');
  await writeFile(join(top, 'text.txt'), 'hello\n');
  await writeFile(join(top, 'big.bin'), noise(2_500_000));
  await writeFile(join(top, 'exactly one segment'), Buffer.alloc(1024 * 1024, 'x'));
  await writeFile(join(top, 'sparse'), '');
  await truncate(join(top, 'sparse'), 5_000_000);
  await writeFile(join(top, 'deep', 'er', 'still', 'line\nbreak'), 'newline name');
  await writeFile(join(top, 'deep', 'ünïcode 🎉'), 'unicode name');
  await writeFile(join(top, 'deep', 'n'.repeat(255)), 'long name');
  await chmod(join(top, 'text.txt'), 0o640);
  await chmod(join(top, 'deep', 'er', 'still', 'line\nbreak'), 0o400);
  await utimes(join(top, 'text.txt'), 1_600_000_000.25, 1_600_000_000.25);
  await utimes(join(top, 'zero'), 0, 0);
  await chmod(join(top, 'deep', 'er'), 0o750);
  await utimes(join(top, 'deep', 'er', 'still'), 1_500_000_000, 1_500_000_000);
  return top;
}

/** Every file and folder below: permission bits, time to the microsecond, and the content's hash. */
/** Names, modes, content and times of both; times are written as floating seconds, which holds a microsecond. */
async function expectSameTree(found: string, expected: string): Promise<void> {
  const [one, other] = [await describeTree(found), await describeTree(expected)];
  expect(one.facts).toEqual(other.facts);
  for (const [path, time] of Object.entries(one.times)) {
    const apart = Number(time - (other.times[path] ?? 0n));
    expect(Math.abs(apart), `nanoseconds between the times of ${path}`).toBeLessThan(1_000);
  }
}

interface DescribedTree {
  facts: Record<string, string>;
  /** Nanoseconds. */
  times: Record<string, bigint>;
}

async function describeTree(top: string): Promise<DescribedTree> {
  const found: DescribedTree = { facts: {}, times: {} };
  for (const entry of await readdir(top, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.name === '.holdfast-export') continue;
    const stats = await lstat(path, { bigint: true });
    const hash = entry.isFile()
      ? createHash('sha256')
          .update(await readFile(path))
          .digest('hex')
      : 'folder';
    const name = path.slice(top.length + 1);
    found.facts[name] = `${(Number(stats.mode) & 0o7777).toString(8)} ${hash}`;
    found.times[name] = stats.mtimeNs;
  }
  return found;
}

describe('refusals, each of which changes nothing', () => {
  test('a source that is missing, no directory, relative, or the data of the appliance is refused', async () => {
    const file = join(scratch, 'a file');
    await writeFile(file, 'x');
    const before = await space.state();

    const { dataDir } = space.appliance;
    for (const sourceDir of [
      join(scratch, 'missing'),
      file,
      'relative/path',
      dataDir,
      join(dataDir, 'files'),
      '/',
    ]) {
      await expect(
        importDirectory(space.appliance.deps, { sourceDir, folderId: space.root, actor: ACTOR }),
      ).rejects.toMatchObject({ code: 'invalid_input' });
    }

    expect(await space.state()).toEqual(before);
  });

  test('a target that is not empty, no directory, or in the data of the appliance is refused', async () => {
    const full = join(scratch, 'full');
    await mkdir(full);
    await writeFile(join(full, 'keep me'), 'kept');
    const before = await space.state();

    for (const [targetDir, code] of [
      [full, 'conflict'],
      [join(full, 'keep me'), 'invalid_input'],
      [join(scratch, 'missing', 'below'), 'invalid_input'],
      [join(space.appliance.dataDir, 'export'), 'invalid_input'],
      ['relative', 'invalid_input'],
    ]) {
      await expect(
        exportDirectory(space.appliance.deps, {
          targetDir: targetDir ?? '',
          folderId: space.root,
          actor: ACTOR,
        }),
      ).rejects.toMatchObject({ code });
    }

    expect(await space.state()).toEqual(before);
    expect(await readdir(full)).toEqual(['keep me']);
  });

  test('the console routes do not exist for people, and the console opens no file', async () => {
    const before = await space.state();

    const asOwner = await space.owner.call('POST', '/console/import', { sourceDir: scratch });
    const file = await space.appliance.console.call('GET', `/folders/${space.root}`);

    expect([asOwner.status, file.status]).toEqual([404, 403]);
    expect(await space.state()).toEqual(before);
  });
});

describe('importing and exporting', () => {
  test('a tree comes out as it went in: names, content, times and modes', async () => {
    const source = await makeTree('source');
    const folder = await space.folder('imported');
    const target = join(scratch, 'target');

    const report = await importDirectory(space.appliance.deps, {
      sourceDir: source,
      folderId: folder.id,
      actor: ACTOR,
    });
    const out = await exportDirectory(space.appliance.deps, {
      targetDir: target,
      folderId: folder.id,
      actor: ACTOR,
    });

    expect(report).toMatchObject({ files: 8, folders: 4, replaced: 0, unchanged: 0, skippedCount: 0 });
    expect(out).toMatchObject({ files: 8, folders: 4, skippedCount: 0, bytes: report.bytes });
    await expectSameTree(target, source);
  });

  test('both can be repeated: what is unchanged is left alone, what changed is replaced', async () => {
    const source = await makeTree('repeated');
    const folder = await space.folder('repeated');
    const target = join(scratch, 'repeated target');
    const { deps } = space.appliance;
    const request = { sourceDir: source, folderId: folder.id, actor: ACTOR };
    await importDirectory(deps, request);
    await exportDirectory(deps, { targetDir: target, folderId: folder.id, actor: ACTOR });
    const before = await space.state();

    expect(await importDirectory(deps, request)).toMatchObject({
      files: 0,
      folders: 0,
      replaced: 0,
      unchanged: 8,
    });
    expect(await space.state()).toEqual(before);

    await writeFile(join(source, 'text.txt'), 'changed\n');
    await writeFile(join(source, 'new.txt'), 'new\n');
    await writeFile(join(target, 'mine.txt'), 'not from the appliance');
    expect(await importDirectory(deps, request)).toMatchObject({ files: 1, replaced: 1, unchanged: 7 });
    const out = await exportDirectory(deps, { targetDir: target, folderId: folder.id, actor: ACTOR });
    expect(out).toMatchObject({
      files: 1,
      replaced: 1,
      unchanged: 7,
      skipped: [{ path: 'mine.txt', reason: 'it is not in the appliance; left as it is' }],
    });
    await rm(join(target, 'mine.txt'));
    expect(Object.keys((await describeTree(target)).facts).sort()).toEqual(
      Object.keys((await describeTree(source)).facts).sort(),
    );
    expect(await readFile(join(target, 'text.txt'), 'utf8')).toBe('changed\n');
  });

  test('every item that is not taken is reported with its reason', async () => {
    const source = join(scratch, 'odd');
    await mkdir(join(source, 'loop'), { recursive: true });
    await writeFile(join(source, 'plain'), 'plain');
    await symlink('plain', join(source, 'link'));
    await symlink('..', join(source, 'loop', 'up'));
    execFileSync('mkfifo', [join(source, 'pipe')]);
    await writeFile(Buffer.concat([Buffer.from(`${source}/bad `), Buffer.from([0xff, 0xfe])]), 'bad name');
    const server = createServer().listen(join(source, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    const folder = await space.folder('odd');
    await space.folder('plain', folder.id);
    const said: string[] = [];

    const report = await importDirectory(space.appliance.deps, {
      sourceDir: source,
      folderId: folder.id,
      actor: ACTOR,
      onSkipped: (item) => said.push(`${item.path}: ${item.reason}`),
    });
    server.close();

    expect(said.sort()).toEqual([
      'bad \\xff\\xfe: its name is not UTF-8',
      'link: it is a symbolic link',
      'loop/up: it is a symbolic link',
      'pipe: it is a named pipe',
      'plain: a folder of this name is in the way',
      'socket: it is a socket',
    ]);
    expect(report).toMatchObject({ files: 0, folders: 1, skippedCount: 6 });
  });

  test('a damaged file is left out of an export and reported; all others are written', async () => {
    const folder = await space.folder('half damaged');
    await space.upload('good', 'good', { folderId: folder.id });
    const bad = await space.upload('bad', 'bad content', { folderId: folder.id });
    const { contentPath } = await import('../../server/workspaces/index.ts');
    const { content_id } = await space.appliance.deps.db
      .selectFrom('file_versions')
      .select('content_id')
      .where('node_id', '=', bad.id)
      .executeTakeFirstOrThrow();
    await truncate(contentPath(space.appliance.dataDir, content_id), 10);
    const target = join(scratch, 'half target');

    const report = await exportDirectory(space.appliance.deps, {
      targetDir: target,
      folderId: folder.id,
      actor: ACTOR,
    });

    expect(report).toMatchObject({ files: 1, skipped: [{ path: 'bad' }] });
    expect((await readdir(target)).sort()).toEqual(['.holdfast-export', 'good']);
  });

  test('what an upload said about rights to run as its owner is not exported', async () => {
    const folder = await space.folder('set-user-id');
    const mode = 0o4755;
    await space.upload('rootkit', '#!/bin/sh', { folderId: folder.id, query: `&mode=${mode}` });
    const target = join(scratch, 'plain rights');

    await exportDirectory(space.appliance.deps, { targetDir: target, folderId: folder.id, actor: ACTOR });

    expect((await lstat(join(target, 'rootkit'))).mode & 0o7777).toBe(0o755);
  });

  test('a stopped import leaves whole files only, and a repetition takes in the rest', async () => {
    const source = join(scratch, 'many');
    await mkdir(source);
    for (let n = 0; n < 2000; n += 1) await writeFile(join(source, `file ${n}`), `content ${n}`);
    const folder = await space.folder('many');
    const stop = new AbortController();
    const request = { sourceDir: source, folderId: folder.id, actor: ACTOR };

    await expect(
      importDirectory(space.appliance.deps, {
        ...request,
        signal: stop.signal,
        onProgress(progress) {
          if (progress.files > 0) stop.abort();
        },
      }),
    ).rejects.toMatchObject({ code: 'cancelled' });

    const taken = (await space.list(folder.id)).total;
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(2000);
    const rows = await space.appliance.deps.db.selectFrom('file_versions').select('content_id').execute();
    const doomed = await space.appliance.deps.db.selectFrom('doomed_contents').select('content_id').execute();
    expect((await space.stored()).length).toBe(rows.length + doomed.length);
    expect(await importDirectory(space.appliance.deps, request)).toMatchObject({
      files: 2000 - taken,
      unchanged: taken,
    });
  });

  test('the console gets lines of progress and a report at the end', async () => {
    const source = await makeTree('by console');
    await symlink('zero', join(source, 'link'));
    const folder = await space.folder('by console');

    const reply = await space.appliance.console.call<string>('POST', '/console/import', {
      sourceDir: source,
      folderId: folder.id,
    });

    const lines = reply.body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.some((line) => 'progress' in line)).toBe(true);
    expect(lines).toContainEqual({ skipped: { path: 'link', reason: 'it is a symbolic link' } });
    expect(lines.at(-1)).toMatchObject({ report: { files: 8, folders: 4, skippedCount: 1 } });
    const failed = await space.appliance.console.call<string>('POST', '/console/import', {
      sourceDir: '/missing',
    });
    expect(JSON.parse(failed.body)).toMatchObject({ error: { code: 'invalid_input' } });
  });
});
