/** Checks of proofs, as RFC 9162 sections 2.1.3.2 and 2.1.4.2 write them for the tree of RFC 6962. They never throw. */
import { EMPTY_ROOT, hashNode } from './hashing.ts';

export interface InclusionProof {
  leafHash: Uint8Array;
  /** From 0. */
  position: number;
  size: number;
  path: readonly Uint8Array[];
  root: Uint8Array;
}

/** True when a leaf with that hash is at that place of the tree. */
export function verifyInclusion({ leafHash, position, size, path, root }: InclusionProof): boolean {
  if (!isPosition(position) || !isPosition(size) || position >= size) return false;
  let at = position;
  let last = size - 1;
  let hash: Uint8Array = leafHash;
  for (const sibling of path) {
    if (last === 0) return false;
    if (isOdd(at) || at === last) {
      hash = hashNode(sibling, hash);
      while (!isOdd(at) && at !== 0) {
        at = half(at);
        last = half(last);
      }
    } else {
      hash = hashNode(hash, sibling);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 && equal(hash, root);
}

export interface TreeHead {
  size: number;
  root: Uint8Array;
}

/** True when the older tree is the beginning of the newer one. */
export function verifyConsistency(older: TreeHead, newer: TreeHead, proof: readonly Uint8Array[]): boolean {
  if (!isPosition(older.size) || !isPosition(newer.size) || older.size > newer.size) return false;
  if (older.size === 0) return proof.length === 0 && equal(older.root, EMPTY_ROOT);
  if (older.size === newer.size) return proof.length === 0 && equal(older.root, newer.root);
  let at = older.size - 1;
  let last = newer.size - 1;
  while (isOdd(at)) {
    at = half(at);
    last = half(last);
  }
  // Of a perfect older tree the proof begins with its root, which is known and left out.
  const [first, ...rest] = at === 0 ? [older.root, ...proof] : proof;
  if (first === undefined || (at === 0 && proof.length === 0)) return false;
  let olderHash = first;
  let newerHash = first;
  for (const hash of rest) {
    if (last === 0) return false;
    if (isOdd(at) || at === last) {
      olderHash = hashNode(hash, olderHash);
      newerHash = hashNode(hash, newerHash);
      while (!isOdd(at) && at !== 0) {
        at = half(at);
        last = half(last);
      }
    } else {
      newerHash = hashNode(newerHash, hash);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 && equal(olderHash, older.root) && equal(newerHash, newer.root);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function isPosition(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Shifts and masks of JavaScript would cut at 32 bits. */
function half(value: number): number {
  return Math.floor(value / 2);
}

function isOdd(value: number): boolean {
  return value % 2 === 1;
}
