/** Unix sockets deep in a folder tree: the kernel allows 107 bytes of path, a data folder may have more. */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const MAX_PATH_BYTES = 100;
const openDirectories = new Map<string, number>();

/**
 * A path to the same socket that is short enough to bind or connect to. For a long one the parent directory is opened
 * once and kept open for as long as it is the one at that path; the result then holds in this process only.
 */
export function shortPath(path: string): string {
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return path;
  return join(shortDirectory(dirname(path)), basename(path));
}

/** As `shortPath`, for a directory that a client library appends a socket name to. */
export function shortDirectory(directory: string): string {
  if (Buffer.byteLength(directory) <= MAX_PATH_BYTES - 24) return directory;
  const known = openDirectories.get(directory);
  if (known !== undefined && isSame(known, directory)) return `/proc/self/fd/${known}`;
  const descriptor = openSync(directory, 'r');
  if (known !== undefined) closeSync(known);
  openDirectories.set(directory, descriptor);
  return `/proc/self/fd/${descriptor}`;
}

/** A scratch folder is removed and made again: the descriptor of the first is that of a folder without entries. */
function isSame(descriptor: number, directory: string): boolean {
  const found = statSync(directory, { bigint: true, throwIfNoEntry: false });
  const open = fstatSync(descriptor, { bigint: true });
  return found?.ino === open.ino && found.dev === open.dev;
}
