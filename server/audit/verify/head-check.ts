/** Holds signed heads against the tree as it grows, and says at the end what those that do not fit mean. */
import type { LogHead } from '../../lib/merkle/checkpoint.ts';
import type { GrowingTree } from '../../lib/merkle/growing-tree.ts';
import type { FindingList } from './findings.ts';

/** A head that is believed to have been signed, and where it was found; '' for the log itself. */
export interface CheckedHead extends LogHead {
  at: Date;
  source: string;
}

/** The log's own word that it goes on under another id, from an older state. */
export interface Continuation {
  /** The id before, and the size of the last checkpoint of it that the log still has. */
  before: string;
  size: number;
  /** The id from now on. */
  origin: string;
  /** Where it says so. */
  position: number;
}

export interface HeadCheck {
  /** Checked when the tree reaches its size; at once when it has. */
  add(head: CheckedHead): void;
  continued(continuation: Continuation): void;
  /** To be called for each size of the tree, the first one too. */
  reached(tree: GrowingTree): void;
  /** The tree cannot be followed any further: a place is missing. */
  stop(): void;
  settle(tree: { from: number; size: number }, findings: FindingList): HeadSummary;
}

export interface HeadSummary {
  /** Heads that fit. */
  fitting: number;
  /** The newest that fits; undefined when none does. */
  newest: CheckedHead | undefined;
  /** Heads that speak of what was lost when the log went on from an older state. */
  lost: number;
  notices: string[];
}

export function createHeadCheck(): HeadCheck {
  /** By size. */
  const waiting = new Map<number, CheckedHead[]>();
  const good: GoodHeads = { newest: undefined, count: 0, byOrigin: new Map(), sizes: new Set() };
  const bad: CheckedHead[] = [];
  /** The largest good head at or below each bad one's size, as of when it was found. */
  const lastGoodBelow = new Map<CheckedHead, CheckedHead | undefined>();
  const late: CheckedHead[] = [];
  const continuations: Continuation[] = [];
  let current: GrowingTree | undefined;
  let stopped = false;

  const judge = (head: CheckedHead, root: Buffer) => {
    if (root.equals(head.root)) {
      good.count += 1;
      good.sizes.add(`${head.origin} ${head.size}`);
      if (good.newest === undefined || head.size >= good.newest.size) good.newest = head;
      const best = good.byOrigin.get(head.origin);
      if (best === undefined || head.size >= best.size) good.byOrigin.set(head.origin, head);
    } else {
      bad.push(head);
      lastGoodBelow.set(head, good.newest);
    }
  };
  return {
    add(head) {
      if (!stopped && current?.size === head.size) judge(head, current.root());
      else if (current !== undefined && head.size < current.size) late.push(head);
      else waiting.set(head.size, [...(waiting.get(head.size) ?? []), head]);
    },
    continued: (continuation) => void continuations.push(continuation),
    reached(tree) {
      current = tree;
      const heads = stopped ? undefined : waiting.get(tree.size);
      if (heads === undefined) return;
      waiting.delete(tree.size);
      const root = tree.root();
      for (const head of heads) judge(head, root);
    },
    stop() {
      stopped = true;
    },
    settle(tree, findings) {
      const unsettled = [...waiting.values()].flat();
      const isLost = (head: CheckedHead) => continuations.some((one) => explains(one, head, good));
      const wrong = bad.filter((head) => !isLost(head));
      const beyond = unsettled.filter((head) => head.size > tree.size && !isLost(head));
      settleBad(wrong, { good: good.byOrigin, lastGoodBelow, from: tree.from }, findings);
      for (const head of late) {
        if (head.size < tree.from) continue;
        findings.add('forked', head.size, `${describe(head)} stands behind later ones`);
      }
      settleBeyond(beyond, tree.size, findings);
      const lost = [...bad, ...unsettled.filter((head) => head.size > tree.size)].filter(isLost);
      const unseen = unsettled.filter((head) => head.size < tree.from).length;
      const notices = [
        ...continuations.map((one) => describeContinuation(one, lost)),
        ...(unseen === 0
          ? []
          : [`${unseen} checkpoints are older than the beginning of this export, and were not checked`]),
      ];
      return { fitting: good.count, newest: good.newest, lost: lost.length, notices };
    },
  };
}

interface GoodHeads {
  newest: CheckedHead | undefined;
  count: number;
  /** The largest of each origin. */
  byOrigin: Map<string, CheckedHead>;
  /** `<origin> <size>` of each. */
  sizes: Set<string>;
}

/**
 * A head of the id before that covers more than the log still has of it. The log's own word counts only when its last checkpoint of that id
 * fits, and when one of the new id stands behind the word: whoever signs gives another id only at a recovery, or when a person says so.
 */
function explains(word: Continuation, head: CheckedHead, good: GoodHeads): boolean {
  const vouched = (good.byOrigin.get(word.origin)?.size ?? 0) > word.position;
  return (
    vouched &&
    good.sizes.has(`${word.before} ${word.size}`) &&
    head.origin === word.before &&
    head.size > word.size
  );
}

function describeContinuation(word: Continuation, lost: readonly CheckedHead[]): string {
  const largest = largestOf(lost.filter((head) => head.origin === word.before && head.size > word.size));
  const since =
    largest === undefined
      ? ''
      : `; ${describe(largest)} is of the time before: of what it covers beyond ${word.size} entries, this log holds only what was recovered`;
  return `At position ${word.position} the log says that it went on from an older state${since}`;
}

interface Judged {
  good: ReadonlyMap<string, CheckedHead>;
  lastGoodBelow: ReadonlyMap<CheckedHead, CheckedHead | undefined>;
  from: number;
}

/** A head that does not fit beside a later one that does: two histories. Without a later one: the entries were changed. */
function settleBad(
  bad: readonly CheckedHead[],
  { good, lastGoodBelow, from }: Judged,
  findings: FindingList,
): void {
  const forked = bad.filter((head) => (good.get(head.origin)?.size ?? -1) >= head.size);
  for (const head of forked) {
    const other = good.get(head.origin);
    findings.add(
      'forked',
      head.size,
      `${describe(head)} speaks of another history than ${other === undefined ? 'this log' : describe(other)}, and both are signed`,
    );
  }
  const [first] = bad.filter((head) => !forked.includes(head)).sort((a, b) => a.size - b.size);
  if (first === undefined) return;
  const before = lastGoodBelow.get(first);
  const start = before?.size ?? from;
  findings.add(
    'rewritten',
    start,
    `Between positions ${start} and ${first.size - 1} entries were changed, removed, moved or put in: ${describe(first)} does not fit${
      before === undefined ? '' : `, ${describe(before)} still does`
    }`,
  );
}

function settleBeyond(beyond: readonly CheckedHead[], size: number, findings: FindingList): void {
  const own = largestOf(beyond.filter((head) => head.source === ''));
  const kept = largestOf(beyond.filter((head) => head.source !== ''));
  if (own !== undefined) {
    findings.add(
      'truncated',
      size,
      `${own.size - size} entries are missing at the end: ${describe(own)} covers ${own.size}, here are ${size}`,
    );
  }
  if (kept !== undefined) {
    findings.add(
      'rolled-back',
      size,
      `${describe(kept)} covers ${kept.size} entries, here are ${size}: the log was set back, or its end taken off`,
    );
  }
}

function largestOf(heads: readonly CheckedHead[]): CheckedHead | undefined {
  return heads.reduce<CheckedHead | undefined>(
    (best, head) => (best === undefined || head.size > best.size ? head : best),
    undefined,
  );
}

function describe(head: CheckedHead): string {
  const where = head.source === '' ? 'the checkpoint' : `${head.source}, the checkpoint`;
  return `${where} of ${head.at.toISOString().slice(0, 19).replace('T', ' ')} UTC at ${head.size} entries`;
}
