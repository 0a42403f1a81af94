/** Unix sockets deep in a folder tree: the kernel allows 107 bytes of path, a data folder may have more. */
import { openSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const MAX_PATH_BYTES = 100;
const openDirectories = new Map<string, number>();

/**
 * A path to the same socket that is short enough to bind or connect to. For a long one the parent directory is opened
 * once and kept open for the life of the process; the result then holds in this process only.
 */
export function shortPath(path: string): string {
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return path;
  return join(shortDirectory(dirname(path)), basename(path));
}

/** As `shortPath`, for a directory that a client library appends a socket name to. */
export function shortDirectory(directory: string): string {
  if (Buffer.byteLength(directory) <= MAX_PATH_BYTES - 24) return directory;
  let descriptor = openDirectories.get(directory);
  if (descriptor === undefined) {
    descriptor = openSync(directory, 'r');
    openDirectories.set(directory, descriptor);
  }
  return `/proc/self/fd/${descriptor}`;
}
