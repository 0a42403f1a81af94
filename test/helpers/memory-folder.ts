/**
 * A folder in memory for what tests make by the hundred: data folders and clones of the database. On a disk the same costs several
 * times the processor time, most of it in the file system's journal. Nothing here needs a disk: a killed process loses no file.
 */
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const IN_MEMORY = '/dev/shm';
/** More than the tests of a run have there at any time. */
const LEAST_BYTES = 4 * 1024 ** 3;
const PREFIX = 'holdfast-tests-';
const VARIABLE = 'TEST_MEMORY_FOLDER';

/** Vitest's global setup: makes the folder where there is room for it, and takes away what killed runs left. @returns its teardown. */
export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  const found = await statfs(IN_MEMORY).catch(() => undefined);
  if (found === undefined) return undefined;
  for (const name of await readdir(IN_MEMORY)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    // What another account left is not ours to take away.
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      await remove(join(IN_MEMORY, name)).catch(() => undefined);
  }
  if (found.bavail * found.bsize < LEAST_BYTES) return undefined;
  const folder = await mkdtemp(join(IN_MEMORY, `${PREFIX}${process.pid}-`));
  // PostgreSQL has an account of its own.
  await chmod(folder, 0o711);
  process.env[VARIABLE] = folder;
  return () => remove(folder);
}

/** Like `tmpdir()`, in memory where there is room for it. */
export function quickTmpdir(): string {
  return process.env[VARIABLE] ?? tmpdir();
}

function remove(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 5 });
}
