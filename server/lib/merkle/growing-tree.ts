/** A tree that only grows, in as much memory as it has levels: the roots of the perfect subtrees that its leaves make so far. */
import { EMPTY_ROOT, hashNode } from './hashing.ts';
import { perfectNodesOf } from './tree-shape.ts';

export interface GrowingTree {
  readonly size: number;
  append(leafHash: Uint8Array): void;
  root(): Buffer;
  /** Hashes of `perfectNodesOf` all leaves so far, with which another one goes on. */
  frontier(): Buffer[];
}

/**
 * @param start leaves that are known by their frontier only; absent for an empty tree.
 * @throws RangeError when the frontier has not as many hashes as such a tree has.
 */
export function createGrowingTree(
  start: { size: number; frontier: readonly Uint8Array[] } = NOTHING,
): GrowingTree {
  const nodes = perfectNodesOf({ from: 0, to: start.size });
  if (nodes.length !== start.frontier.length) throw new RangeError('The frontier is not one of this size');
  const stack: { level: number; hash: Buffer }[] = nodes.map(({ level }, at) => ({
    level,
    hash: Buffer.from(start.frontier[at] ?? EMPTY_ROOT),
  }));
  let { size } = start;
  return {
    get size() {
      return size;
    },
    append(leafHash) {
      let top: { level: number; hash: Buffer } = { level: 0, hash: Buffer.from(leafHash) };
      for (let below = stack.at(-1); below?.level === top.level; below = stack.at(-1)) {
        stack.pop();
        top = { level: top.level + 1, hash: hashNode(below.hash, top.hash) };
      }
      stack.push(top);
      size += 1;
    },
    root: () => foldNodes(stack.map(({ hash }) => hash)),
    frontier: () => stack.map(({ hash }) => hash),
  };
}

const NOTHING = { size: 0, frontier: [] };

/** The root above the perfect subtrees of one range, the leftmost first. */
export function foldNodes(hashes: readonly Uint8Array[]): Buffer {
  const last = hashes.at(-1);
  if (last === undefined) return EMPTY_ROOT;
  let root: Buffer = Buffer.from(last);
  for (const left of hashes.slice(0, -1).toReversed()) root = hashNode(left, root);
  return root;
}
