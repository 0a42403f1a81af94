/**
 * Hashes a file past the page cache (O_DIRECT), so that a read-back sees what the disk holds and not what we just wrote.
 * O_DIRECT wants a buffer at an aligned address, which Node does not promise: the right offset is found by trying. Where
 * direct reading is not to be had (tmpfs, some network file systems), the file is read as usual.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { isSystemError } from '../../lib/errors.ts';
import type { ReadBack } from '../engine.ts';

const SLICE_BYTES = 1024 * 1024;
const ALIGNMENT_BYTES = 4096;
/** Addresses of Node's buffers are multiples of this. */
const ADDRESS_STEP_BYTES = 16;

const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
/** As many as there were calls at once: a dead buffer of this size stays in memory for long. */
const idleBuffers: Buffer[] = [];

/** @throws system errors of open and read. */
export async function hashUncached(path: string): Promise<ReadBack> {
  const buffer = idleBuffers.pop() ?? Buffer.allocUnsafeSlow(SLICE_BYTES + ALIGNMENT_BYTES);
  try {
    return await hashWith(path, buffer);
  } finally {
    idleBuffers.push(buffer);
  }
}

async function hashWith(path: string, buffer: Buffer): Promise<ReadBack> {
  try {
    const direct = await open(path, flags | constants.O_DIRECT);
    try {
      const start = await findAlignedStart(direct, buffer);
      if (start !== undefined) return await hashAll(direct, buffer.subarray(start, start + SLICE_BYTES));
    } finally {
      await direct.close();
    }
  } catch (error) {
    if (!isSystemError(error, 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP')) throw error;
  }
  const handle = await open(path, flags);
  try {
    return await hashAll(handle, buffer);
  } finally {
    await handle.close();
  }
}

async function findAlignedStart(handle: FileHandle, buffer: Buffer): Promise<number | undefined> {
  for (const start of candidateStarts()) {
    try {
      await handle.read(buffer, start, ALIGNMENT_BYTES, 0);
      return start;
    } catch (error) {
      if (!isSystemError(error, 'EINVAL')) throw error;
    }
  }
  return undefined;
}

/** Large buffers lie 16 bytes behind a page on glibc; the rest is for other allocators. */
function* candidateStarts(): Iterable<number> {
  yield ALIGNMENT_BYTES - ADDRESS_STEP_BYTES;
  for (let start = 0; start < ALIGNMENT_BYTES; start += ADDRESS_STEP_BYTES) yield start;
}

async function hashAll(handle: FileHandle, slice: Buffer): Promise<ReadBack> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for (;;) {
    const { bytesRead } = await handle.read(slice, 0, slice.length, sizeBytes);
    if (bytesRead === 0) break;
    hash.update(slice.subarray(0, bytesRead));
    sizeBytes += bytesRead;
    // A direct read of a whole slice keeps the next offset aligned; a short one is the end.
    if (bytesRead < slice.length) break;
  }
  return { sizeBytes, sha256: hash.digest('hex') };
}
