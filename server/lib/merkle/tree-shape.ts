/**
 * Which subtrees a root or a proof is made of (RFC 6962 section 2.1). Pure arithmetic on positions, with no hash in it: where
 * the hashes come from is the business of whoever has them. Positions and sizes are numbers up to 2^53.
 */

/** The leaves from `from` to before `to`. */
export interface LeafRange {
  from: number;
  to: number;
}

/** A subtree whose 2^level leaves are all there: those from index × 2^level on. */
export interface PerfectNode {
  level: number;
  index: number;
}

/** The largest power of two below `size`, which is 2 or more: where a tree of that size is split. */
function splitOf(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

/** The perfect subtrees of a range that an RFC 6962 tree has as a node, the leftmost and largest first. */
export function perfectNodesOf({ from, to }: LeafRange): PerfectNode[] {
  const nodes: PerfectNode[] = [];
  for (let start = from; start < to;) {
    let level = 0;
    let width = 1;
    while (start + width * 2 <= to) {
      level += 1;
      width *= 2;
    }
    nodes.push({ level, index: start / width });
    start += width;
  }
  return nodes;
}

/** What proves that the leaf at `position` is in the tree of `size` leaves: PATH of section 2.1.1, the leaf's sibling first. */
export function inclusionRanges(position: number, size: number): LeafRange[] {
  const path: LeafRange[] = [];
  for (let from = 0, to = size; to - from > 1;) {
    const middle = from + splitOf(to - from);
    if (position < middle) {
      path.push({ from: middle, to });
      to = middle;
    } else {
      path.push({ from, to: middle });
      from = middle;
    }
  }
  return path.reverse();
}

/**
 * What proves that the tree of the first `older` leaves is the beginning of the tree of `size` leaves: PROOF of section 2.1.2.
 * Nothing is needed when one of them is empty or both are equal.
 */
export function consistencyRanges(older: number, size: number): LeafRange[] {
  if (older === 0 || older === size) return [];
  const proof: LeafRange[] = [];
  let from = 0;
  let to = size;
  // True as long as the older tree itself is the node looked at: its root is known then.
  let known = true;
  while (to !== older) {
    const middle = from + splitOf(to - from);
    if (older <= middle) {
      proof.push({ from: middle, to });
      to = middle;
    } else {
      proof.push({ from, to: middle });
      from = middle;
      known = false;
    }
  }
  if (!known) proof.push({ from, to });
  return proof.reverse();
}
