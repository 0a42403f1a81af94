/**
 * Chunks: identity, compression, and the limits a reader holds before it trusts a length.
 *
 * A chunk's id is HMAC-SHA-256(secret, SHA-256(chunk)): whoever sees the storage cannot test whether a known file is in it.
 * A file's hash is SHA-256(chunk) for one chunk, SHA-256 of nothing for an empty file, else SHA-256 over the chunks'
 * SHA-256s in order, so that each byte is hashed once.
 */
import { createHmac, hash } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { HoldfastError } from '../../lib/errors.ts';

/** No chunk is longer, before or after compression. */
export const MAX_CHUNK_BYTES = 8 * 1024 * 1024;
export const CHUNK_ID_BYTES = 32;
/** A file with more chunks than this names lists of chunks instead. */
export const MAX_INLINE_CHUNKS = 1000;
/** Ids in one chunk list: 32 bytes each, back to back. */
export const CHUNK_LIST_IDS = 4096;

/** Level 1: the next levels cost more time than the bytes they save are worth on the way to a disk. */
const COMPRESSION_LEVEL = 1;

export function sha256(data: Uint8Array): Buffer {
  return hash('sha256', data, 'buffer');
}

/** @param digest SHA-256 of the chunk */
export function chunkIdOf(secret: Uint8Array, digest: Uint8Array): Buffer {
  return createHmac('sha256', secret).update(digest).digest();
}

/** @param digests SHA-256 of each chunk, 32 bytes each, back to back, in the order of the file */
export function fileHashOf(digests: Uint8Array): Buffer {
  return digests.length === CHUNK_ID_BYTES ? Buffer.from(digests) : sha256(digests);
}

/** One zstd frame that states its content size. The result may share memory with nothing else. */
export function compressChunk(chunk: Uint8Array): Buffer {
  return takeOutput(
    zstdCompressSync(chunk, {
      params: { [constants.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL },
      pledgedSrcSize: chunk.length,
      chunkSize: Math.max(64, chunk.length + (chunk.length >> 8) + 64),
      info: true,
    }),
  );
}

/**
 * The engine of a finished call is a native object that only a full collection frees, and with it the whole output buffer
 * that it still holds. Letting go of that buffer here leaves it to the cheap collections of the young generation.
 */
function takeOutput(finished: unknown): Buffer {
  const { buffer, engine } = finished as { buffer: Buffer; engine: { _outBuffer?: Buffer | null } };
  engine._outBuffer = null;
  return buffer;
}

/** Longest frame that `compressChunk` makes of a chunk of that length. */
export function maxFrameBytes(chunkBytes: number): number {
  return chunkBytes + (chunkBytes >> 7) + 512;
}

/**
 * @param originalLength from the index; the frame must yield exactly that
 * @throws integrity_failure for a length beyond the limit, a damaged frame, or another length
 */
export function decompressChunk(frame: Uint8Array, originalLength: number): Buffer {
  if (!Number.isSafeInteger(originalLength) || originalLength < 0 || originalLength > MAX_CHUNK_BYTES) {
    throw new HoldfastError('integrity_failure', 'A chunk states an impossible length');
  }
  let plain: Buffer;
  try {
    plain = takeOutput(
      zstdDecompressSync(frame, {
        maxOutputLength: Math.max(1, originalLength),
        // One more than comes: zlib makes a second buffer when the first is full to the last byte.
        chunkSize: Math.max(64, originalLength + 1),
        info: true,
      }),
    );
  } catch (cause) {
    throw new HoldfastError('integrity_failure', 'A chunk cannot be decompressed', { cause });
  }
  if (plain.length !== originalLength) {
    throw new HoldfastError('integrity_failure', 'A chunk has another length than its index says');
  }
  return plain;
}

/**
 * Checks a chunk against the id it was asked for by.
 *
 * @returns SHA-256 of the chunk
 * @throws integrity_failure
 */
export function checkChunk(secret: Uint8Array, id: Uint8Array, chunk: Uint8Array): Buffer {
  const digest = sha256(chunk);
  if (!chunkIdOf(secret, digest).equals(id)) {
    throw new HoldfastError('integrity_failure', 'A chunk is not what its id says', {
      detail: Buffer.from(id).toString('hex'),
    });
  }
  return digest;
}
