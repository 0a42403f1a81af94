import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { collectDoomedContents } from '../../server/workspaces/index.ts';
import { sweepStore } from '../../server/workspaces/job.ts';
import { download, startTestWorkspace, type TestWorkspace } from '../workspaces/workspace.ts';
import type { ChildOrder } from './upload-child.ts';

/** Steps of one upload, in their order. */
const UPLOAD_STEPS = [
  'workspaces.content.written',
  'workspaces.content.synced',
  'workspaces.content.renamed',
  'workspaces.content.published',
  'workspaces.upload.committed',
];
/** 20 files go in one batch: what they share happens once. */
const IMPORT_STEPS = [
  'workspaces.content.renamed',
  'workspaces.content.renamed:11',
  'workspaces.content.published',
  'workspaces.import.committed',
];

let space: TestWorkspace;
let scratch: string;
beforeAll(async () => {
  space = await startTestWorkspace();
  scratch = await mkdtemp(join(tmpdir(), 'holdfast-faults-'));
});
afterAll(async () => {
  await space.appliance.close();
  await rm(scratch, { recursive: true, force: true });
});

/** Runs the child until it ends or kills itself at `step`. @returns the steps it reached. */
async function runChild(
  order: Omit<ChildOrder, 'dataDir' | 'address'>,
  step?: string,
): Promise<{ killed: boolean; steps: string[] }> {
  const log = join(scratch, `steps-${Math.random()}`);
  await writeFile(log, '');
  const { dataDir, database } = space.appliance;
  const child = startProcess(
    process.execPath,
    [
      '--import',
      join(import.meta.dirname, '../helpers/crash-at.ts'),
      join(import.meta.dirname, 'upload-child.ts'),
    ],
    {
      env: childEnvironment({
        HOLDFAST_TEST_ORDER: JSON.stringify({ ...order, dataDir, address: database.address }),
        HOLDFAST_TEST_CRASH_LOG: log,
        ...(step === undefined ? {} : { HOLDFAST_TEST_CRASH_AT: step.includes(':') ? step : `${step}:1` }),
      }),
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said += text));
  const end = await endOf(child);
  if (end.signal !== 'SIGKILL' && end.exitCode !== 0) throw new Error(`the child failed: ${said}`);
  return { killed: end.signal === 'SIGKILL', steps: readFileSync(log, 'utf8').trim().split('\n') };
}

/** What the next start does, and then: every row has its content, and every content its row. */
async function healAndCheck(): Promise<void> {
  await sweepStore(space.appliance.deps, { starting: true, olderThanMs: 0 });
  await collectDoomedContents(space.appliance.deps);
  const rows = await space.appliance.deps.db.selectFrom('file_versions').select('content_id').execute();
  const stored = (await space.stored()).map((path) => path.split('/').at(-1));
  expect(stored.sort()).toEqual(rows.map((row) => row.content_id).sort());
}

async function read(folderId: string, name: string): Promise<string | undefined> {
  const { items } = await space.list(folderId);
  const node = items.find((item) => item.name === name);
  if (node === undefined) return undefined;
  return (await download(space.owner, space.appliance.app, node.id)).body.toString();
}

describe('an upload killed at a durable step', () => {
  test('the steps of this test are all the steps there are', async () => {
    const folder = await space.folder('all steps');

    const { steps } = await runChild({ folderId: folder.id, act: 'upload', name: 'whole', content: 'whole' });

    expect([...new Set(steps)]).toEqual(UPLOAD_STEPS);
  });

  test.each(UPLOAD_STEPS)('at %s leaves the file whole or not at all, and its name free', async (step) => {
    const folder = await space.folder(step);
    const order = { folderId: folder.id, act: 'upload', name: 'file', content: 'the content' } as const;

    const { killed } = await runChild(order, step);
    const committed = step === 'workspaces.upload.committed';

    expect(killed).toBe(true);
    await healAndCheck();
    expect(await read(folder.id, 'file')).toBe(committed ? 'the content' : undefined);
    if (!committed) await runChild(order);
    expect(await read(folder.id, 'file')).toBe('the content');
  });

  test.each(UPLOAD_STEPS)('at %s leaves a replaced file with its old or its new content', async (step) => {
    const folder = await space.folder(`replace ${step}`);
    await space.upload('file', 'old', { folderId: folder.id });
    const order = { folderId: folder.id, act: 'replace', name: 'file', content: 'new' } as const;

    await runChild(order, step);

    await healAndCheck();
    expect(await read(folder.id, 'file')).toBe(step === 'workspaces.upload.committed' ? 'new' : 'old');
    await runChild(order);
    expect(await read(folder.id, 'file')).toBe('new');
    await healAndCheck();
  });
});

test.each(IMPORT_STEPS)('an import killed at %s is whole after it was repeated', async (step) => {
  const folder = await space.folder(`import ${step}`);
  const source = join(scratch, `source ${step}`);
  await mkdir(source);
  for (let n = 0; n < 20; n += 1) await writeFile(join(source, `file ${n}`), `content ${n}`);
  const order = { folderId: folder.id, act: 'import', name: '', content: source } as const;

  const { killed } = await runChild(order, step);

  expect(killed).toBe(true);
  await healAndCheck();
  expect([0, 20]).toContain((await space.list(folder.id)).total);
  await runChild(order);
  for (let n = 0; n < 20; n += 1) expect(await read(folder.id, `file ${n}`)).toBe(`content ${n}`);
  await healAndCheck();
});

test('a collection killed between bytes and row is finished by the next one', async () => {
  const node = await space.upload('to be collected', 'content');
  await space.owner.call('DELETE', `/nodes/${node.id}`);

  const { killed } = await runChild(
    { folderId: space.root, act: 'collect', name: '', content: '' },
    'workspaces.collection.removed',
  );

  expect(killed).toBe(true);
  await healAndCheck();
  const doomed = await space.appliance.deps.db.selectFrom('doomed_contents').selectAll().execute();
  expect(doomed).toEqual([]);
});
