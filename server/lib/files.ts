/**
 * Durable file operations. A write here is: temporary file beside the final one, fsync, rename, fsync of the directory.
 * After `writeFileDurably` returns, a power cut leaves the new content; before, the old content or none. Never a mix.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  chmod,
  chown,
  lchown,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  unlink,
} from 'node:fs/promises';
import { dirname, join, basename } from 'node:path';
import { HoldfastError, isSystemError } from './errors.ts';
import { isSharedWithGroup } from './config.ts';
import { crashPoint } from './crash-point.ts';

/** Prefix of every temporary file we make; swept at start. */
export const TEMPORARY_PREFIX = '.tmp-';

/**
 * Modes of what lies in the places of the data folder and of targets that server and runs share: for us alone, or for our group
 * where they are different accounts. The group itself comes from the folder above (setgid, which a new folder takes over: the
 * units let no process set that bit).
 */
export const PRIVATE_FILE_MODE = isSharedWithGroup() ? 0o660 : 0o600;
export const PRIVATE_DIRECTORY_MODE = isSharedWithGroup() ? 0o770 : 0o700;

/** Path for a new temporary file beside `path`. */
export function temporaryBeside(path: string): string {
  return join(
    dirname(path),
    `${TEMPORARY_PREFIX}${randomBytes(6).toString('hex')}-${basename(path).slice(0, 64)}`,
  );
}

/** Makes the entries of a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

interface WriteOptions {
  /** Permission bits of the new file; 0600 unless said otherwise. */
  mode?: number;
  /** Refuse with `conflict` when the file exists. */
  exclusive?: boolean;
  /** Names this step for crash tests. */
  step?: string;
}

/**
 * Replaces (or, with `exclusive`, creates) a file in one step that survives a power cut.
 *
 * @throws HoldfastError `conflict` when `exclusive` and the file exists, `no_space` when the disk is full.
 */
export async function writeFileDurably(
  path: string,
  data: Uint8Array | string,
  options: WriteOptions = {},
): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    const handle = await open(temporary, 'wx', options.mode ?? 0o600);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (options.step) crashPoint(`${options.step}.written`);
    if (options.exclusive) {
      await link(temporary, path);
      await unlink(temporary);
    } else {
      await rename(temporary, path);
    }
    if (options.step) crashPoint(`${options.step}.renamed`);
    await syncDirectory(dirname(path));
    if (options.step) crashPoint(`${options.step}.synced`);
  } catch (error) {
    await rm(temporary, { force: true });
    throw explainWriteError(error, path);
  }
}

/** Turns the common reasons for a failed write into an error an operator can act on. */
export function explainWriteError(error: unknown, path: string): unknown {
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    return new HoldfastError('no_space', `No space left to write ${path}`, {
      hint: 'Free some space on that disk or give it more, then try again.',
      cause: error,
    });
  }
  if (isSystemError(error, 'EEXIST')) {
    return new HoldfastError('conflict', `${path} exists already`, { cause: error });
  }
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) {
    return new HoldfastError('unavailable', `${path} cannot be written: ${error.code ?? ''}`, {
      hint: 'Give the account that runs Holdfast the right to write there.',
      cause: error,
    });
  }
  return error;
}

/** Creates a directory (and its parents) for us alone and makes it durable. */
export async function makePrivateDirectory(path: string, mode = 0o700): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  // What the mode opens, the process's mask may close again.
  await chmod(path, mode);
  await syncDirectory(dirname(first));
}

/** Fills a file with zeros, durably, as far as its file system writes in place: a disk may keep older blocks. */
export async function overwriteFile(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const { size } = await handle.stat();
    await handle.write(Buffer.alloc(size), 0, size, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Who owns a tree, and how closed it is. */
export interface TreeOwner {
  uid: number;
  gid: number;
  directoryMode: number;
  fileMode: number;
}

/**
 * Gives a tree to an account. Its top is changed last, so that what a crash cut off is found again; a tree whose top is
 * right is taken to be right, whatever its size. Only for root.
 */
export async function settleOwner(path: string, owner: TreeOwner): Promise<void> {
  const found = await lstat(path);
  const same = found.uid === owner.uid && found.gid === owner.gid;
  if (same && (found.mode & 0o7777) === owner.directoryMode) return;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const at = join(path, entry.name);
    if (entry.isDirectory()) await settleOwner(at, owner);
    else {
      await lchown(at, owner.uid, owner.gid);
      if (entry.isFile()) await chmod(at, owner.fileMode);
    }
  }
  await chown(path, owner.uid, owner.gid);
  await chmod(path, owner.directoryMode);
}

/** The content of a file, or undefined when there is none. */
export async function readFileIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
