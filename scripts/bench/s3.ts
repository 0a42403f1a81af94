/**
 * Holdfast's engine on an S3 server (s3rver, in this process) on the loopback address, beside itself in a plain directory and restic's
 * s3 backend: one folder, one run. `node scripts/bench/s3.ts FOLDER`. Prints a table; restic is left out where it is not installed.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ALLOCATOR_ENVIRONMENT } from '../../server/lib/process-memory.ts';
import { startS3Server } from '../../test/helpers/s3-server.ts';
import { bytesBelow, findProgram } from './contenders.ts';
import { measure, type Measured } from './measure.ts';

const corpus = process.argv[2];
if (corpus === undefined) throw new Error('Give the folder to back up');
const top = await mkdtemp(join(tmpdir(), 'holdfast-bench-s3-'));
const server = await startS3Server();
const rows: string[] = [];
try {
  for (const [name, run] of [
    ['directory', await prepareHoldfast('directory')],
    ['Holdfast', await prepareHoldfast('s3')],
    ['restic', await prepareRestic()],
  ] as const) {
    if (run === undefined) continue;
    await run.init();
    for (const act of ['first', 'unchanged', 'restore'] as const) {
      rows.push(describe(name, act, await run[act](corpus)));
    }
    rows.push(`${name.padEnd(10)} stored     ${String(Math.round(bytesBelow(run.stored) / 1024 ** 2))} MiB`);
  }
} finally {
  await server.stop();
  rmSync(top, { recursive: true, force: true });
}
const size = await measure('du', ['-sm', corpus]);
process.stdout.write(`MiB ${size.stdout}${rows.join('\n')}\n`);

function describe(name: string, act: string, { seconds, peakMebibytes }: Measured): string {
  return `${name.padEnd(10)} ${act.padEnd(10)} ${seconds.toFixed(1)} s, ${String(Math.round(peakMebibytes))} MiB`;
}

interface Runner {
  stored: string;
  init(): Promise<unknown>;
  first(folder: string): Promise<Measured>;
  unchanged(folder: string): Promise<Measured>;
  restore(folder: string): Promise<Measured>;
}

async function prepareHoldfast(kind: 'directory' | 's3'): Promise<Runner> {
  const state = join(top, kind);
  mkdirSync(state);
  const stored = kind === 's3' ? server.folder('holdfast') : join(state, 'repository');
  if (kind === 's3')
    writeFileSync(join(state, 'target.json'), JSON.stringify(server.config('holdfast')), { mode: 0o600 });
  const script = join(import.meta.dirname, 'engine-run.ts');
  const run = (...args: string[]) =>
    measure(process.execPath, ['--max-semi-space-size=2', '--max-old-space-size=512', script, ...args], {
      ...ALLOCATOR_ENVIRONMENT,
    });
  return {
    stored,
    init: () => run('init', state),
    first: (folder) => run('snapshot', state, folder),
    unchanged: (folder) => run('snapshot', state, folder),
    restore: () => run('restore', state, join(top, `restored-${kind}`)),
  };
}

async function prepareRestic(): Promise<Runner | undefined> {
  const program = findProgram('restic');
  if (program === undefined) return undefined;
  const { endpoint, bucket } = server.config('');
  const stored = server.folder('restic');
  const run = (...args: string[]) =>
    measure(
      program,
      ['-q', '-r', `s3:${endpoint}/${bucket}/restic`, '--cache-dir', join(top, 'cache'), ...args],
      { RESTIC_PASSWORD: 'bench', AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' },
    );
  return {
    stored,
    init: () => run('init'),
    first: (folder) => run('backup', folder),
    unchanged: (folder) => run('backup', folder),
    restore: () => run('restore', 'latest', '--target', join(top, 'restored-restic')),
  };
}
