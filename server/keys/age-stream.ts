/**
 * The payload of an age file (STREAM, age-encryption.org/v1 "Payload") on node:crypto, an order of magnitude faster than
 * the library's JavaScript cipher and readable by every age.
 *
 * Layout after the header: a 16-byte nonce, then chunks of 64 KiB plaintext, each with a 16-byte tag; the chunk's nonce is
 * an 11-byte big-endian counter and one byte that is 1 on the last chunk. Only an empty payload has an empty last chunk.
 *
 * Nothing here ever returns a byte whose tag was not checked. A truncated stream is noticed only at its end, so whoever
 * decrypts in parts keeps the result unpublished until `finish` has returned.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { HoldfastError } from '../lib/errors.ts';

/** Plaintext bytes of every chunk but the last. */
export const STREAM_CHUNK_BYTES = 64 * 1024;
/** Bytes of the Poly1305 tag after each chunk. */
export const STREAM_TAG_BYTES = 16;
/** Bytes of the nonce between header and first chunk. */
export const STREAM_NONCE_BYTES = 16;

const SEALED_CHUNK_BYTES = STREAM_CHUNK_BYTES + STREAM_TAG_BYTES;
const CIPHER = 'chacha20-poly1305';
const TAG = { authTagLength: STREAM_TAG_BYTES };
/** How much is sealed before it is copied out: bounds the garbage of a large payload. */
const SLICE_BYTES = 16 * STREAM_CHUNK_BYTES;
const NOTHING = Buffer.alloc(0);

function damaged(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('integrity_failure', message, cause === undefined ? {} : { cause });
}

/** HKDF-SHA-256(file key, payload nonce, "payload"), 32 bytes. */
export function deriveStreamKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
}

function chunkNonce(index: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6);
  if (last) nonce[11] = 1;
  return nonce;
}

/** One sealed chunk: ciphertext, then tag. `plaintext` is at most 64 KiB. */
export function sealChunk(
  streamKey: Uint8Array,
  index: number,
  last: boolean,
  plaintext: Uint8Array,
): Buffer[] {
  const cipher = createCipheriv(CIPHER, streamKey, chunkNonce(index, last), TAG);
  const body = cipher.update(plaintext);
  cipher.final();
  return [body, cipher.getAuthTag()];
}

/** @throws integrity_failure when the tag does not match. */
export function openChunk(streamKey: Uint8Array, index: number, last: boolean, sealed: Uint8Array): Buffer {
  const bodyLength = sealed.length - STREAM_TAG_BYTES;
  if (bodyLength < 0) throw damaged('An encrypted payload ends in the middle of a chunk');
  const decipher = createDecipheriv(CIPHER, streamKey, chunkNonce(index, last), TAG);
  decipher.setAuthTag(sealed.subarray(bodyLength));
  const body = decipher.update(sealed.subarray(0, bodyLength));
  try {
    decipher.final();
  } catch (cause) {
    throw damaged('An encrypted payload was altered or cut short', cause);
  }
  return body;
}

/** Bytes of the sealed chunks of `plainBytes`, without the payload nonce. */
export function sealedSize(plainBytes: number): number {
  return plainBytes + STREAM_TAG_BYTES * Math.max(1, Math.ceil(plainBytes / STREAM_CHUNK_BYTES));
}

/** Plaintext bytes of sealed chunks of `sealedBytes`. @throws integrity_failure for a length that no payload has. */
export function plainSize(sealedBytes: number): number {
  const chunks = Math.ceil(sealedBytes / SEALED_CHUNK_BYTES);
  const rest = sealedBytes - (chunks - 1) * SEALED_CHUNK_BYTES;
  if (
    sealedBytes < STREAM_TAG_BYTES ||
    rest < STREAM_TAG_BYTES ||
    (rest === STREAM_TAG_BYTES && chunks > 1)
  ) {
    throw damaged('An encrypted payload has an impossible length');
  }
  return sealedBytes - chunks * STREAM_TAG_BYTES;
}

/** Takes bytes in pieces of any size and hands out sealed bytes as soon as they are certain. */
export interface StreamCodec {
  /** @returns what can be handed out now; the buffers are the caller's. */
  update(data: Uint8Array): Buffer[];
  /** The last chunk. Nothing may follow. */
  finish(): Buffer[];
}

/** Cuts pieces of any size into whole chunks; a full chunk is held back until it is known not to be the last. */
function chunker(chunkBytes: number, emit: (chunk: Uint8Array, index: number, last: boolean) => void) {
  const held = Buffer.allocUnsafe(chunkBytes);
  let used = 0;
  let index = 0;
  return {
    push(data: Uint8Array): void {
      let at = 0;
      while (at < data.length) {
        if (used === chunkBytes) {
          emit(held, index++, false);
          used = 0;
        }
        while (used === 0 && data.length - at > chunkBytes) {
          emit(data.subarray(at, at + chunkBytes), index++, false);
          at += chunkBytes;
        }
        const count = Math.min(chunkBytes - used, data.length - at);
        held.set(data.subarray(at, at + count), used);
        used += count;
        at += count;
      }
    },
    end(): void {
      emit(held.subarray(0, used), index, true);
    },
  };
}

/** Encrypts a payload piece by piece. The first output is the payload nonce. */
export function createStreamEncryptor(fileKey: Uint8Array): StreamCodec {
  const nonce = randomBytes(STREAM_NONCE_BYTES);
  const streamKey = deriveStreamKey(fileKey, nonce);
  let out: Buffer[] = [nonce];
  const chunks = chunker(STREAM_CHUNK_BYTES, (chunk, index, last) => {
    out.push(...sealChunk(streamKey, index, last, chunk));
  });
  const take = (): Buffer[] => {
    const taken = out;
    out = [];
    return taken;
  };
  return {
    update(data) {
      chunks.push(data);
      return take();
    },
    finish() {
      chunks.end();
      return take();
    },
  };
}

/**
 * Decrypts a payload (payload nonce first) piece by piece. Until `finish` returns, the end may still turn out to be missing.
 *
 * Both calls throw integrity_failure; after that the codec is unusable.
 */
export function createStreamDecryptor(fileKey: Uint8Array): StreamCodec {
  let nonce = NOTHING;
  let streamKey: Buffer | undefined;
  let out: Buffer[] = [];
  const chunks = chunker(SEALED_CHUNK_BYTES, (chunk, index, last) => {
    if (streamKey === undefined) throw damaged('An encrypted payload ends before its nonce');
    const plain = openChunk(streamKey, index, last, chunk);
    if (last && index > 0 && plain.length === 0) throw damaged('An encrypted payload ends in an empty chunk');
    if (plain.length > 0) out.push(plain);
  });
  const take = (): Buffer[] => {
    const taken = out;
    out = [];
    return taken;
  };
  return {
    update(data) {
      let rest = data;
      if (streamKey === undefined) {
        const missing = STREAM_NONCE_BYTES - nonce.length;
        nonce = Buffer.concat([nonce, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (nonce.length === STREAM_NONCE_BYTES) streamKey = deriveStreamKey(fileKey, nonce);
      }
      if (rest.length > 0) chunks.push(rest);
      return take();
    },
    finish() {
      chunks.end();
      return take();
    },
  };
}

/** Encrypts a whole payload into `out` from `outOffset` on. @returns the offset behind the last byte written. */
export function sealPayloadInto(
  fileKey: Uint8Array,
  parts: readonly Uint8Array[],
  out: Uint8Array,
  outOffset: number,
): number {
  const codec = createStreamEncryptor(fileKey);
  let at = outOffset;
  const place = (pieces: Buffer[]): void => {
    for (const piece of pieces) {
      out.set(piece, at);
      at += piece.length;
    }
  };
  for (const part of parts) {
    for (let from = 0; from < part.length; from += SLICE_BYTES) {
      place(codec.update(part.subarray(from, from + SLICE_BYTES)));
    }
  }
  place(codec.finish());
  return at;
}

/** Which sealed bytes cover a range of the plaintext. */
export interface StreamRange {
  /** Offset of the first sealed byte to read, counted from behind the payload nonce. */
  sealedOffset: number;
  sealedLength: number;
  /** Number of the first covering chunk. */
  firstChunk: number;
  /** True when the covering chunks reach the end of the payload. */
  reachesEnd: boolean;
  /** Bytes of the first covering chunk that come before the range. */
  skip: number;
  /** Bytes of plaintext asked for. */
  length: number;
}

/**
 * The sealed bytes that must be read for `length` plaintext bytes from `offset`.
 *
 * @param plainBytes length of the whole plaintext. It must be known from something trusted (a signed index); else first
 *   call `openRange` on the last byte, which proves where the payload ends.
 * @throws range_not_satisfiable when the range leaves the payload.
 */
export function coverRange(offset: number, length: number, plainBytes: number): StreamRange {
  if (offset < 0 || length < 0 || offset + length > plainBytes) {
    throw new HoldfastError('range_not_satisfiable', 'The range lies outside of the encrypted payload');
  }
  const lastChunk = Math.max(0, Math.ceil(plainBytes / STREAM_CHUNK_BYTES) - 1);
  const firstChunk = Math.min(lastChunk, Math.floor(offset / STREAM_CHUNK_BYTES));
  const endChunk = Math.max(firstChunk, Math.floor((offset + Math.max(1, length) - 1) / STREAM_CHUNK_BYTES));
  const reachesEnd = endChunk >= lastChunk;
  const sealedOffset = firstChunk * SEALED_CHUNK_BYTES;
  const sealedEnd = reachesEnd ? sealedSize(plainBytes) : (endChunk + 1) * SEALED_CHUNK_BYTES;
  return {
    sealedOffset,
    sealedLength: sealedEnd - sealedOffset,
    firstChunk,
    reachesEnd,
    skip: offset - firstChunk * STREAM_CHUNK_BYTES,
    length,
  };
}

/**
 * Decrypts the sealed bytes of a range and checks every chunk that it touches.
 *
 * @param into where to put the plaintext of the covering chunks; made when absent. Its start is overwritten.
 * @returns exactly the range, as a view of `into`.
 * @throws integrity_failure
 */
export function openRange(
  streamKey: Uint8Array,
  range: StreamRange,
  sealed: Uint8Array,
  into?: Buffer,
): Buffer {
  if (sealed.length !== range.sealedLength)
    throw damaged('An encrypted payload is shorter than it should be');
  const plainBytes = plainSize(sealed.length);
  const out = into ?? Buffer.allocUnsafe(plainBytes);
  let at = 0;
  let index = range.firstChunk;
  for (let from = 0; from < sealed.length; from += SEALED_CHUNK_BYTES, index++) {
    const chunk = sealed.subarray(from, from + SEALED_CHUNK_BYTES);
    const last = range.reachesEnd && from + SEALED_CHUNK_BYTES >= sealed.length;
    const plain = openChunk(streamKey, index, last, chunk);
    out.set(plain, at);
    at += plain.length;
  }
  if (range.skip + range.length > at) throw damaged('An encrypted payload is shorter than it should be');
  return out.subarray(range.skip, range.skip + range.length);
}
