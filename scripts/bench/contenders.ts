/** What is compared: Holdfast's engine, restic, and the plain tar, zstd and age pipe. Each keeps to a folder of its own. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { generateAgeIdentity } from '../../server/keys/index.ts';
import { ALLOCATOR_ENVIRONMENT } from '../../server/lib/process-memory.ts';
import { measure, type Measured } from './measure.ts';

export interface Contender {
  name: string;
  /** An empty repository. */
  prepare(): Promise<void>;
  snapshot(corpus: string): Promise<Measured>;
  restore(to: string): Promise<Measured>;
  verify?(): Promise<Measured>;
  storedBytes(): number;
}

export function bytesBelow(folder: string): number {
  let total = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    total += entry.isDirectory() ? bytesBelow(path) : statSync(path).size;
  }
  return total;
}

export function findProgram(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

export function createHoldfast(folder: string): Contender {
  const script = join(import.meta.dirname, 'engine-run.ts');
  // As the appliance starts its runs: little young memory, two malloc arenas, compiled modules kept from run to run.
  const run = (...args: string[]) =>
    measure(process.execPath, ['--max-semi-space-size=2', '--max-old-space-size=512', script, ...args], {
      NODE_COMPILE_CACHE: join(folder, '..', 'compile-cache'),
      MALLOC_ARENA_MAX: '2',
      ...ALLOCATOR_ENVIRONMENT,
    });
  return {
    name: 'holdfast',
    async prepare() {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      await run('init', folder);
    },
    snapshot: (corpus) => run('snapshot', folder, corpus),
    restore: (to) => run('restore', folder, to),
    verify: () => run('verify', folder),
    storedBytes: () => bytesBelow(join(folder, 'repository')),
  };
}

export function createRestic(program: string, folder: string): Contender {
  const repository = join(folder, 'repository');
  const run = (...args: string[]) =>
    measure(program, ['-q', '-r', repository, '--cache-dir', join(folder, 'cache'), ...args], {
      RESTIC_PASSWORD: 'bench',
    });
  return {
    name: 'restic',
    async prepare() {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      await run('init');
    },
    snapshot: (corpus) => run('backup', corpus),
    restore: (to) => run('restore', 'latest', '--target', to),
    verify: () => run('check', '--read-data'),
    storedBytes: () => bytesBelow(repository),
  };
}

export async function createPipe(folder: string): Promise<Contender> {
  const { identity, recipient } = await generateAgeIdentity();
  const file = join(folder, 'backup.tar.zst.age');
  const shell = (script: string, env: Record<string, string>) =>
    measure('bash', ['-o', 'pipefail', '-c', script], { FILE: file, ...env });
  return {
    name: 'tar|zstd|age',
    async prepare() {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
    },
    snapshot: (corpus) =>
      shell('tar -C "$CORPUS" -cf - . | zstd -q -1 -T2 | age -r "$RECIPIENT" > "$FILE"', {
        CORPUS: corpus,
        RECIPIENT: recipient,
      }),
    async restore(to) {
      mkdirSync(to, { recursive: true });
      return shell('age -d -i <(echo "$IDENTITY") "$FILE" | zstd -q -d | tar -C "$TO" -xf -', {
        IDENTITY: identity,
        TO: to,
      });
    },
    storedBytes: () => bytesBelow(folder),
  };
}

/** What Holdfast says of its own run, from the line it prints. */
export function ownNumbers(measured: Measured): Record<string, number> {
  return JSON.parse(measured.stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, number>;
}

export function sameContent(left: string, right: string): boolean {
  return readFileSync(left).equals(readFileSync(right));
}
