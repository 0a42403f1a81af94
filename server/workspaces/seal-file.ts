/**
 * Writes stored files: cuts a stream into segments, compresses those that shrink, seals each, ends with the footer.
 * Memory is a few segments whatever the size; compression runs in the thread pool, and what is left on the event loop
 * (hash and seal of 1 MiB) takes about 2 ms a turn.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync } from 'node:zlib';
import { HoldfastError } from '../lib/errors.ts';
import { noteGarbage } from '../lib/process-memory.ts';
import {
  encodeFooter,
  encodeHeader,
  FLAG_ZSTD,
  sealSegment,
  SEGMENT_BYTES,
  type FileSeal,
} from './file-format.ts';

/** What is known of a stored file once it is written. */
export interface SealedFacts {
  /** Plaintext bytes. */
  sizeBytes: number;
  /** Hex SHA-256 of the plaintext. */
  sha256: string;
  storedBytes: number;
  /** SHA-256 of every stored byte. */
  storedSha256: Buffer;
}

interface SealOptions {
  /** Refused with `too_large` above it. */
  maxBytes?: number;
  signal?: AbortSignal | undefined;
  /** Plaintext of one segment; differs in tests only. */
  segmentBytes?: number;
}

/** Takes stored bytes in order; the next call comes only after the promise of the one before. */
export type WriteParts = (parts: Buffer[]) => Promise<unknown>;

interface PackedSegment {
  flags: number;
  content: Uint8Array;
  /** The segment's buffer, free again once sealed. */
  buffer: Buffer;
}

/** Segments being compressed ahead of the one being sealed. */
const LOOKAHEAD = 3;
const SAMPLE_BYTES = 16 * 1024;
/** A segment is stored compressed when that saves at least this share. */
const WORTHWHILE = 0.95;
/** Up to this, compressing is quicker than finding out first, and than a trip through the thread pool. */
const SAMPLED_BYTES = 32 * 1024;
const ZSTD_OPTIONS = {
  params: { [constants.ZSTD_c_compressionLevel]: 1 },
  chunkSize: 128 * 1024,
  info: true,
};
const SAMPLE_OPTIONS = { ...ZSTD_OPTIONS, chunkSize: SAMPLE_BYTES };
const compress = promisify(zstdCompress);

/**
 * The engine of a finished call is a native object that only a full collection frees, and with it the output buffer that it
 * still holds. Letting go of that buffer here leaves it to the cheap collections of the young generation.
 */
function takeOutput(finished: unknown): Buffer {
  const { buffer, engine } = finished as { buffer: Buffer; engine: { _outBuffer?: Buffer | null } };
  engine._outBuffer = null;
  noteGarbage(ZSTD_OPTIONS.chunkSize + buffer.length);
  return buffer;
}

function compressNow(content: Uint8Array, options = ZSTD_OPTIONS): Buffer {
  return takeOutput(zstdCompressSync(content, options));
}

/**
 * Seals a stream.
 *
 * @throws too_large; cancelled when the signal aborts; whatever the source or `write` throws. Stored bytes are then partial.
 */
export async function sealFile(
  source: AsyncIterable<Uint8Array>,
  seal: FileSeal,
  write: WriteParts,
  options: SealOptions = {},
): Promise<SealedFacts> {
  const segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
  const plainHash = createHash('sha256');
  const out = startOutput(seal, segmentBytes, write);
  const spare: Buffer[] = [];
  const packing: Promise<PackedSegment>[] = [];
  let sizeBytes = 0;

  const sealNext = async (last: boolean): Promise<void> => {
    const next = packing.shift();
    if (next === undefined) return;
    const packed = await next;
    await out.addSegment(packed, last);
    spare.push(packed.buffer);
  };

  try {
    for await (const segment of cutSegments(source, segmentBytes, spare)) {
      if (options.signal?.aborted) throw new HoldfastError('cancelled', 'The upload was cancelled');
      sizeBytes += segment.length;
      if (options.maxBytes !== undefined && sizeBytes > options.maxBytes) throw tooLarge(options.maxBytes);
      plainHash.update(segment);
      packing.push(packSegment(segment));
      if (packing.length > LOOKAHEAD) await sealNext(false);
    }
    while (packing.length > 0) await sealNext(packing.length === 1);
    return await out.finish(sizeBytes, plainHash.digest('hex'));
  } finally {
    await Promise.allSettled([...packing, out.settled()]);
  }
}

/**
 * Seals a content that is in memory, of one segment at most, at once: for worker threads.
 *
 * @returns the whole stored file and what is known of it.
 */
export function sealSmallFile(content: Buffer, seal: FileSeal): { stored: Buffer; facts: SealedFacts } {
  if (content.length > SEGMENT_BYTES) throw new HoldfastError('internal', 'This content is not small');
  const parts = [encodeHeader(SEGMENT_BYTES)];
  const segments: number[] = [];
  if (content.length > 0) {
    const packed = smaller(content, samplesShrink(content) ? compressNow(content) : content);
    const record = sealSegment(seal, { number: 0, flags: packed.flags, last: true }, packed.content);
    segments.push(lengthOf(record));
    parts.push(...record);
  }
  const sizeBytes = content.length;
  const sha256 = createHash('sha256').update(content).digest('hex');
  parts.push(encodeFooter(seal, { sizeBytes, sha256, segmentBytes: SEGMENT_BYTES, segments }));
  const stored = Buffer.concat(parts);
  const storedSha256 = createHash('sha256').update(stored).digest();
  noteGarbage(3 * stored.length);
  return { stored, facts: { sizeBytes, sha256, storedBytes: stored.length, storedSha256 } };
}

/** Numbers, seals and hashes what is written; one write is under way while the next segment is sealed. */
function startOutput(seal: FileSeal, segmentBytes: number, write: WriteParts) {
  const storedHash = createHash('sha256');
  const segments: number[] = [];
  let storedBytes = 0;
  let writing: Promise<unknown> = Promise.resolve();

  const put = async (parts: Buffer[]): Promise<void> => {
    for (const part of parts) storedHash.update(part);
    storedBytes += lengthOf(parts);
    await writing;
    writing = write(parts);
    // Its failure is met by the next `await writing`; until then nobody looks at it.
    writing.catch(() => undefined);
  };

  let started: Promise<void> | undefined;
  const start = () => (started ??= put([encodeHeader(segmentBytes)]));
  return {
    async addSegment(packed: PackedSegment, last: boolean): Promise<void> {
      await start();
      const place = { number: segments.length, flags: packed.flags, last };
      const parts = sealSegment(seal, place, packed.content);
      segments.push(lengthOf(parts));
      noteGarbage(2 * packed.content.length);
      await put(parts);
    },
    async finish(sizeBytes: number, sha256: string): Promise<SealedFacts> {
      await start();
      await put([encodeFooter(seal, { sizeBytes, sha256, segmentBytes, segments })]);
      await writing;
      return { sizeBytes, sha256, storedBytes, storedSha256: storedHash.digest() };
    },
    settled: () => writing.catch(() => undefined),
  };
}

/** Copies a stream into segments of equal size. A buffer is taken from `spare` when one is there. */
async function* cutSegments(
  source: AsyncIterable<Uint8Array>,
  segmentBytes: number,
  spare: Buffer[],
): AsyncGenerator<Buffer> {
  let buffer: Buffer | undefined;
  let filled = 0;
  for await (const chunk of source) {
    let offset = 0;
    while (offset < chunk.length) {
      buffer ??= spare.pop() ?? Buffer.allocUnsafeSlow(segmentBytes);
      const taken = Math.min(chunk.length - offset, segmentBytes - filled);
      buffer.set(chunk.subarray(offset, offset + taken), filled);
      offset += taken;
      filled += taken;
      if (filled === segmentBytes) {
        yield buffer;
        buffer = undefined;
        filled = 0;
      }
    }
  }
  if (buffer !== undefined && filled > 0) yield buffer.subarray(0, filled);
}

async function packSegment(segment: Buffer): Promise<PackedSegment> {
  // A view of a whole buffer on its own memory; `spare` wants that buffer back at full length.
  const buffer = Buffer.from(segment.buffer);
  if (segment.length <= SAMPLED_BYTES) {
    return { ...smaller(segment, compressNow(segment)), buffer };
  }
  const compressed = samplesShrink(segment) ? takeOutput(await compress(segment, ZSTD_OPTIONS)) : segment;
  return { ...smaller(segment, compressed), buffer };
}

function smaller(segment: Buffer, compressed: Buffer): { flags: number; content: Buffer } {
  return compressed.length > segment.length * WORTHWHILE
    ? { flags: 0, content: segment }
    : { flags: FLAG_ZSTD, content: compressed };
}

function samplesShrink(segment: Buffer): boolean {
  if (segment.length <= SAMPLED_BYTES) return true;
  const middle = (segment.length - SAMPLE_BYTES) >>> 1;
  return [segment.subarray(0, SAMPLE_BYTES), segment.subarray(middle, middle + SAMPLE_BYTES)].some(
    (sample) => compressNow(sample, SAMPLE_OPTIONS).length < sample.length * WORTHWHILE,
  );
}

function lengthOf(parts: readonly Buffer[]): number {
  return parts.reduce((total, part) => total + part.length, 0);
}

function tooLarge(maxBytes: number): HoldfastError {
  return new HoldfastError('too_large', `A file may hold at most ${maxBytes} bytes`, {
    hint: 'Split it, or keep it outside the appliance.',
  });
}
