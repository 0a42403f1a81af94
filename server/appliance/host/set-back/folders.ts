/**
 * Data folders that change places on one volume. Guarantees: none is ever removed while it is live or could become so again; after
 * a kill at any step the next call goes on where it was, told by which folders are there.
 *
 * Keyring and certificate are not set back: they go along with whatever becomes live. So a key that was disabled stays disabled, a
 * head number is signed once, and the next snapshot continues the repository as if nothing had been.
 */
import { randomUUID } from 'node:crypto';
import { chmod, cp, lstat, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crashPoint } from '../../../lib/crash-point.ts';
import { dataPaths, setBackFolders } from '../../../lib/data-folder.ts';
import { HoldfastError, isSystemError } from '../../../lib/errors.ts';
import { syncDirectory } from '../../../lib/files.ts';
import { runProcess } from '../../../lib/spawn.ts';

const SYNC_TIMEOUT_MS = 10 * 60_000;
const GONE = 'gone-';
const STRAY = 'stray-';

/** The live data are set aside, and those of the snapshot become live. */
export function moveIn(dataDir: string): Promise<void> {
  const { before, fresh } = setBackFolders(dataDir);
  return exchange({ live: dataDir, aside: before, incoming: fresh });
}

/** The live data step aside, and those from before become live again. */
export function moveBack(dataDir: string): Promise<void> {
  const { before, fresh } = setBackFolders(dataDir);
  return exchange({ live: dataDir, aside: fresh, incoming: before });
}

interface Places {
  live: string;
  /** Where the live folder goes. */
  aside: string;
  /** What becomes live. */
  incoming: string;
}

async function exchange({ live, aside, incoming }: Places): Promise<void> {
  if (!(await isThere(aside))) await renameDurably(live, aside);
  // What lies aside is for nobody; `server/prepare.ts` opens the live folder again.
  await chmod(aside, 0o700);
  crashPoint('set-back.live.aside');
  if (await isThere(incoming)) {
    // Between the two steps a system that knows nothing of them may have begun an empty folder.
    if (await isThere(live)) await renameDurably(live, strayPlace(aside));
    await renameDurably(incoming, live);
  }
  await chmod(live, 0o711);
  crashPoint('set-back.live.in');
}

/** @param from its keyring and certificate go along; services that write them have ended. @param to gets them in place of its own. */
export async function carryAlong(from: string, to: string): Promise<void> {
  const [source, target] = [dataPaths(from), dataPaths(to)];
  for (const part of ['keyring', 'tls'] as const) {
    if (!(await isThere(source[part]))) continue;
    const [arriving, leaving] = [`${target[part]}.arriving`, `${target[part]}.leaving`];
    await rm(arriving, { recursive: true, force: true });
    await rm(leaving, { recursive: true, force: true });
    await cp(source[part], arriving, { recursive: true, preserveTimestamps: true });
    await syncFileSystem(arriving);
    crashPoint(`set-back.${part}.copied`);
    if (await isThere(target[part])) await rename(target[part], leaving);
    crashPoint(`set-back.${part}.leaving`);
    await renameDurably(arriving, target[part]);
    crashPoint(`set-back.${part}.carried`);
    await rm(leaving, { recursive: true, force: true });
  }
}

/** Takes a folder out of every place from which it could become live; `sweepGone` frees its space. Absent is fine. */
export async function letGo(dataDir: string, path: string): Promise<void> {
  if (!(await isThere(path))) return;
  await renameDurably(path, join(setBackFolders(dataDir).top, `${GONE}${randomUUID()}`));
  crashPoint('set-back.folder.gone');
}

/** Frees the space of what was let go. @returns how many folders. */
export async function sweepGone(dataDir: string): Promise<number> {
  const { top } = setBackFolders(dataDir);
  const gone = (await readdir(top).catch(() => [] as string[])).filter((name) => name.startsWith(GONE));
  for (const name of gone) await rm(join(top, name), { recursive: true, force: true, maxRetries: 3 });
  return gone.length;
}

/** Bytes on the disk. */
export async function countBytes(path: string): Promise<number> {
  const args = ['--summarize', '--one-file-system', '--block-size=1', path];
  const { stdout } = await runProcess('du', args, { timeoutMs: SYNC_TIMEOUT_MS });
  const bytes = Number.parseInt(stdout, 10);
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new HoldfastError('unavailable', `The size of ${path} could not be found out`);
}

export async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return false;
      throw error;
    },
  );
}

function strayPlace(beside: string): string {
  return join(dirname(beside), `${STRAY}${randomUUID()}`);
}

async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  for (const folder of new Set([dirname(from), dirname(to)])) await syncDirectory(folder);
}

async function syncFileSystem(path: string): Promise<void> {
  const synced = await runProcess('sync', ['--file-system', path], { timeoutMs: SYNC_TIMEOUT_MS });
  if (synced.exitCode === 0) return;
  throw new HoldfastError('unavailable', 'What goes along could not be made durable', {
    hint: 'Look at the disk of the data volume.',
    detail: synced.stderr,
  });
}
