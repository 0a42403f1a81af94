/**
 * Reads parts of packs: only the sealed bytes that cover what is asked for, every tag checked, every chunk compared with
 * the id it was asked for by. Lengths come from the signed index and are limited before anything is decompressed.
 */
import {
  coverRange,
  deriveStreamKey,
  openAgeHeader,
  openRange,
  plainSize,
  sealedSize,
  STREAM_CHUNK_BYTES,
  STREAM_NONCE_BYTES,
} from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { ChunkLocation, RepositoryGeneration, Target } from '../engine.ts';
import { checkChunk, decompressChunk } from './chunk.ts';
import { chunkIdBytes, MAX_PACK_BYTES, packName } from './pack.ts';

/** A reader needs no more of a generation than this. Serialisable. */
export type ReadGeneration = Pick<RepositoryGeneration, 'generation' | 'identity' | 'chunkIdSecret'>;

export type PackReference = Pick<ChunkLocation, 'packId' | 'packSizeBytes' | 'headerLength' | 'generation'>;

/** Stored bytes that are read and decrypted at once, more or less. */
export const SLICE_BYTES = 2 * 1024 * 1024;
/** Sealed bytes that a slice of one chunk or of `SLICE_BYTES` may need, whatever its place. */
export const SLICE_BUFFER_BYTES = sealedSize(SLICE_BYTES + 2 * STREAM_CHUNK_BYTES);
/** Unwanted bytes between two chunks that are cheaper to read along than to skip. */
const SMALL_GAP_BYTES = 64 * 1024;
/** Pack keys that are kept: unwrapping one costs about a millisecond. */
const KEPT_KEYS = 512;

interface PackKey {
  streamKey: Buffer;
  plainBytes: number;
  secret: Uint8Array;
}

export interface PackReader {
  key(pack: PackReference): Promise<PackKey>;
  /**
   * Decrypted bytes of a pack's payload.
   *
   * @param into a buffer of `SLICE_BUFFER_BYTES` to work in, of which a view is returned; a new one when absent or too small
   */
  readPlain(pack: PackReference, offset: number, length: number, into?: Buffer): Promise<Buffer>;
}

export function openPackReader(target: Target, generations: readonly ReadGeneration[]): PackReader {
  const keys = new Map<string, Promise<PackKey>>();

  const unwrap = async (pack: PackReference): Promise<PackKey> => {
    const generation = generations.find((candidate) => candidate.generation === pack.generation);
    if (generation?.identity === undefined) {
      throw new HoldfastError('wrong_key', 'There is no key at hand that opens this part of the repository', {
        hint: 'Use the recovery kit.',
        detail: `generation ${pack.generation}`,
      });
    }
    checkReference(pack);
    const length = pack.headerLength + STREAM_NONCE_BYTES;
    const start = await target.read(packName(pack.packId), { offset: 0, length });
    const opened = await openAgeHeader(start, [generation.identity]);
    if (opened.headerLength !== pack.headerLength) {
      throw new HoldfastError('integrity_failure', 'A pack has another header than its index says', {
        detail: packName(pack.packId),
      });
    }
    return {
      streamKey: deriveStreamKey(opened.fileKey, start.subarray(pack.headerLength)),
      plainBytes: plainSize(pack.packSizeBytes - length),
      secret: generation.chunkIdSecret,
    };
  };

  const key = (pack: PackReference): Promise<PackKey> => {
    const kept = keys.get(pack.packId);
    if (kept !== undefined) return kept;
    const opened = unwrap(pack);
    opened.catch(() => keys.delete(pack.packId));
    keys.set(pack.packId, opened);
    const oldest = keys.size > KEPT_KEYS ? keys.keys().next().value : undefined;
    if (oldest !== undefined) keys.delete(oldest);
    return opened;
  };

  return {
    key,
    async readPlain(pack, offset, length, into) {
      const { streamKey, plainBytes } = await key(pack);
      const range = coverPack(offset, length, plainBytes, pack);
      const sealed = await target.read(packName(pack.packId), {
        offset: pack.headerLength + STREAM_NONCE_BYTES + range.sealedOffset,
        length: range.sealedLength,
        ...(into === undefined || into.length < range.sealedLength ? {} : { into }),
      });
      try {
        // In place: the plaintext of a chunk never reaches beyond the chunk's own sealed bytes.
        return openRange(streamKey, range, sealed, sealed);
      } catch (cause) {
        throw new HoldfastError('integrity_failure', 'A pack is damaged', {
          hint: 'Run verify to see which snapshots it touches, and restore from another target.',
          detail: packName(pack.packId),
          cause,
        });
      }
    },
  };
}

function coverPack(offset: number, length: number, plainBytes: number, pack: PackReference) {
  try {
    return coverRange(offset, length, plainBytes);
  } catch (cause) {
    throw new HoldfastError('integrity_failure', 'A chunk lies outside of its pack', {
      detail: packName(pack.packId),
      cause,
    });
  }
}

function checkReference(pack: PackReference): void {
  if (!/^[0-9a-f]{64}$/.test(pack.packId) || pack.packSizeBytes > MAX_PACK_BYTES || pack.headerLength < 1) {
    throw new HoldfastError('integrity_failure', 'An index names an impossible pack', {
      detail: pack.packId,
    });
  }
}

/** What `planSlices` needs to know of a chunk. */
export interface StoredPart {
  offset: number;
  storedLength: number;
}

/** Neighbouring parts that are read together: in order of offset, about `SLICE_BYTES` from the first to the last. */
export interface Slice<Part extends StoredPart> {
  offset: number;
  length: number;
  parts: Part[];
}

export function planSlices<Part extends StoredPart>(parts: readonly Part[]): Slice<Part>[] {
  const slices: Slice<Part>[] = [];
  for (const part of [...parts].sort((a, b) => a.offset - b.offset)) {
    const open = slices.at(-1);
    const end = part.offset + part.storedLength;
    const joins =
      open !== undefined &&
      part.offset <= open.offset + open.length + SMALL_GAP_BYTES &&
      end - open.offset <= SLICE_BYTES;
    if (joins) {
      open.length = Math.max(open.length, end - open.offset);
      open.parts.push(part);
    } else {
      slices.push({ offset: part.offset, length: part.storedLength, parts: [part] });
    }
  }
  return slices;
}

/** A chunk out of its slice, checked. @throws integrity_failure */
export function openStoredChunk(
  slice: { offset: number },
  plain: Buffer,
  part: StoredPart & { id: string; originalLength: number },
  secret: Uint8Array,
): { chunk: Buffer; digest: Buffer } {
  const start = part.offset - slice.offset;
  const chunk = decompressChunk(plain.subarray(start, start + part.storedLength), part.originalLength);
  return { chunk, digest: checkChunk(secret, chunkIdBytes(part.id), chunk) };
}
