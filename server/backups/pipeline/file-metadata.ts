/**
 * Owner, mode and times of restored files.
 *
 * Node sets times as seconds in a double: what is restored is within a quarter of a microsecond of the recorded
 * nanoseconds. Times before 1970 go through Date and keep milliseconds.
 */
import {
  chmodSync,
  chownSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  utimesSync,
} from 'node:fs';
import type { FileEntry } from '../engine.ts';
import { fsPathOf, type ByteString } from './path-bytes.ts';

export interface Ownership {
  /** Permission bits. */
  mode: number;
  /** Undefined: left to whoever restores. */
  owner: { uid: number; gid: number } | undefined;
  /** Nanoseconds since the epoch, decimal; undefined: the time of the restore. */
  mtime: string | undefined;
}

const SECOND_NS = 1_000_000_000n;

/** What node:fs takes for a time. */
export function timeOf(nanoseconds: string): number | Date {
  const value = BigInt(nanoseconds);
  if (value < 0n) return new Date(Number(value / 1_000_000n));
  return Number(value / SECOND_NS) + Number(value % SECOND_NS) / 1e9;
}

/**
 * @param asRoot owners can be restored
 * @param override owner of everything instead of the recorded one
 */
export function ownershipOf(
  entry: FileEntry,
  asRoot: boolean,
  override: { uid: number; gid: number } | undefined,
): Ownership {
  const recorded =
    entry.uid === undefined || entry.gid === undefined ? undefined : { uid: entry.uid, gid: entry.gid };
  const owner = asRoot ? (override ?? recorded) : undefined;
  // Without the right owner a set-user-id bit would lend out the wrong rights.
  const bits = owner === undefined ? 0o1777 : 0o7777;
  const fallback = entry.type === 'directory' ? 0o700 : 0o600;
  const mtime = entry.mtime !== undefined && /^-?\d{1,20}$/.test(entry.mtime) ? entry.mtime : undefined;
  return { mode: (entry.mode ?? fallback) & bits, owner, mtime };
}

/** The owner first: changing it clears the set-user-id bits. */
export function applyToDescriptor(descriptor: number, metadata: Ownership): void {
  if (metadata.owner !== undefined) fchownSync(descriptor, metadata.owner.uid, metadata.owner.gid);
  fchmodSync(descriptor, metadata.mode);
  if (metadata.mtime === undefined) return;
  const time = timeOf(metadata.mtime);
  futimesSync(descriptor, time, time);
}

export function applyToDirectory(path: ByteString, metadata: Ownership): void {
  const at = fsPathOf(path);
  if (metadata.owner !== undefined) chownSync(at, metadata.owner.uid, metadata.owner.gid);
  chmodSync(at, metadata.mode);
  if (metadata.mtime === undefined) return;
  const time = timeOf(metadata.mtime);
  utimesSync(at, time, time);
}

export function applyToLink(path: ByteString, metadata: Ownership): void {
  const at = fsPathOf(path);
  if (metadata.owner !== undefined) lchownSync(at, metadata.owner.uid, metadata.owner.gid);
  if (metadata.mtime === undefined) return;
  const time = timeOf(metadata.mtime);
  lutimesSync(at, time, time);
}
