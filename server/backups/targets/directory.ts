/**
 * A target that is a directory: a mounted disk, a network file system, or a folder beside the data.
 *
 * Guarantees: an object is whole or absent (temporary beside it, fsync, exclusive link, fsync of the directory), is never
 * overwritten, and is durable when `write` returns. Only our account can read it (0600 in 0700), or our group on a machine
 * image, where server and runs are different accounts.
 * A disk that was unmounted leaves an empty mount point; it is recognised by another device or inode number than at the
 * start, and by the absence of both `HOLDFAST` and `keys/`, and is never filled.
 * Relies on: link(2) and fsync(2) of the file system. Where hard links are missing, an exclusive create takes their place.
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  copyFile,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  opendir,
  readdir,
  rm,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError, isSystemError } from '../../lib/errors.ts';
import {
  PRIVATE_DIRECTORY_MODE,
  PRIVATE_FILE_MODE,
  syncDirectory,
  TEMPORARY_PREFIX,
  temporaryBeside,
} from '../../lib/files.ts';
import type { DirectoryConfig, ReadBack, Target, TargetObject } from '../engine.ts';
import { hashUncached } from './hash-uncached.ts';
import { inTurn, openTurn, type Turn } from './pace.ts';
import { checkObjectName, checkPrefix, HINT_NAME, OBJECT_KINDS } from './object-name.ts';

/**
 * Opens a directory that exists. Nothing is created.
 *
 * @throws unavailable when it is missing, is no directory, or may not be entered.
 */
export async function openDirectoryTarget(config: DirectoryConfig): Promise<Target> {
  const top = config.path;
  if (!top.startsWith('/') || top.includes('\0')) {
    throw new HoldfastError('invalid_input', 'A directory target needs an absolute path');
  }
  const opened = await statTop(top);
  const turn = openTurn(config.pace);

  const path = (name: string): string => {
    checkObjectName(name);
    return join(top, name);
  };
  const failed = (error: unknown, name: string): Promise<never> => explain(error, top, opened, name);

  return {
    config,
    async *list(prefix) {
      checkPrefix(prefix);
      await checkStillThere(top, opened);
      if (prefix !== '') yield* walk(join(top, prefix), prefix);
      else yield* walkTop(top);
    },
    async find(name) {
      try {
        const found = await lstat(path(name));
        if (!found.isFile()) return undefined;
        return { name, sizeBytes: found.size };
      } catch (error) {
        if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) return failed(error, name);
        await checkStillThere(top, opened);
        return undefined;
      }
    },
    async read(name, range) {
      const file = path(name);
      try {
        return await readRange(file, name, range);
      } catch (error) {
        return failed(error, name);
      }
    },
    async write(name, data) {
      const file = path(name);
      const parts = data instanceof Uint8Array ? [data] : data;
      try {
        await writeObject({ top, opened, turn }, name, file, parts);
      } catch (error) {
        if (!isSystemError(error, 'EEXIST')) return failed(error, name);
        const present = await lstat(file);
        const size = parts.reduce((sum, part) => sum + part.length, 0);
        if (present.isFile() && present.size === size) return;
        throw conflict(name, 'with another size');
      }
    },
    async create(name, data) {
      try {
        await writeObject({ top, opened, turn }, name, path(name), [data]);
      } catch (error) {
        if (isSystemError(error, 'EEXIST')) throw conflict(name, 'already');
        return failed(error, name);
      }
    },
    async delete(name) {
      const file = path(name);
      await checkStillThere(top, opened);
      try {
        await unlink(file);
        await syncDirectory(dirname(file));
      } catch (error) {
        if (!isSystemError(error, 'ENOENT')) return failed(error, name);
      }
      return undefined;
    },
    async readBack(name): Promise<ReadBack> {
      try {
        return await hashUncached(path(name));
      } catch (error) {
        return failed(error, name);
      }
    },
    async sweep() {
      await checkStillThere(top, opened);
      return sweepTemporaries(top).catch((error: unknown) => failed(error, ''));
    },
    async now() {
      await checkStillThere(top, opened);
      return clockOf(top);
    },
    async freeBytes() {
      await checkStillThere(top, opened);
      const free = await statfs(top).catch((error: unknown) => failed(error, ''));
      return free.bavail * free.bsize;
    },
    features: async () => new Set(),
    topEntries: () => readdir(top).catch((error: unknown) => failed(error, '')),
    async openTrial() {
      const place = await mkdtemp(join(top, `${TEMPORARY_PREFIX}probe-`)).catch((error: unknown) =>
        failed(error, ''),
      );
      const target = await openDirectoryTarget({ kind: 'directory', path: place });
      return { target, remove: () => rm(place, { recursive: true, force: true }) };
    },
    async close() {
      // Nothing is held open between calls.
    },
  };
}

function conflict(name: string, how: string): HoldfastError {
  return new HoldfastError('conflict', `The target holds ${name} ${how}`, {
    hint: 'Objects are never overwritten. Another writer may be at work on this repository.',
  });
}

async function statTop(top: string): Promise<Stats> {
  let found: Stats;
  try {
    found = await stat(top);
  } catch (error) {
    throw unavailable(top, 'is not there', error);
  }
  if (!found.isDirectory()) throw unavailable(top, 'is not a directory');
  return found;
}

function unavailable(top: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError('unavailable', `The target folder ${top} ${what}`, {
    hint: 'Connect or mount the disk it lies on, then try again. Nothing was written in its place.',
    cause,
  });
}

/** The folder that was opened must still be the one at that path. */
async function checkStillThere(top: string, opened: Stats): Promise<void> {
  const found = await statTop(top);
  if (found.dev !== opened.dev || found.ino !== opened.ino) {
    throw unavailable(top, 'was replaced by another one, as happens when a disk is unmounted');
  }
}

async function explain(error: unknown, top: string, opened: Stats, name: string): Promise<never> {
  if (error instanceof HoldfastError) throw error;
  await checkStillThere(top, opened);
  if (isSystemError(error, 'ENOENT', 'ENOTDIR')) {
    throw new HoldfastError('not_found', `The target does not hold ${name}`, { cause: error });
  }
  if (isSystemError(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) {
    throw new HoldfastError('no_space', `The target ${top} is full`, {
      hint: 'Free some space on it or give it more. Everything written so far is whole and is used by the next run.',
      cause: error,
    });
  }
  if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) {
    throw new HoldfastError('unavailable', `The target ${top} does not let us in: ${String(error.code)}`, {
      hint: 'Give the account that runs Holdfast the right to read and write there.',
      detail: name,
      cause: error,
    });
  }
  throw new HoldfastError('unavailable', `The target ${top} failed`, {
    hint: 'Look at the health of that disk or connection, then try again.',
    detail: name,
    cause: error,
  });
}

interface Place {
  top: string;
  opened: Stats;
  /** Before each piece; undefined where nothing is limited. */
  turn: Turn | undefined;
}

async function writeObject(
  { top, opened, turn }: Place,
  name: string,
  file: string,
  parts: readonly Uint8Array[],
): Promise<void> {
  await checkStillThere(top, opened);
  const directory = dirname(file);
  await makeParents(top, name, directory);
  const temporary = temporaryBeside(file);
  try {
    const handle = await open(temporary, 'wx', PRIVATE_FILE_MODE);
    try {
      for (const part of parts) for await (const piece of inTurn(part, turn)) await writeAll(handle, piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    crashPoint('target.object.written');
    await linkExclusively(temporary, file);
    crashPoint('target.object.linked');
    await unlink(temporary);
    await syncDirectory(directory);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    if (!isSystemError(error, 'ENOENT')) throw error;
    await checkStillThere(top, opened);
    throw sweptAway(name, error);
  }
}

/** A writer that begins sweeps what others have not finished. Nothing of that name is there, but nobody looked for it either. */
function sweptAway(name: string, cause: unknown): HoldfastError {
  return new HoldfastError('unavailable', `What was being written as ${name} was taken away`, {
    hint: 'Another writer may have begun on this repository, or something else cleans up there. Try again.',
    cause,
  });
}

async function writeAll(
  handle: { write(data: Uint8Array, offset: number): Promise<{ bytesWritten: number }> },
  data: Uint8Array,
): Promise<void> {
  let at = 0;
  while (at < data.length) at += (await handle.write(data, at)).bytesWritten;
}

/** link(2) refuses an existing name; file systems without hard links (FAT, some network mounts) get an exclusive copy. */
async function linkExclusively(temporary: string, file: string): Promise<void> {
  try {
    await link(temporary, file);
  } catch (error) {
    if (!isSystemError(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK')) throw error;
    await copyFile(temporary, file, constants.COPYFILE_EXCL);
    const handle = await open(file, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/** Makes missing folders below the top, durable; never the top itself, and none in a folder that is no repository. */
async function makeParents(top: string, name: string, directory: string): Promise<void> {
  if (directory === top) return;
  try {
    await stat(directory);
    return;
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
  const kind = name.slice(0, name.indexOf('/'));
  if (kind !== 'keys') await checkIsRepository(top);
  const made: string[] = [];
  for (let at = directory; at !== top; at = dirname(at)) made.unshift(at);
  for (const folder of made) {
    try {
      await mkdir(folder, { mode: PRIVATE_DIRECTORY_MODE });
      await syncDirectory(dirname(folder));
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
    }
  }
}

async function checkIsRepository(top: string): Promise<void> {
  for (const sign of [HINT_NAME, 'keys']) {
    try {
      await stat(join(top, sign));
      return;
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
    }
  }
  throw unavailable(top, 'holds no repository any more');
}

async function readRange(
  file: string,
  name: string,
  range?: { offset: number; length: number; into?: Buffer },
): Promise<Buffer> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const offset = range?.offset ?? 0;
    const length = range?.length ?? (await handle.stat()).size;
    const data = range?.into?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
    let at = 0;
    while (at < length) {
      const { bytesRead } = await handle.read(data, at, length - at, offset + at);
      if (bytesRead === 0) throw shorter(name, offset + at);
      at += bytesRead;
    }
    return data;
  } finally {
    await handle.close();
  }
}

function shorter(name: string, sizeBytes: number): HoldfastError {
  return new HoldfastError('integrity_failure', `${name} is cut short`, {
    hint: 'It is not used. Another copy of the repository may be whole.',
    detail: `ends at byte ${String(sizeBytes)}`,
  });
}

async function* walkTop(top: string): AsyncIterable<TargetObject> {
  const hint = await statListed(top, HINT_NAME);
  if (hint?.isFile()) yield { name: HINT_NAME, sizeBytes: hint.size };
  for (const kind of OBJECT_KINDS) yield* walk(join(top, kind), `${kind}/`);
}

/** Symbolic links are never followed: a repository has none. */
async function* walk(directory: string, prefix: string): AsyncIterable<TargetObject> {
  let entries;
  try {
    entries = await readdir(directory, { withFileTypes: true });
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return;
    throw notListed(directory, error);
  }
  for (const entry of entries) {
    if (entry.name.startsWith(TEMPORARY_PREFIX)) continue;
    const name = prefix + entry.name;
    if (entry.isDirectory()) yield* walk(join(directory, entry.name), `${name}/`);
    else if (entry.isFile()) {
      const found = await statListed(directory, entry.name);
      if (found?.isFile()) yield { name, sizeBytes: found.size };
    }
  }
}

/** What went away meanwhile is not listed; what cannot be looked at must not be left out, as if it were not there. */
async function statListed(directory: string, name: string): Promise<Stats | undefined> {
  try {
    return await lstat(join(directory, name));
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw notListed(directory, error);
  }
}

function notListed(directory: string, cause: unknown): HoldfastError {
  return new HoldfastError('unavailable', `The target folder ${directory} cannot be listed`, {
    hint: 'Look at the health and the rights of that disk, then try again.',
    cause,
  });
}

async function sweepTemporaries(directory: string): Promise<number> {
  let count = 0;
  for await (const entry of await opendir(directory)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) count += await sweepTemporaries(path);
    else if (entry.isFile() && entry.name.startsWith(TEMPORARY_PREFIX)) {
      await rm(path, { force: true });
      count++;
    }
  }
  return count;
}

/** The time that the file system gives a new file: the server's own on a network file system. */
async function clockOf(top: string): Promise<Date | undefined> {
  const probe = join(top, `${TEMPORARY_PREFIX}${randomBytes(6).toString('hex')}-clock`);
  try {
    const handle = await open(probe, 'wx', PRIVATE_FILE_MODE);
    try {
      return (await handle.stat()).mtime;
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isSystemError(error, 'ENOSPC', 'EDQUOT')) return undefined;
    throw unavailable(top, 'cannot be written', error);
  } finally {
    await rm(probe, { force: true }).catch(() => undefined);
  }
}
