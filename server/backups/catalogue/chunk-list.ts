/** The chunk list of a pack as one blob: 44 bytes a chunk, big-endian. */
import { HoldfastError } from '../../lib/errors.ts';
import type { PackChunk } from '../engine.ts';

export const ID_BYTES = 32;
const ENTRY_BYTES = ID_BYTES + 12;
const MAX_UINT32 = 0xffff_ffff;

/** @throws internal when a length does not fit 32 bits; packs are far smaller. */
export function packChunkList(chunks: readonly PackChunk[]): Buffer {
  const blob = Buffer.allocUnsafe(chunks.length * ENTRY_BYTES);
  let at = 0;
  for (const chunk of chunks) {
    if (Math.max(chunk.offset, chunk.storedLength, chunk.originalLength) > MAX_UINT32) {
      throw new HoldfastError('internal', 'A chunk lies too far into its pack');
    }
    blob.write(chunk.id, at, 'hex');
    blob.writeUInt32BE(chunk.offset, at + 32);
    blob.writeUInt32BE(chunk.storedLength, at + 36);
    blob.writeUInt32BE(chunk.originalLength, at + 40);
    at += ENTRY_BYTES;
  }
  return blob;
}

export function unpackChunkList(blob: Uint8Array): PackChunk[] {
  const bytes = asBuffer(blob);
  const chunks: PackChunk[] = [];
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    chunks.push({
      id: bytes.toString('hex', at, at + ID_BYTES),
      offset: bytes.readUInt32BE(at + 32),
      storedLength: bytes.readUInt32BE(at + 36),
      originalLength: bytes.readUInt32BE(at + 40),
    });
  }
  return chunks;
}

export interface RawChunk {
  id: Buffer;
  offset: number;
  storedLength: number;
  originalLength: number;
}

/** One reused record per step: copy what is to be kept. */
export function* rawChunks(blob: Uint8Array): Iterable<RawChunk> {
  const bytes = asBuffer(blob);
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    yield {
      id: bytes.subarray(at, at + ID_BYTES),
      offset: bytes.readUInt32BE(at + 32),
      storedLength: bytes.readUInt32BE(at + 36),
      originalLength: bytes.readUInt32BE(at + 40),
    };
  }
}

export function asBuffer(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
