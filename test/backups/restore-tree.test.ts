/** The files of a snapshot in a directory: by runs of the appliance, and with a stored file that was changed under way. */
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  openChunkReader,
  openRepository,
  requestDirectoryRestore,
  restoreTree,
} from '../../server/backups/index.ts';
import type { ChunkReader } from '../../server/backups/pipeline/chunk-reader.ts';
import { listRuns } from '../../server/lib/runs.ts';
import {
  queueScheduledRun,
  startStockedAppliance,
  stock,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';

let appliance: StockedAppliance;
let snapshotId: string;
let folder: string;
let letterId: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  for (let number = 0; number < 40; number++) {
    await appliance.upload(
      `small-${String(number)}`,
      Buffer.from(`content ${String(number)}`.repeat(number)),
    );
  }
  letterId = (await appliance.upload('letter', Buffer.from('one of two'))).id;
  snapshotId = await appliance.takeSnapshot();
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-restore-tree-'));
}, 120_000);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await (appliance as StockedAppliance | undefined)?.close();
});

const console = { kind: 'console', label: 'root' } as const;

const request = (to: string, existing: 'refuse' | 'replace' = 'refuse') =>
  requestDirectoryRestore(appliance.deps, console, {
    ...{ snapshotId, targetId: appliance.targetId, to, existing },
  });

const openRuns = () => listRuns(appliance.deps.db, { kind: 'restore-directory', open: false, limit: 50 });

async function expectWhole(directory: string, but: readonly string[] = []): Promise<void> {
  const expected = [...appliance.files.keys()].filter((name) => !but.includes(name)).sort();
  expect((await readdir(directory)).sort()).toEqual(expected);
  for (const name of expected)
    expect(await readFile(join(directory, name))).toEqual(appliance.files.get(name));
}

async function openSource() {
  const { kit, targetPath, deps } = appliance;
  const repository = await openRepository({
    target: { kind: 'directory', path: targetPath },
    keys: {
      identity: kit.identity,
      repositoryId: kit.repositoryId,
      trustRoot: Buffer.from(kit.trustRoot, 'base64'),
    },
    cataloguePath: join(await mkdtemp(join(folder, 'catalogue-')), 'catalogue.sqlite'),
  });
  const { target, keys, catalogue } = repository;
  const reader = await openChunkReader({ target: target.config, generations: keys.generations, catalogue });
  const close = async () => {
    await reader.close();
    await repository.close();
  };
  const snapshot = await repository.findSnapshot('latest');
  return { reader, snapshot, keys: deps.keys, sealer: deps.sealer, close };
}

test('a directory that is not empty, or none, is refused before there is a run', async () => {
  await mkdir(join(folder, 'full'));
  await writeFile(join(folder, 'full/mine'), 'mine');

  await expect(request(join(folder, 'full'))).rejects.toMatchObject({ code: 'conflict' });
  await expect(request(join(folder, 'full/mine'))).rejects.toMatchObject({ code: 'conflict' });

  expect(await openRuns()).toEqual([]);
  expect(await readdir(join(folder, 'full'))).toEqual(['mine']);
});

test('a directory and a single file restored at once are both whole, also the first time', async () => {
  await request(join(folder, 'one'));
  await queueScheduledRun(appliance, 'restore-file', {
    ...{ snapshotId, targetId: appliance.targetId },
    ...{ folderId: appliance.rootFolderId, nodeId: letterId },
  });

  const runs = await Promise.all([appliance.performRun(), appliance.performRun()]);

  // Which of the two takes which, nobody says.
  expect(runs.map((run) => [run.kind, run.state, run.error]).sort()).toEqual([
    ['restore-directory', 'succeeded', null],
    ['restore-file', 'succeeded', null],
  ]);
  await expectWhole(join(folder, 'one'));
}, 120_000);

test('a file whose stored form changed under way gets no name; the others are restored', async () => {
  const source = await openSource();
  let damaged = '';
  const reader: ChunkReader = {
    ...source.reader,
    restoreSection: async (section, to, options) => {
      const report = await source.reader.restoreSection(section, to, options);
      damaged = join(to, options?.paths?.[0] ?? '');
      const bytes = await readFile(damaged);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 20) ^ 1, bytes.length - 20);
      await writeFile(damaged, bytes);
      return report;
    },
  };
  try {
    const to = join(folder, 'damaged');
    const report = await restoreTree(
      { ...source, reader },
      { to, existing: 'refuse', signal: new AbortController().signal },
    );

    expect(report).toMatchObject({ files: appliance.files.size - 1, problemCount: 1 });
    await expectWhole(
      to,
      report.problems.map(({ path }) => path),
    );
  } finally {
    await source.close();
  }
}, 120_000);

test('what lies in the place of a file is replaced, not followed', async () => {
  const to = join(folder, 'links');
  await mkdir(to);
  await writeFile(join(folder, 'outside'), 'outside');
  await symlink(join(folder, 'outside'), join(to, 'letter.txt'));
  await request(to, 'replace');

  const run = await appliance.performRun();

  expect(run.state).toBe('succeeded');
  expect(await readFile(join(folder, 'outside'), 'utf8')).toBe('outside');
  await expectWhole(to);
}, 120_000);

test('a cancelled restore leaves whole files only', async () => {
  const to = join(folder, 'cancelled');
  const source = await openSource();
  const controller = new AbortController();
  try {
    const restoring = restoreTree(source, {
      ...{ to, existing: 'refuse' as const, signal: controller.signal },
      progress: ({ files }) => {
        if (files >= 5) controller.abort(new Error('stopped'));
      },
    });

    await expect(restoring).rejects.toThrow('stopped');
  } finally {
    await source.close();
  }

  const names = await readdir(to);
  expect(names.length).toBeLessThan(appliance.files.size);
  for (const name of names) expect(await readFile(join(to, name))).toEqual(appliance.files.get(name));
}, 120_000);
