/** One line of a file list: to and from JSON, in a fixed order of keys so that the same file gives the same bytes. */
import { HoldfastError } from '../../lib/errors.ts';
import type { FileEntry } from '../engine.ts';
import { decodeBytes, encodeBytes, type ByteString } from './path-bytes.ts';

export type EntryType = FileEntry['type'];

/** `path` or `pathB64`. */
export function pathKeys(path: ByteString): Pick<FileEntry, 'path' | 'pathB64'> {
  const encoded = encodeBytes(path);
  return 'text' in encoded ? { path: encoded.text } : { pathB64: encoded.base64 };
}

/** `target` or `targetB64`. */
export function targetKeys(target: ByteString): Pick<FileEntry, 'target' | 'targetB64'> {
  const encoded = encodeBytes(target);
  return 'text' in encoded ? { target: encoded.text } : { targetB64: encoded.base64 };
}

/** The bytes of an entry's path. @throws integrity_failure when it has none. */
export function pathOf(entry: FileEntry): ByteString {
  const path = decodeBytes(entry.path, entry.pathB64);
  if (path === undefined) throw new HoldfastError('integrity_failure', 'A line of a file list has no path');
  return path;
}

export function linkTargetOf(entry: FileEntry): ByteString | undefined {
  return decodeBytes(entry.target, entry.targetB64);
}

const ORDER: readonly (keyof FileEntry)[] = [
  'path',
  'pathB64',
  'type',
  'mode',
  'uid',
  'gid',
  'user',
  'group',
  'mtime',
  'ctime',
  'inode',
  'device',
  'linkGroup',
  'size',
  'target',
  'targetB64',
  'rdev',
  'xattrs',
  'acl',
  'holes',
  'chunks',
  'chunkLists',
  'hash',
];

/** One line, newline included. JSON escapes every newline in a name. */
export function encodeEntry(entry: FileEntry): string {
  const ordered: Record<string, unknown> = {};
  for (const key of ORDER) if (entry[key] !== undefined) ordered[key] = entry[key];
  return `${JSON.stringify(ordered)}\n`;
}

const TYPES: ReadonlySet<string> = new Set<EntryType>([
  'file',
  'directory',
  'symlink',
  'fifo',
  'socket',
  'char-device',
  'block-device',
]);

/** @throws integrity_failure */
export function decodeEntry(line: string): FileEntry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new HoldfastError('integrity_failure', 'A line of a file list is no JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || !('type' in value) || !TYPES.has(String(value.type))) {
    throw new HoldfastError('integrity_failure', 'A line of a file list has no known type');
  }
  return value as FileEntry;
}
