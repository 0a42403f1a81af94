/**
 * The pack: one age file whose payload is zstd frames back to back, one per chunk, then a zstd skippable frame with the
 * pack's index. `age -d | zstd -d` yields the chunks joined; zstd skips the index.
 *
 * Index frame: u32le magic 0x184D2A50, u32le length of the rest, then JSON
 * `{"version":1,"kind":"data"|"tree","chunks":[["<hex id>",storedLength,originalLength],…]}`, u64le JSON length, `HFPK`.
 * Frames start at payload offset 0 and follow each other without gaps, so offsets are sums of the stored lengths.
 *
 * A pack carries no signature. It is authentic by the SHA-256 of its stored bytes, which a signed index lists.
 */
import {
  createStreamEncryptor,
  makeAgeHeader,
  sealedSize,
  STREAM_NONCE_BYTES,
  type AgeHeader,
  type StreamCodec,
} from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { PackChunk, WrittenPack } from '../engine.ts';
import { CHUNK_ID_BYTES, MAX_CHUNK_BYTES, maxFrameBytes, sha256 } from './chunk.ts';

const SKIPPABLE_MAGIC = 0x184d2a50;
const FRAME_HEADER_BYTES = 8;
const TRAILER_MAGIC = Buffer.from('HFPK', 'latin1');
const TRAILER_BYTES = 12;
/** A pack is never larger than this, whatever its parameters say; a reader may hold one in memory. */
export const MAX_PACK_BYTES = 96 * 1024 * 1024;
/** What one index object may list, and with it one pack. */
const MAX_PACK_CHUNKS = 50_000;

export type PackKind = WrittenPack['kind'];

/** The object name of a pack. */
export function packName(id: string): string {
  return `packs/${id.slice(0, 2)}/${id}.age`;
}

/** A finished pack: `bytes` is a view of the builder's buffer, valid until the builder is used again. */
export interface BuiltPack {
  pack: WrittenPack;
  bytes: Buffer;
}

/** Collects chunks into one buffer, encrypting as they come. */
export interface PackBuilder {
  readonly chunkCount: number;
  /** True when a frame of that length still fits under the limit, or the pack is empty. */
  fits(frameBytes: number): boolean;
  add(id: Uint8Array, frame: Uint8Array, originalLength: number): void;
  finish(): BuiltPack;
}

/** Bytes of buffer that a pack of `packBytes` may need: one frame of any length always fits into an empty one. */
export function packBufferBytes(packBytes: number): number {
  return packBytes + sealedSize(maxFrameBytes(MAX_CHUNK_BYTES)) + 64 * 1024;
}

export function preparePackHeader(recipient: string): Promise<AgeHeader> {
  return makeAgeHeader([recipient]);
}

/**
 * @param buffer of `packBufferBytes(packBytes)`; its pages are touched only as far as the pack grows
 * @param age a header of its own, never used twice
 */
export function createPackBuilder(parts: {
  buffer: Buffer;
  packBytes: number;
  kind: PackKind;
  generation: number;
  age: AgeHeader;
}): PackBuilder {
  const { buffer, packBytes, kind, generation, age } = parts;
  const codec = createStreamEncryptor(age.fileKey);
  const chunks: PackChunk[] = [];
  age.header.copy(buffer, 0);
  let end = age.header.length;
  let plainBytes = 0;

  const seal = (data: Uint8Array, stream: StreamCodec): void => {
    for (const piece of stream.update(data)) end += piece.copy(buffer, end);
    plainBytes += data.length;
  };
  const sizeWith = (more: number): number =>
    age.header.length + STREAM_NONCE_BYTES + sealedSize(plainBytes + more + (chunks.length + 1) * 84 + 128);

  return {
    get chunkCount() {
      return chunks.length;
    },
    fits(frameBytes) {
      if (chunks.length >= MAX_PACK_CHUNKS) return false;
      return chunks.length === 0 || sizeWith(frameBytes) <= packBytes;
    },
    add(id, frame, originalLength) {
      chunks.push({
        id: Buffer.from(id.buffer, id.byteOffset, id.length).toString('hex'),
        offset: plainBytes,
        storedLength: frame.length,
        originalLength,
      });
      seal(frame, codec);
    },
    finish() {
      seal(encodePackIndex(kind, chunks), codec);
      for (const piece of codec.finish()) end += piece.copy(buffer, end);
      const bytes = buffer.subarray(0, end);
      const id = sha256(bytes).toString('hex');
      return {
        bytes,
        pack: { id, kind, sizeBytes: end, headerLength: age.header.length, generation, chunks },
      };
    },
  };
}

export function encodePackIndex(kind: PackKind, chunks: readonly PackChunk[]): Buffer {
  const json = Buffer.from(
    JSON.stringify({
      version: 1,
      kind,
      chunks: chunks.map((chunk) => [chunk.id, chunk.storedLength, chunk.originalLength]),
    }),
  );
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + json.length + TRAILER_BYTES);
  frame.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  frame.writeUInt32LE(json.length + TRAILER_BYTES, 4);
  json.copy(frame, FRAME_HEADER_BYTES);
  frame.writeBigUInt64LE(BigInt(json.length), FRAME_HEADER_BYTES + json.length);
  TRAILER_MAGIC.copy(frame, frame.length - TRAILER_MAGIC.length);
  return frame;
}

function damaged(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('integrity_failure', `A pack is damaged: ${why}`, {
    hint: 'Run verify to see which snapshots it touches, and restore from another target.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * The index at the end of a pack's whole plaintext, checked against that plaintext's length.
 *
 * @throws integrity_failure
 */
export function decodePackIndex(plain: Uint8Array): { kind: PackKind; chunks: PackChunk[] } {
  const data = Buffer.from(plain.buffer, plain.byteOffset, plain.length);
  const smallest = FRAME_HEADER_BYTES + TRAILER_BYTES;
  if (data.length < smallest || !data.subarray(-4).equals(TRAILER_MAGIC)) throw damaged('it has no index');
  const jsonLength = data.readBigUInt64LE(data.length - TRAILER_BYTES);
  if (jsonLength > BigInt(data.length - smallest)) throw damaged('its index is longer than itself');
  const start = data.length - TRAILER_BYTES - Number(jsonLength);
  const frameStart = start - FRAME_HEADER_BYTES;
  if (data.readUInt32LE(frameStart) !== SKIPPABLE_MAGIC) throw damaged('its index frame has no magic');
  if (data.readUInt32LE(frameStart + 4) !== Number(jsonLength) + TRAILER_BYTES) {
    throw damaged('its index frame has another length');
  }
  return parseIndex(data.toString('utf8', start, start + Number(jsonLength)), frameStart);
}

function parseIndex(json: string, framesEnd: number): { kind: PackKind; chunks: PackChunk[] } {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw damaged('its index is no JSON', cause);
  }
  const index = value as { version?: unknown; kind?: unknown; chunks?: unknown };
  if (index.version !== 1) throw damaged('its index has a version we do not know');
  if (index.kind !== 'data' && index.kind !== 'tree') throw damaged('its kind is unknown');
  if (!Array.isArray(index.chunks) || index.chunks.length > MAX_PACK_CHUNKS)
    throw damaged('its index has no chunks');
  const chunks: PackChunk[] = [];
  let offset = 0;
  for (const row of index.chunks as unknown[]) {
    const [id, storedLength, originalLength] = Array.isArray(row) ? (row as unknown[]) : [];
    if (typeof id !== 'string' || !/^[0-9a-f]{64}$/.test(id)) throw damaged('a chunk id is malformed');
    if (!isLength(storedLength) || !isLength(originalLength)) throw damaged('a chunk length is impossible');
    chunks.push({ id, offset, storedLength, originalLength });
    offset += storedLength;
  }
  if (offset !== framesEnd) throw damaged('its chunks do not fill it');
  return { kind: index.kind, chunks };
}

function isLength(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= maxFrameBytes(MAX_CHUNK_BYTES);
}

export function chunkIdBytes(hex: string): Buffer {
  const id = Buffer.from(hex, 'hex');
  if (id.length !== CHUNK_ID_BYTES) throw damaged('a chunk id is malformed');
  return id;
}
