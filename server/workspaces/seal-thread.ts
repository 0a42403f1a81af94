/**
 * A worker thread of an import: reads small files, seals them and writes them into the store under temporary names. Calls
 * are synchronous here, where nobody waits for the event loop: a tenth of the cost a file.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
  type BigIntStats,
} from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { isSystemError } from '../lib/errors.ts';
import { PRIVATE_FILE_MODE } from '../lib/files.ts';
import type { FileSeal } from './file-format.ts';
import { sealSmallFile, type SealedFacts } from './seal-file.ts';
import { SNIFF_BYTES, sniffMediaType } from './sniff.ts';

/** A file of less than one segment. */
export interface SealJob {
  path: string;
  /** Where its stored form goes; must not exist. */
  temporaryPath: string;
  seal: FileSeal;
}

/** A temporary exists only when the file was sealed. */
export type SealResult =
  | { kind: 'sealed'; facts: SealedFacts; mediaType: string; mtimeNs: bigint; mode: number }
  | { kind: 'changed' }
  /** A system error: while the file was read, or while the store was written. */
  | { kind: 'failed'; where: 'source' | 'store'; code: string };

class StoreFailure extends Error {}

parentPort?.on('message', (jobs: SealJob[]) => {
  parentPort?.postMessage(jobs.map(sealOne));
});

function sealOne(job: SealJob): SealResult {
  try {
    const { content, before } = readSource(job.path);
    if (content === undefined) return { kind: 'changed' };
    const { stored, facts } = sealSmallFile(content, job.seal);
    job.seal.key.fill(0);
    writeTemporary(job.temporaryPath, stored);
    const mediaType = sniffMediaType(content.subarray(0, SNIFF_BYTES));
    return { kind: 'sealed', facts, mediaType, mtimeNs: before.mtimeNs, mode: Number(before.mode) & 0o7777 };
  } catch (error) {
    const cause = error instanceof StoreFailure ? error.cause : error;
    if (!isSystemError(cause)) throw error;
    return { kind: 'failed', where: error === cause ? 'source' : 'store', code: cause.code ?? '' };
  }
}

/** @returns no content when the file changed while it was read. */
function readSource(path: string): { content: Buffer | undefined; before: BigIntStats } {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const before = fstatSync(descriptor, { bigint: true });
    if (!before.isFile()) throw Object.assign(new Error('This is no file'), { code: 'ELOOP' });
    // One byte more than there should be, so that a file that grew is noticed.
    const buffer = Buffer.allocUnsafe(Number(before.size) + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = readSync(descriptor, buffer, length, buffer.length - length, length);
    }
    const after = fstatSync(descriptor, { bigint: true });
    const same =
      BigInt(length) === before.size && after.size === before.size && after.mtimeNs === before.mtimeNs;
    return { content: same ? buffer.subarray(0, length) : undefined, before };
  } finally {
    closeSync(descriptor);
  }
}

function writeTemporary(path: string, stored: Buffer): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'wx', PRIVATE_FILE_MODE);
  } catch (cause) {
    throw new StoreFailure('create', { cause });
  }
  try {
    for (let written = 0; written < stored.length;) written += writeSync(descriptor, stored, written);
    closeSync(descriptor);
  } catch (cause) {
    rmSync(path, { force: true });
    throw new StoreFailure('write', { cause });
  }
}
