/** The data folder of a recovery: taken when it is ours to fill, marked incomplete until everything in it is durable. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths, writeMarker } from '../lib/data-folder.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { makePrivateDirectory, syncDirectory, writeFileDurably } from '../lib/files.ts';
import { stopOrphan } from '../lib/postgres/index.ts';
import { runProcess } from '../lib/spawn.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';

const SYNC_TIMEOUT_MS = 30 * 60_000;

/** Before anything is asked or written: the folder must be ours to fill. */
export async function openEmptyFolder(dataDir: string): Promise<void> {
  const { incomplete } = dataPaths(dataDir);
  const found = await readdir(dataDir).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
  // The lock's file stays behind when a recovery was declined.
  const content = found?.filter((name) => !['lock', 'lock-journal'].includes(name)) ?? [];
  const ours = content.length === 0 || content.includes('recovery-incomplete');
  if (!ours) {
    throw new HoldfastError('conflict', `${dataDir} is not empty`, {
      hint: 'Recover into a new or empty folder. Nothing was changed.',
    });
  }
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const note = 'A recovery into this folder has not ended. Run `holdfast recover` again; it starts over.\n';
  await writeFileDurably(incomplete, note);
  crashPoint('recover.folder.marked');
}

/** Removes what an interrupted recovery left, and its PostgreSQL. */
export async function startOver(dataDir: string): Promise<void> {
  const paths = dataPaths(dataDir);
  await stopOrphan(paths.postgres);
  const keep = ['recovery-incomplete', 'lock', 'lock-journal'];
  for (const name of await readdir(dataDir)) {
    if (!keep.includes(name)) await rm(join(dataDir, name), { recursive: true, force: true });
  }
  await makePrivateDirectory(paths.catalogue);
}

/** Takes back what was done to the folder before the first part was recovered into it. */
export async function emptyAgain(dataDir: string): Promise<void> {
  const paths = dataPaths(dataDir);
  await startOver(dataDir);
  await rm(paths.catalogue, { recursive: true, force: true });
  await rm(paths.incomplete, { force: true });
}

/** All bytes are on disk before the mark of a complete folder is, and the mark of an incomplete one goes last. */
export async function publishFolder(dataDir: string, applianceId: string): Promise<void> {
  const paths = dataPaths(dataDir);
  const synced = await runProcess('sync', ['-f', dataDir], { timeoutMs: SYNC_TIMEOUT_MS });
  if (synced.exitCode !== 0) {
    throw new HoldfastError('unavailable', 'The recovered data could not be made durable', {
      hint: 'Check the disk of the data folder, then start over.',
      detail: synced.stderr,
    });
  }
  crashPoint('recover.folder.synced');
  await writeMarker(dataDir, applianceId, SOFTWARE_VERSION);
  crashPoint('recover.folder.complete');
  await rm(paths.incomplete);
  await syncDirectory(dataDir);
}
