/**
 * Holes of sparse files. Node has no SEEK_HOLE, so in a file with fewer blocks than bytes every long enough run of zeros
 * counts as one; a restore leaves it unwritten, which reads the same.
 */
const PAGE_BYTES = 4096;
const ZEROS = Buffer.alloc(PAGE_BYTES);
/** Shorter runs are not worth an entry. */
const SMALLEST_HOLE_BYTES = 64 * 1024;

/** `[offset, length]` of the runs of zero pages in a chunk that lies at `position` of its file. */
export function findHoles(chunk: Buffer, position: number): [number, number][] {
  const holes: [number, number][] = [];
  let start = -1;
  const close = (end: number): void => {
    if (start >= 0 && end - start >= SMALLEST_HOLE_BYTES) holes.push([position + start, end - start]);
    start = -1;
  };
  for (let at = 0; at < chunk.length; at += PAGE_BYTES) {
    const length = Math.min(PAGE_BYTES, chunk.length - at);
    const zero = chunk.compare(ZEROS, 0, length, at, at + length) === 0;
    if (zero && start < 0) start = at;
    if (!zero) close(at);
  }
  close(chunk.length);
  return holes;
}

/** Joins holes that touch, across chunks. `holes` is in order. */
export function joinHoles(holes: readonly [number, number][]): [number, number][] {
  const joined: [number, number][] = [];
  for (const [offset, length] of holes) {
    const last = joined.at(-1);
    if (last !== undefined && last[0] + last[1] === offset) last[1] += length;
    else joined.push([offset, length]);
  }
  return joined;
}

/** The parts of `[offset, offset + length)` that are not in a hole. `holes` is in order. */
export function* outsideHoles(
  offset: number,
  length: number,
  holes: readonly [number, number][],
): Iterable<[number, number]> {
  const end = offset + length;
  let at = offset;
  for (const [holeStart, holeLength] of holes) {
    if (holeStart + holeLength <= at) continue;
    if (holeStart >= end) break;
    if (holeStart > at) yield [at, holeStart - at];
    at = holeStart + holeLength;
  }
  if (at < end) yield [at, end - at];
}
