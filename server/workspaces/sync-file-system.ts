/**
 * Makes many files durable at once. One `syncfs` for a batch costs what a few `fsync` cost; a thousand `fsync` each wait for
 * a commit of the file system's journal.
 */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { runProcess } from '../lib/spawn.ts';

const TIMEOUT_MS = 10 * 60 * 1000;
/** Below this, one by one is quicker than starting a program. */
const FEW = 8;

/**
 * Makes files durable that were written and closed. Errors of the disk are noticed (Linux 5.8 and later).
 *
 * @param anchor any directory on the file system of `paths`.
 * @throws unavailable when the disk did not take them
 */
export async function syncFiles(anchor: string, paths: readonly string[]): Promise<void> {
  if (paths.length > FEW && (await syncFileSystem(anchor))) return;
  for (const path of paths) await syncOne(path);
}

/** Makes a directory tree durable. */
export async function syncTree(top: string): Promise<void> {
  if (await syncFileSystem(top)) return;
  for (const entry of await readdir(top, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() || entry.isDirectory()) await syncOne(join(entry.parentPath, entry.name));
  }
}

async function syncOne(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @returns false where the program `sync` cannot do it. */
async function syncFileSystem(anchor: string): Promise<boolean> {
  try {
    const { exitCode, stderr } = await runProcess('sync', ['--file-system', anchor], {
      timeoutMs: TIMEOUT_MS,
    });
    if (exitCode === 0) return true;
    if (/unrecognized|invalid option/i.test(stderr)) return false;
    throw new HoldfastError('unavailable', 'The disk did not take what was written', { detail: stderr });
  } catch (error) {
    if (error instanceof HoldfastError && messageOf(error).includes('could not be started')) return false;
    throw error;
  }
}
