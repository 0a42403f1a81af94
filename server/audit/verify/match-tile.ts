/**
 * Compares the entries of a tile with the hashes that were stored when they were written, and tells how they differ. What lies
 * in between two entries that are where they belong is paired in order: a hash with an entry beside it was edited, a hash without
 * one was deleted, an entry without a hash was added. Pure.
 */
export interface TileDifference {
  /** Places in the tile whose entry is another one: the stored hash, and the hash of what stands there. */
  edited: { at: number; stored: Buffer; found: Buffer }[];
  /** Places whose entry is not in the tile. */
  missing: { at: number; stored: Buffer }[];
  /** Hashes of entries that have no place in the tile, with the place before which they stand. */
  strange: { at: number; found: Buffer }[];
  /** Entries of the tile that stand elsewhere in it: where they belong. */
  moved: { at: number; found: Buffer }[];
}

/** @returns undefined when all is as it was. */
export function matchTile(stored: readonly Buffer[], found: readonly Buffer[]): TileDifference | undefined {
  if (stored.length === found.length && stored.every((hash, at) => found[at]?.equals(hash) === true))
    return undefined;
  const places = new Map<string, number[]>();
  for (const [at, hash] of stored.entries()) places.set(key(hash), [...(places.get(key(hash)) ?? []), at]);
  // The place of each entry that belongs in this tile; undefined for the others.
  const belongs = found.map((hash) => places.get(key(hash))?.shift());
  const inOrder = longestRise(belongs);
  const difference: TileDifference = { edited: [], missing: [], strange: [], moved: [] };
  for (const [at, place] of belongs.entries()) {
    const hash = found[at];
    if (place !== undefined && hash !== undefined && !inOrder.has(at))
      difference.moved.push({ at: place, found: hash });
  }
  const taken = new Set(belongs);
  pairGaps(stored, found, { belongs, inOrder, taken }, difference);
  return difference;
}

interface Matching {
  belongs: readonly (number | undefined)[];
  /** Indexes of entries that are where they belong. */
  inOrder: ReadonlySet<number>;
  /** Places whose entry is somewhere in the tile. */
  taken: ReadonlySet<number | undefined>;
}

function pairGaps(
  stored: readonly Buffer[],
  found: readonly Buffer[],
  { belongs, inOrder, taken }: Matching,
  difference: TileDifference,
): void {
  let place = 0;
  let waiting: Buffer[] = [];
  const close = (until: number) => {
    for (; place < until; place += 1) {
      const hash = stored[place];
      if (hash === undefined || taken.has(place)) continue;
      const beside = waiting.shift();
      if (beside === undefined) difference.missing.push({ at: place, stored: hash });
      else difference.edited.push({ at: place, stored: hash, found: beside });
    }
    difference.strange.push(...waiting.map((one) => ({ at: until, found: one })));
    waiting = [];
  };
  for (const [at, hash] of found.entries()) {
    const belonging = belongs[at];
    if (belonging === undefined) waiting.push(hash);
    else if (inOrder.has(at)) {
      close(belonging);
      place = belonging + 1;
    }
  }
  close(stored.length);
}

/** Indexes of a longest strictly rising selection of the numbers, gaps left out. */
function longestRise(numbers: readonly (number | undefined)[]): Set<number> {
  const tails: number[] = [];
  const before: (number | undefined)[] = [];
  const valueAt = (index: number | undefined) => (index === undefined ? -1 : (numbers[index] ?? -1));
  for (const [index, value] of numbers.entries()) {
    if (value === undefined) continue;
    let low = 0;
    for (let high = tails.length; low < high;) {
      const middle = Math.floor((low + high) / 2);
      if (valueAt(tails[middle]) < value) low = middle + 1;
      else high = middle;
    }
    before[index] = low === 0 ? undefined : tails[low - 1];
    tails[low] = index;
  }
  const chosen = new Set<number>();
  for (let index = tails.at(-1); index !== undefined; index = before[index]) chosen.add(index);
  return chosen;
}

function key(hash: Buffer): string {
  return hash.toString('latin1');
}
