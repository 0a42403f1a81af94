/**
 * Walks a tree in the byte order of the relative paths, directories before what is in them.
 *
 * Byte order of whole paths is not the order of a plain walk: `a.b` sorts before `a/x`, because `.` is below `/`. So a
 * directory's content waits until the siblings that sort before `name/` are done.
 */
import { lstatSync, readdirSync, readlinkSync, statSync, type BigIntStats } from 'node:fs';
import { HoldfastError, isSystemError } from '../../lib/errors.ts';
import type { EntryType } from './file-entry.ts';
import { displayPath, fsPathOf, joinBytes, type ByteString } from './path-bytes.ts';

export interface ScannedEntry {
  path: ByteString;
  /** Absolute. */
  absolute: ByteString;
  type: EntryType;
  stats: BigIntStats;
  /** Of a symbolic link. */
  target?: ByteString;
}

/** Something that is there and could not be taken. */
export interface ScanProblem {
  path: ByteString;
  problem: string;
}

/** Something left out on purpose. */
export interface ScanExclusion {
  path: ByteString;
  excluded: true;
}

export type Scanned = ScannedEntry | ScanProblem | ScanExclusion;

export interface ScanOptions {
  /** Absolute; of any number of bytes. */
  root: ByteString;
  /** Absolute paths that are left out with all that is below. They are recognised by identity too, through other mounts. */
  exclude: readonly ByteString[];
  /** Names that start so are left out too, wherever they are: another program's temporaries. */
  excludePrefix?: string | undefined;
}

/** @throws not_found, unavailable, invalid_input when the root itself cannot be walked. */
export function* scanDirectory(options: ScanOptions): Iterable<Scanned> {
  const stats = statRoot(options.root);
  const excluded = new Set(options.exclude);
  for (const path of options.exclude) {
    const found = statSync(fsPathOf(path), { bigint: true, throwIfNoEntry: false });
    if (found !== undefined) excluded.add(identity(found));
  }
  yield { path: '', absolute: options.root, type: 'directory', stats };
  yield* walk(options.root, '', { identities: excluded, prefix: options.excludePrefix });
}

function identity(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}`;
}

function statRoot(root: ByteString): BigIntStats {
  let stats: BigIntStats;
  try {
    stats = statSync(fsPathOf(root), { bigint: true });
  } catch (cause) {
    const missing = isSystemError(cause, 'ENOENT', 'ENOTDIR');
    throw new HoldfastError(
      missing ? 'not_found' : 'unavailable',
      `The folder to back up, ${displayPath(root)}, ${missing ? 'is not there' : 'cannot be read'}`,
      { hint: 'Check the path, and that its disk is mounted.', cause },
    );
  }
  if (!stats.isDirectory()) {
    throw new HoldfastError('invalid_input', `${displayPath(root)} is not a folder`);
  }
  return stats;
}

interface Exclusion {
  /** Absolute paths, and device and inode of what they are. */
  identities: ReadonlySet<string>;
  prefix: string | undefined;
}

function* walk(absolute: ByteString, path: ByteString, excluded: Exclusion): Iterable<Scanned> {
  let names: ByteString[];
  try {
    names = readdirSync(fsPathOf(absolute === '' ? '/' : absolute), { encoding: 'latin1' });
  } catch (error) {
    yield { path, problem: reasonOf(error) };
    return;
  }
  names.sort(compareBytes);
  const waiting: ByteString[] = [];
  for (const name of names) {
    for (let last = waiting.at(-1); last !== undefined && `${last}/` < name; last = waiting.at(-1)) {
      waiting.pop();
      yield* walk(joinAbsolute(absolute, last), joinBytes(path, last), excluded);
    }
    const scanned: Scanned =
      excluded.prefix !== undefined && name.startsWith(excluded.prefix)
        ? { path: joinBytes(path, name), excluded: true }
        : look(joinAbsolute(absolute, name), joinBytes(path, name), excluded.identities);
    yield scanned;
    if ('type' in scanned && scanned.type === 'directory') waiting.push(name);
  }
  for (let last = waiting.pop(); last !== undefined; last = waiting.pop()) {
    yield* walk(joinAbsolute(absolute, last), joinBytes(path, last), excluded);
  }
}

function compareBytes(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function joinAbsolute(directory: ByteString, name: ByteString): ByteString {
  return directory === '/' ? `/${name}` : `${directory}/${name}`;
}

function look(absolute: ByteString, path: ByteString, excluded: ReadonlySet<string>): Scanned {
  if (excluded.has(absolute)) return { path, excluded: true };
  try {
    const stats = lstatSync(fsPathOf(absolute), { bigint: true });
    const type = typeOf(stats);
    if (type === undefined) return { path, problem: 'is of a kind that is not known' };
    if (type === 'directory' && excluded.has(identity(stats))) return { path, excluded: true };
    if (type !== 'symlink') return { path, absolute, type, stats };
    const target = readlinkSync(fsPathOf(absolute), { encoding: 'buffer' }).toString('latin1');
    return { path, absolute, type, stats, target };
  } catch (error) {
    return { path, problem: reasonOf(error) };
  }
}

function typeOf(stats: BigIntStats): EntryType | undefined {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  if (stats.isCharacterDevice()) return 'char-device';
  if (stats.isBlockDevice()) return 'block-device';
  return undefined;
}

/** A reason for the list of problems. */
export function reasonOf(error: unknown): string {
  if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return 'vanished while the folder was read';
  if (isSystemError(error, 'EACCES', 'EPERM')) return 'may not be read';
  if (isSystemError(error, 'ENAMETOOLONG')) return 'has too long a path';
  if (isSystemError(error, 'EIO')) return 'could not be read: the disk reports an error';
  return `could not be read: ${error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'}`;
}
