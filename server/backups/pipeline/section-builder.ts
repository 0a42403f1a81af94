/**
 * File lines to segments: sorted JSON Lines, cut where the path's CRC-32 says so, at about 1 MiB. The cut depends on paths
 * alone, so a changed file changes one segment; a segment that the repository has is not stored again.
 */
import { crc32 } from 'node:zlib';
import { HoldfastError } from '../../lib/errors.ts';
import type { SegmentReference } from '../engine.ts';
import type { ByteString } from './path-bytes.ts';
import { sha256 } from './chunk.ts';
import { createFirstFailure } from './first-failure.ts';

const SMALLEST_BYTES = 256 * 1024;
/** In UTF-16 units: at most three times as many bytes, and with the longest line still below the limit of a chunk. */
const LARGEST_BYTES = 2 * 1024 * 1024;
/** One line in so many ends a segment. */
const CUT_EVERY = 2048;
/** Segments on their way to storage. */
const MOST_PENDING = 3;

export interface SectionBuilder {
  /** Paths strictly ascending in bytes. `line` ends in a newline. */
  add(path: ByteString, line: string): Promise<void> | undefined;
  finish(): Promise<SegmentReference[]>;
}

/** @param store stores a segment unless it is known. @returns its chunk id, hex */
export function createSectionBuilder(
  store: (segment: Buffer, digest: Buffer) => Promise<string>,
): SectionBuilder {
  const segments: SegmentReference[] = [];
  const pending = new Set<Promise<void>>();
  const failure = createFirstFailure();
  let lines: string[] = [];
  let length = 0;
  let first: ByteString = '';
  let last: ByteString | undefined;

  const cut = (): void => {
    const segment = Buffer.from(lines.join(''));
    const digest = sha256(segment);
    const reference: SegmentReference = {
      first: Buffer.from(first, 'latin1').toString('base64'),
      chunk: '',
      sha256: digest.toString('hex'),
      lines: lines.length,
      bytes: segment.length,
    };
    segments.push(reference);
    lines = [];
    length = 0;
    const way: Promise<void> = store(segment, digest)
      .then((chunk) => {
        reference.chunk = chunk;
      })
      .catch((error: unknown) => {
        failure.note(error);
      })
      .finally(() => pending.delete(way));
    pending.add(way);
  };

  const settle = async (most: number): Promise<void> => {
    while (pending.size > most) await Promise.race(pending);
    failure.check();
  };

  return {
    add(path, line) {
      if (last !== undefined && path <= last) {
        throw new HoldfastError('internal', 'File lines are not in the order of their paths');
      }
      if (lines.length === 0) first = path;
      last = path;
      lines.push(line);
      length += line.length;
      const end = length >= SMALLEST_BYTES && crc32(Buffer.from(path, 'latin1')) % CUT_EVERY === 0;
      if (!end && length < LARGEST_BYTES) return undefined;
      cut();
      return pending.size > MOST_PENDING ? settle(MOST_PENDING) : undefined;
    },
    async finish() {
      if (lines.length > 0) cut();
      await settle(0);
      return segments;
    },
  };
}

/** JSON escapes every quote inside a string, so these keys cannot be part of a name. */
const CHUNK_KEYS = /"(?:chunks|chunkLists)":\[([^\]]*)\]/g;

/** The ids that the lines of a segment name, hex, without parsing each line. */
export function* chunksInLines(segment: Buffer): Iterable<string> {
  for (const [, ids = ''] of segment.toString('utf8').matchAll(CHUNK_KEYS)) {
    if (ids !== '') yield* ids.slice(1, -1).split('","');
  }
}
