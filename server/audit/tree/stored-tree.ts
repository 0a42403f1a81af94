/**
 * The tree as it is stored: every leaf hash, and above them the root of every full tile. A tile is 256 hashes that stand side by
 * side at one stored level, as in C2SP tlog-tiles; the stored levels are 0, 8, 16 and so on. What is stored never changes, so an
 * entry costs one row and one row more for every 255, and a proof reads a few tiles whatever the size.
 */
import type { Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { countLeaves, listStoredHashes } from './tree-queries.ts';
import { foldNodes } from '../../lib/merkle/growing-tree.ts';
import { hashPerfect } from '../../lib/merkle/hashing.ts';
import {
  consistencyRanges,
  inclusionRanges,
  perfectNodesOf,
  type LeafRange,
  type PerfectNode,
} from '../../lib/merkle/tree-shape.ts';

/** Hashes in a tile, and levels of the tree from one stored level to the next. */
export const TILE_WIDTH = 256;
export const TILE_LEVELS = 8;

/** A node that is stored above the leaves. */
export interface StoredNode {
  /** 8, 16, … */
  level: number;
  position: number;
  hash: Buffer;
}

/** How many leaves have their place. */
export const treeSize = countLeaves;

/** Hashes of perfect subtrees, in the order asked. @throws HoldfastError `integrity_failure` when a stored hash is missing. */
export async function readNodes(db: Database, nodes: readonly PerfectNode[]): Promise<Buffer[]> {
  const tiles = new Map<string, Buffer[]>();
  const hashes: Buffer[] = [];
  for (const { level, index } of nodes) {
    const stored = level - (level % TILE_LEVELS);
    const width = 2 ** (level - stored);
    const first = index * width;
    const tile = Math.floor(first / TILE_WIDTH);
    const key = `${stored}/${tile}`;
    const from = tile * TILE_WIDTH;
    const known = tiles.get(key) ?? (await listStoredHashes(db, stored, { from, to: from + TILE_WIDTH }));
    tiles.set(key, known);
    const part = known.slice(first - from, first - from + width);
    if (part.length !== width) throw missingHash(stored, first);
    hashes.push(hashPerfect(part));
  }
  return hashes;
}

/** The root of the tree's first `size` leaves. */
export async function readRoot(db: Database, size: number): Promise<Buffer> {
  return foldNodes(await readNodes(db, perfectNodesOf({ from: 0, to: size })));
}

/** The proof that a leaf is in the tree of the first `size` leaves. @see verifyInclusion */
export async function readInclusionProof(db: Database, position: number, size: number): Promise<Buffer[]> {
  return readRanges(db, inclusionRanges(position, size));
}

/** The same of several leaves, in their order, from one reading of the tiles that they share. */
export async function readInclusionProofs(
  db: Database,
  positions: readonly number[],
  size: number,
): Promise<Buffer[][]> {
  const ranges = positions.map((position) => inclusionRanges(position, size));
  const hashes = await readRanges(db, ranges.flat());
  return ranges.map(({ length }) => hashes.splice(0, length));
}

/** The proof that the tree of the first `older` leaves is the beginning of that of `size`. @see verifyConsistency */
export async function readConsistencyProof(db: Database, older: number, size: number): Promise<Buffer[]> {
  return readRanges(db, consistencyRanges(older, size));
}

/** The root of each range, from one reading of the tiles that they share. */
async function readRanges(db: Database, ranges: readonly LeafRange[]): Promise<Buffer[]> {
  const parts = ranges.map(perfectNodesOf);
  const hashes = await readNodes(db, parts.flat());
  return parts.map((nodes) => foldNodes(hashes.splice(0, nodes.length)));
}

/** The unfinished tiles at the right edge of the tree: what appending leaves must know. */
export interface TreeEdge {
  readonly size: number;
  /** @returns the stored nodes above it that are full now, lowest first. */
  append(leafHash: Buffer): StoredNode[];
}

export async function readEdge(db: Database): Promise<TreeEdge> {
  let size = await countLeaves(db);
  const tiles: Buffer[][] = [];
  for (let count = size, level = 0; count > 0; count = Math.floor(count / TILE_WIDTH), level += TILE_LEVELS) {
    const range = { from: count - (count % TILE_WIDTH), to: count };
    const hashes = await listStoredHashes(db, level, range);
    if (hashes.length !== range.to - range.from) throw missingHash(level, range.from);
    tiles.push(hashes);
  }
  return {
    get size() {
      return size;
    },
    append(leafHash) {
      const full: StoredNode[] = [];
      let hash = leafHash;
      let position = size;
      for (let at = 0; ; at += 1) {
        const tile = (tiles[at] ??= []);
        tile.push(hash);
        if (tile.length < TILE_WIDTH) break;
        hash = hashPerfect(tile);
        position = Math.floor(position / TILE_WIDTH);
        tiles[at] = [];
        full.push({ level: (at + 1) * TILE_LEVELS, position, hash });
      }
      size += 1;
      return full;
    },
  };
}

function missingHash(level: number, position: number): HoldfastError {
  return new HoldfastError('integrity_failure', 'A stored hash of the audit log is missing', {
    hint: 'Somebody changed the database past Holdfast. `holdfast audit verify` on an export says what is wrong.',
    detail: `level ${level}, position ${position}`,
  });
}
