/** Whether a removal is so large that a person has to agree to it first. Pure. */
import type { Decision } from './decide.ts';

export interface Weight {
  total: number;
  removes: number;
  keeps: number;
  /** How many of them a restore test proved: before, and what is left of them. */
  proven: number;
  provenLeft: number;
  heldCount: number;
  overdueCount: number;
}

export function weigh(decisions: readonly Decision[]): Weight {
  const count = (test: (decision: Decision) => boolean) => decisions.filter(test).length;
  return {
    total: decisions.length,
    removes: count((one) => !one.keep),
    keeps: count((one) => one.keep),
    proven: count((one) => one.snapshot.proof !== null),
    provenLeft: count((one) => one.keep && one.snapshot.proof !== null),
    heldCount: count((one) => one.snapshot.hold !== null),
    overdueCount: count((one) => one.overdue),
  };
}

/**
 * @param decisions only those that nobody agreed to yet, and those that are kept.
 * @param before how many there were a while ago, when more than now: many small steps count as one large one.
 * @returns why people have to agree; undefined when they need not.
 */
export function whyAsk(decisions: readonly Decision[], before = 0): string | undefined {
  const { total, removes, keeps, proven, provenLeft } = weigh(decisions);
  if (removes === 0) return undefined;
  if (keeps === 0) return 'It would remove every snapshot of this target';
  if (proven > 0 && provenLeft === 0) return 'It would remove every snapshot that a restore test has proven';
  if (removes * 2 > total) return `It would remove ${removes} of ${total} snapshots at once`;
  if (keeps * 2 < before) return `It would leave ${keeps} of the ${before} snapshots of the last days`;
  return undefined;
}
