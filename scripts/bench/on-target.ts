/**
 * Holdfast's engine on one kind of target, beside itself in a plain directory and restic on the same server: one folder, one run.
 * Prints a table; restic is left out where it is not installed.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TargetConfig } from '../../server/backups/engine.ts';
import { ALLOCATOR_ENVIRONMENT } from '../../server/lib/process-memory.ts';
import { bytesBelow, findProgram } from './contenders.ts';
import { measure, type Measured } from './measure.ts';

export interface ServerUnderTest {
  /** A new place on the server: how it is reached, and the folder where its bytes lie on this machine. */
  place(name: string): Promise<{ config: TargetConfig; stored: string }>;
  /** How restic reaches the same server, where it can. `folder` is for what it needs. */
  restic?: (folder: string) => Promise<{ stored: string; args: string[]; env: Record<string, string> }>;
  stop(): Promise<void>;
}

interface Runner {
  stored: string;
  init(): Promise<unknown>;
  first(folder: string): Promise<Measured>;
  unchanged(folder: string): Promise<Measured>;
  restore(folder: string): Promise<Measured>;
}

/** Of the folder in the first argument. */
export async function benchOnTarget(server: ServerUnderTest): Promise<void> {
  const corpus = process.argv[2];
  if (corpus === undefined) throw new Error('Give the folder to back up');
  const top = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
  const rows: string[] = [];
  try {
    for (const [name, run] of [
      ['directory', prepareHoldfast(join(top, 'directory'), join(top, 'directory', 'repository'))],
      ['Holdfast', await prepareOnServer(join(top, 'holdfast'), server)],
      ['restic', await prepareRestic(top, server)],
    ] as const) {
      if (run === undefined) continue;
      await run.init();
      for (const act of ['first', 'unchanged', 'restore'] as const) {
        rows.push(describe(name, act, await run[act](corpus)));
      }
      rows.push(
        `${name.padEnd(10)} stored     ${String(Math.round(bytesBelow(run.stored) / 1024 ** 2))} MiB`,
      );
    }
  } finally {
    await server.stop();
    rmSync(top, { recursive: true, force: true });
  }
  const size = await measure('du', ['-sm', corpus]);
  process.stdout.write(`MiB ${size.stdout}${rows.join('\n')}\n`);
}

function describe(name: string, act: string, { seconds, peakMebibytes }: Measured): string {
  return `${name.padEnd(10)} ${act.padEnd(10)} ${seconds.toFixed(1)} s, ${String(Math.round(peakMebibytes))} MiB`;
}

async function prepareOnServer(state: string, server: ServerUnderTest): Promise<Runner> {
  const { config, stored } = await server.place('holdfast');
  mkdirSync(state);
  writeFileSync(join(state, 'target.json'), JSON.stringify(config), { mode: 0o600 });
  return prepareHoldfast(state, stored);
}

function prepareHoldfast(state: string, stored: string): Runner {
  mkdirSync(state, { recursive: true });
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
    restore: () => run('restore', state, `${state}-restored`),
  };
}

async function prepareRestic(top: string, server: ServerUnderTest): Promise<Runner | undefined> {
  const program = findProgram('restic');
  if (program === undefined || server.restic === undefined) return undefined;
  const { stored, args, env } = await server.restic(top);
  const run = (...more: string[]) =>
    measure(program, ['-q', ...args, '--cache-dir', join(top, 'cache'), ...more], {
      RESTIC_PASSWORD: 'bench',
      ...env,
    });
  return {
    stored,
    init: () => run('init'),
    first: (folder) => run('backup', folder),
    unchanged: (folder) => run('backup', folder),
    restore: () => run('restore', 'latest', '--target', join(top, 'restored-restic')),
  };
}
