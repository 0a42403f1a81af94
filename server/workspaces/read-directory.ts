/** Reads a directory of the appliance's own disk in parts: names as bytes, what each entry is, never through a link. */
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BigIntStats } from 'node:fs';
import { isSystemError } from '../lib/errors.ts';
import { showBytes, skipReason, type Tally } from './transfer-report.ts';

/** A file or folder that can be taken. */
export interface DirectoryEntry {
  name: string;
  /** Absolute. */
  path: string;
  /** Relative to the top of the import, for reports. */
  shown: string;
  isFolder: boolean;
  sizeBytes: number;
  mtimeNs: bigint;
  /** Permission bits. */
  mode: number;
}

const BATCH = 500;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Entries in the directory's own order; what cannot be taken goes to the tally. */
export async function* readDirectory(
  path: string,
  shown: string,
  tally: Tally,
): AsyncGenerator<DirectoryEntry[]> {
  let names: Buffer[] = [];
  // The type of `opendir` does not know that with this encoding names are bytes.
  const directory = await opendir(path, { encoding: 'buffer' as BufferEncoding, bufferSize: BATCH });
  for await (const entry of directory) {
    names.push(entry.name as unknown as Buffer);
    if (names.length < BATCH) continue;
    yield await describeEntries(path, shown, names, tally);
    names = [];
  }
  yield await describeEntries(path, shown, names, tally);
}

async function describeEntries(
  path: string,
  shown: string,
  names: readonly Buffer[],
  tally: Tally,
): Promise<DirectoryEntry[]> {
  const described = await Promise.all(names.map((name) => describeEntry(path, shown, name, tally)));
  return described.filter((entry) => entry !== undefined);
}

async function describeEntry(
  path: string,
  shown: string,
  nameBytes: Buffer,
  tally: Tally,
): Promise<DirectoryEntry | undefined> {
  const shownPath = shown === '' ? showBytes(nameBytes) : `${shown}/${showBytes(nameBytes)}`;
  let name: string;
  try {
    name = UTF8.decode(nameBytes);
  } catch {
    tally.skip(shownPath, 'its name is not UTF-8');
    return undefined;
  }
  const entryPath = join(path, name);
  try {
    const stats = await lstat(entryPath, { bigint: true });
    const kind = kindOf(stats);
    if (kind !== 'file' && kind !== 'folder') {
      tally.skip(shownPath, `it is a ${kind}`);
      return undefined;
    }
    return {
      name,
      path: entryPath,
      shown: shownPath,
      isFolder: kind === 'folder',
      sizeBytes: Number(stats.size),
      mtimeNs: stats.mtimeNs,
      mode: Number(stats.mode) & 0o7777,
    };
  } catch (error) {
    const reason = isSystemError(error)
      ? (skipReason(error) ?? `it cannot be read: ${error.code ?? ''}`)
      : undefined;
    if (reason === undefined) throw error;
    tally.skip(shownPath, reason);
    return undefined;
  }
}

function kindOf(stats: BigIntStats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'folder';
  if (stats.isSymbolicLink()) return 'symbolic link';
  if (stats.isFIFO()) return 'named pipe';
  if (stats.isSocket()) return 'socket';
  return 'device';
}
