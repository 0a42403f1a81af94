/**
 * The tree of stored contents: `files/<first two digits>/<content id>`, opaque ids, write-once.
 *
 * Guarantees: a content appears under its id only when it is whole and durable; what a crash leaves is a temporary or a
 * content without a row, and the collector removes both. Relies on: whoever publishes a content commits its row at once
 * or discards it; one data folder has one supervisor.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  mkdir,
  open as openFile,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  unlink,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import {
  explainWriteError,
  PRIVATE_DIRECTORY_MODE,
  PRIVATE_FILE_MODE,
  syncDirectory,
  TEMPORARY_PREFIX,
} from '../lib/files.ts';
import { damagedFile } from './file-format.ts';
import type { StoredBytes } from './open-file.ts';
import { syncFiles } from './sync-file-system.ts';

/** Uploads stop when the disk would be fuller than this; deletes, exports and backups go on. */
const FULLEST_SHARE = 0.95;
/** On a small disk too, the database needs this much to go on. */
const LEAST_FREE_BYTES = 96 * 1024 * 1024;

/** Contents up to this size are read at once. */
const WHOLE_BYTES = 64 * 1024;

const CONTENT_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A content under its temporary name. */
export interface TemporaryContent {
  contentId: string;
  temporaryPath: string;
  /** Whether its bytes would survive a power cut; `publishContents` takes care of those that would not. */
  durable: boolean;
  /** Removes what was written, published or not. */
  discard(): Promise<void>;
}

/** A content that is being written. Either `publishContents` or `discard` ends it. */
export interface StagedContent extends TemporaryContent {
  write(parts: Buffer[]): Promise<void>;
  /** Ends the writing and makes the bytes durable. */
  finish(): Promise<void>;
  /** Ends the writing; durable later, together with others. */
  close(): Promise<void>;
}

/** Path of a stored content. */
export function contentPath(dataDir: string, contentId: string): string {
  if (!CONTENT_ID.test(contentId)) throw new HoldfastError('internal', 'This is no content id');
  return join(contentFolder(dataDir, contentId), contentId);
}

/** Makes the folders of the store, durable. Cheap when they are there. */
export async function prepareFileStore(dataDir: string): Promise<void> {
  const { files } = dataPaths(dataDir);
  await mkdir(files, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  const present = new Set(await readdir(files));
  const missing = listFolders().filter((name) => !present.has(name));
  for (const name of missing)
    await mkdir(join(files, name), { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  if (missing.length > 0) await syncDirectory(files);
}

/** A content that will be written to its `temporaryPath`, which must not exist yet. */
export function planContent(dataDir: string, contentId: string): TemporaryContent {
  const finalPath = contentPath(dataDir, contentId);
  const mark = `${TEMPORARY_PREFIX}${process.pid}-${randomBytes(4).toString('hex')}-${contentId}`;
  const temporaryPath = join(contentFolder(dataDir, contentId), mark);
  return {
    contentId,
    temporaryPath,
    durable: false,
    async discard() {
      await rm(temporaryPath, { force: true });
      await rm(finalPath, { force: true });
    },
  };
}

/** Starts a planned content. @throws no_space, unavailable */
export async function stageContent(plan: TemporaryContent): Promise<StagedContent> {
  let open: FileHandle | undefined;
  try {
    open = await openFile(plan.temporaryPath, 'wx', PRIVATE_FILE_MODE);
  } catch (error) {
    throw explainWriteError(error, 'the file store');
  }
  const handle = open;
  const close = async () => {
    const closing = open;
    open = undefined;
    await closing?.close();
  };
  const content: StagedContent = {
    ...plan,
    write: (parts) => writeParts(handle, parts),
    close,
    async finish() {
      try {
        crashPoint('workspaces.content.written');
        await handle.sync();
      } catch (error) {
        throw explainWriteError(error, 'the file store');
      }
      await close();
      content.durable = true;
      crashPoint('workspaces.content.synced');
    },
    async discard() {
      await close();
      await plan.discard();
    },
  };
  return content;
}

/** Gives finished contents their names, and makes the names durable: one directory sync for many. */
export async function publishContents(dataDir: string, staged: readonly TemporaryContent[]): Promise<void> {
  try {
    const loose = staged.filter(({ durable }) => !durable).map(({ temporaryPath }) => temporaryPath);
    await syncFiles(dataPaths(dataDir).files, loose);
    for (const { temporaryPath, contentId } of staged) {
      await rename(temporaryPath, contentPath(dataDir, contentId));
      crashPoint('workspaces.content.renamed');
    }
    const folders = new Set(staged.map(({ contentId }) => contentFolder(dataDir, contentId)));
    await Promise.all([...folders].map(syncDirectory));
  } catch (error) {
    throw explainWriteError(error, 'the file store');
  }
  crashPoint('workspaces.content.published');
}

/** A stored content to read from; close it after. */
export interface OpenContent extends StoredBytes {
  close(): Promise<void>;
}

/** @throws integrity_failure when the store does not have it */
export async function openContent(dataDir: string, contentId: string): Promise<OpenContent> {
  let handle: FileHandle;
  try {
    handle = await openFile(contentPath(dataDir, contentId), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) throw damagedFile(`content ${contentId} is missing`, error);
    throw error;
  }
  const { size } = await handle.stat();
  // One read instead of four for the many that are small.
  const whole = size <= WHOLE_BYTES ? await readAt(handle, 0, size) : undefined;
  return {
    sizeBytes: size,
    read: async (offset, length) =>
      whole === undefined ? readAt(handle, offset, length) : whole.subarray(offset, offset + length),
    close: () => handle.close(),
  };
}

/** Removes contents; those that are not there are fine. */
export async function removeContents(dataDir: string, contentIds: readonly string[]): Promise<void> {
  for (const contentId of contentIds) {
    await unlink(contentPath(dataDir, contentId)).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT')) throw error;
    });
  }
  const folders = new Set(contentIds.map((contentId) => contentFolder(dataDir, contentId)));
  await Promise.all([...folders].map(syncDirectory));
}

interface SweepOptions {
  /** Ids among the given that have a row. */
  keep(contentIds: string[]): Promise<string[]>;
  /** Contents younger than this stay: the transaction that names them may be under way. */
  olderThanMs: number;
  nowMs: number;
  /** True at the start of the server, before anything of ours is being written. */
  starting: boolean;
}

/** Removes temporaries whose writer is gone, and contents that no row names. @returns how many of each. */
export async function sweepFileStore(
  dataDir: string,
  options: SweepOptions,
): Promise<{ temporaries: number; contents: number }> {
  const swept = { temporaries: 0, contents: 0 };
  for (const name of listFolders()) {
    const folder = join(dataPaths(dataDir).files, name);
    const names = await readdir(folder);
    for (const temporary of names.filter((entry) => entry.startsWith(TEMPORARY_PREFIX))) {
      if (isWriterAlive(temporary, options.starting) && !(await isOlder(join(folder, temporary), options)))
        continue;
      await rm(join(folder, temporary), { force: true });
      swept.temporaries += 1;
    }
    const contentIds = names.filter((entry) => CONTENT_ID.test(entry));
    if (contentIds.length === 0) continue;
    const kept = new Set(await options.keep(contentIds));
    for (const contentId of contentIds) {
      if (kept.has(contentId) || !(await isOlder(join(folder, contentId), options))) continue;
      await rm(join(folder, contentId), { force: true });
      swept.contents += 1;
    }
  }
  return swept;
}

/** @throws space_reserved when the disk would be more than 95 % full, or nearly so by size, with `bytes` more on it. */
export async function requireSpace(dataDir: string, bytes: number): Promise<void> {
  const disk = await statfs(dataPaths(dataDir).files);
  const used = (disk.blocks - disk.bfree) * disk.bsize;
  const usable = used + disk.bavail * disk.bsize;
  if (used + bytes <= Math.min(usable * FULLEST_SHARE, usable - LEAST_FREE_BYTES)) return;
  throw new HoldfastError('space_reserved', 'The disk of this appliance is too full to take this file', {
    hint: 'Delete files that are not needed, or give the appliance a larger disk. Nothing was stored; signing in, reading, deleting, export and backups go on.',
    detail: `used ${used}, usable ${usable}, asked ${bytes}`,
  });
}

/** The same few data folders again and again: an import asks many thousand times. */
const filesFolders = new Map<string, string>();

function contentFolder(dataDir: string, contentId: string): string {
  let files = filesFolders.get(dataDir);
  if (files === undefined) filesFolders.set(dataDir, (files = dataPaths(dataDir).files));
  return `${files}/${contentId.slice(0, 2)}`;
}

function listFolders(): string[] {
  return Array.from({ length: 256 }, (_, number) => number.toString(16).padStart(2, '0'));
}

async function writeParts(handle: FileHandle, parts: readonly Buffer[]): Promise<void> {
  try {
    let left = parts.filter((part) => part.length > 0);
    while (left.length > 0) {
      let { bytesWritten } = await handle.writev(left);
      // A write may stop short, for example when the disk fills up in the middle of it.
      while (left[0] !== undefined && bytesWritten >= left[0].length)
        bytesWritten -= left.shift()?.length ?? 0;
      if (left[0] !== undefined) left = [left[0].subarray(bytesWritten), ...left.slice(1)];
    }
  } catch (error) {
    throw explainWriteError(error, 'the file store');
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

function isWriterAlive(temporary: string, starting: boolean): boolean {
  const pid = Number(temporary.slice(TEMPORARY_PREFIX.length).split('-')[0]);
  if (!Number.isInteger(pid) || pid <= 0) return false;
  if (pid === process.pid) return !starting;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isSystemError(error, 'EPERM');
  }
}

async function isOlder(path: string, options: SweepOptions): Promise<boolean> {
  try {
    return options.nowMs - (await stat(path)).mtimeMs >= options.olderThanMs;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}
