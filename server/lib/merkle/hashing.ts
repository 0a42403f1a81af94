/** The hashes of a Merkle tree as RFC 6962 section 2.1 defines them: SHA-256, with different first bytes for leaves and nodes. */
import { hash } from 'node:crypto';

/** Bytes of a hash. */
export const HASH_BYTES = 32;
/** Of a tree without leaves: the hash of nothing. */
export const EMPTY_ROOT = hash('sha256', Buffer.alloc(0), 'buffer');

const LEAF = Buffer.from([0]);
/** One buffer for all nodes: hashing is synchronous. */
const node = Buffer.alloc(1 + 2 * HASH_BYTES, 1);

export function hashLeaf(data: Uint8Array): Buffer {
  return hash('sha256', Buffer.concat([LEAF, data]), 'buffer');
}

export function hashNode(left: Uint8Array, right: Uint8Array): Buffer {
  node.set(left, 1);
  node.set(right, 1 + HASH_BYTES);
  return hash('sha256', node, 'buffer');
}

/** Root of a subtree whose nodes at one level are all there; their number is a power of two. */
export function hashPerfect(hashes: readonly Uint8Array[]): Buffer {
  let level = hashes;
  while (level.length > 1) {
    const above: Buffer[] = [];
    for (let at = 0; at + 1 < level.length; at += 2) above.push(hashNode(at2(level, at), at2(level, at + 1)));
    level = above;
  }
  return Buffer.from(at2(level, 0));
}

function at2(list: readonly Uint8Array[], at: number): Uint8Array {
  return list[at] ?? EMPTY_ROOT;
}
