/**
 * Kills the engine (SIGKILL, as a power cut would end it) at the durable steps of its pipeline, on a real tree and a real
 * repository, and then finds everything that was finished before, and can go on.
 */
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeTree } from '../backups/engine-place.ts';
import { bytesOf } from '../backups/repository-place.ts';

const ENGINE = join(import.meta.dirname, '../../scripts/bench/engine-run.ts');
const HOOK = join(import.meta.dirname, '../helpers/crash-at.ts');
const FILES = 40;

// What a killed process wrote stays in the kernel either way; memory spares the disk the fsyncs.
const top = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'holdfast-pipeline-'));
const tree = join(top, 'tree');
const state = join(top, 'state');
const origin = join(top, 'origin');

interface Ended {
  code: number | null;
  signal: string | null;
  errors: string;
}

function run(act: string, directory: string, crashAt = ''): Promise<Ended> {
  const child = spawn(process.execPath, ['--import', HOOK, ENGINE, act, state, directory], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOLDFAST_TEST_CRASH_AT: crashAt },
  });
  let errors = '';
  child.stderr.on('data', (data: Buffer) => {
    errors += data.toString('utf8');
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, errors }));
  });
}

function writeTree(seed: string): void {
  mkdirSync(join(tree, 'folder'), { recursive: true });
  for (let at = 0; at < FILES; at++)
    writeFileSync(join(tree, 'folder', `file-${String(at)}`), bytesOf(`${seed} ${String(at)}`, 5000));
  writeFileSync(join(tree, 'large'), bytesOf(`${seed} large`, 3_000_000));
}

/** Restores the newest snapshot. @returns its files as `describeTree` lists them */
async function restored(): Promise<Record<string, string>> {
  const to = join(top, 'restored');
  rmSync(to, { recursive: true, force: true });
  expect(await run('restore', to)).toMatchObject({ code: 0, errors: '' });
  return describeTree(to).lines;
}

beforeAll(async () => {
  mkdirSync(state);
  writeTree('one');
  expect(await run('init', '')).toMatchObject({ code: 0, errors: '' });
  expect(await run('snapshot', tree)).toMatchObject({ code: 0, errors: '' });
  cpSync(state, origin, { recursive: true });
}, 60_000);

afterAll(() => rmSync(top, { recursive: true, force: true }));

describe('an engine killed', () => {
  test.each(['backups.pack.written', 'backups.pack.read-back', 'backups.packs.indexed'])(
    'at %s of a snapshot keeps the one before, and the next one is whole',
    async (point) => {
      rmSync(state, { recursive: true });
      cpSync(origin, state, { recursive: true });
      writeTree('one');
      const before = describeTree(tree).lines;
      writeTree('two');

      expect(await run('snapshot', tree, `${point}:1`)).toMatchObject({ signal: 'SIGKILL' });

      expect(await run('verify', '')).toMatchObject({ code: 0, errors: '' });
      expect(await restored()).toEqual(before);
      expect(await run('snapshot', tree)).toMatchObject({ code: 0, errors: '' });
      expect(await run('verify', '')).toMatchObject({ code: 0, errors: '' });
      expect(await restored()).toEqual(describeTree(tree).lines);
    },
    120_000,
  );

  test.each(['backups.restore.files-written', 'backups.restore.tree-finished'])(
    'at %s of a restore leaves only whole files, and restores again',
    async (point) => {
      rmSync(state, { recursive: true });
      cpSync(origin, state, { recursive: true });
      writeTree('one');
      const cut = join(top, 'cut');
      rmSync(cut, { recursive: true, force: true });

      expect(await run('restore', cut, `${point}:1`)).toMatchObject({ signal: 'SIGKILL' });

      const names = readdirSync(join(cut, 'folder'));
      expect(names.sort()).toEqual(readdirSync(join(tree, 'folder')).sort());
      for (const name of [...names.map((one) => join('folder', one)), 'large'])
        expect(readFileSync(join(cut, name)).equals(readFileSync(join(tree, name))), name).toBe(true);
      expect(await restored()).toEqual(describeTree(tree).lines);
    },
    120_000,
  );
});
