/** One stored file of a snapshot, decrypted and given its name: only when all of it was authenticated and its hash compared. */
import { link, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { temporaryBeside } from '../lib/files.ts';
import { openStoredFile, readVerified } from '../workspaces/index.ts';
import type { TreeKeys, WantedFile } from './restore-listing.ts';
import { isThere, requirePlainFolders, type ExistingFiles } from './restore-place.ts';

/** A stored file up to this is read in one go. */
const SMALL_BYTES = 256 * 1024;

interface Placing {
  /** The directory that is filled. */
  to: string;
  existing: ExistingFiles;
  /** Where the stored form lies. */
  stored: string;
}

/** Path of a file's stored form within the section `files`. */
export function contentPathOf({ file: { contentId } }: WantedFile['node']): string {
  return `${contentId.slice(0, 2)}/${contentId}`;
}

/**
 * Opens a stored form and reads it to its end. @throws HoldfastError `integrity_failure`, or as its key says, also after the first
 * bytes: what was read before counts for nothing then.
 */
export async function* readContent(
  source: TreeKeys,
  stored: string,
  { workspaceId, file }: WantedFile['node'],
): AsyncGenerator<Buffer> {
  const { subjectKeyId, contentId, version } = file;
  const context = { workspaceId, subjectKeyId, contentId, version };
  const from = await openRestored(stored);
  try {
    const key = await source.sealer.openFileKey(context, Buffer.from(file.wrappedKey, 'base64'));
    try {
      const opened = await openStoredFile(await storedBytesOf(from), { ...context, key });
      for await (const part of readVerified(opened)) {
        await source.sealer.requireUsable(subjectKeyId);
        yield part;
      }
    } finally {
      key.fill(0);
    }
  } finally {
    await from.close();
  }
}

async function openRestored(stored: string): Promise<FileHandle> {
  return open(stored, 'r').catch((error: unknown) => {
    if (!isSystemError(error, 'ENOENT')) throw error;
    throw new HoldfastError('integrity_failure', 'its content could not be restored', {
      hint: 'Run verify, and look for the file in another snapshot.',
    });
  });
}

/** @returns content bytes; undefined when a file of this name was there and is left alone. */
export async function placeFile(
  source: TreeKeys,
  { to, existing, stored }: Placing,
  { path, node }: WantedFile,
): Promise<number | undefined> {
  const final = join(to, path);
  if (existing === 'skip' && (await isThere(final))) return undefined;
  await requirePlainFolders(to, dirname(path));
  const temporary = temporaryBeside(final);
  try {
    const size = await decryptTo(source, stored, node, temporary);
    // rename would replace what is there, and link does not.
    if (existing === 'replace') await rename(temporary, final);
    else await link(temporary, final);
    return size;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function decryptTo(
  source: TreeKeys,
  stored: string,
  node: WantedFile['node'],
  to: string,
): Promise<number> {
  const out = await open(to, 'wx', node.mode ?? 0o600);
  let size = 0;
  try {
    for await (const part of readContent(source, stored, node)) {
      await out.writeFile(part);
      size += part.length;
    }
    // The umask of whoever restores must not change what was recorded.
    if (node.mode !== null) await out.chmod(node.mode & 0o777);
    const time = timeOf(BigInt(node.mtimeNs));
    await out.utimes(time, time);
    return size;
  } finally {
    await out.close();
  }
}

/** What the runtime takes for a time; before 1970 it takes milliseconds only. */
function timeOf(ns: bigint): number | Date {
  return ns < 0n ? new Date(Number(ns / 1_000_000n)) : Number(ns / 1000n) / 1e6;
}

async function storedBytesOf(from: FileHandle) {
  const { size } = await from.stat();
  if (size <= SMALL_BYTES) {
    const whole = await from.readFile();
    return {
      sizeBytes: whole.length,
      read: (offset: number, length: number) => Promise.resolve(whole.subarray(offset, offset + length)),
    };
  }
  return {
    sizeBytes: size,
    read: async (offset: number, length: number) => {
      const { buffer, bytesRead } = await from.read(Buffer.alloc(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    },
  };
}
