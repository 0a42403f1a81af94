/** Whether a removal is so large that a person has to agree to it first. Pure. */
import { hasParts } from './decide-parts.ts';
import type { Decision } from './decide.ts';

/** Of snapshots to go back to. What has lost its database or files counts as removed, and what is left of it not at all. */
export interface Weight {
  total: number;
  removes: number;
  /** Of the removed: logs and configuration stay for a time. */
  reduces: number;
  keeps: number;
  /** How many of them a restore test proved: before, and what is left of them. */
  proven: number;
  provenLeft: number;
  heldCount: number;
  overdueCount: number;
  /** Logs and configuration that go by themselves, out of so many. */
  partsTotal: number;
  partsGo: number;
}

/** Its small parts go, and not with the rest. */
const losesParts = ({ keep, leftover, expires }: Decision): boolean =>
  leftover === true ? !keep : keep && expires !== undefined;

export function weigh(decisions: readonly Decision[]): Weight {
  const count = (test: (decision: Decision) => boolean) =>
    decisions.filter((one) => one.leftover !== true && test(one)).length;
  return {
    total: count(() => true),
    removes: count((one) => !one.keep),
    reduces: count((one) => !one.keep && one.expires !== undefined),
    keeps: count((one) => one.keep),
    proven: count((one) => one.snapshot.proof !== null),
    provenLeft: count((one) => one.keep && one.snapshot.proof !== null),
    heldCount: decisions.filter((one) => one.snapshot.hold !== null).length,
    overdueCount: count((one) => one.overdue),
    partsTotal: decisions.filter((one) => hasParts(one.snapshot)).length,
    partsGo: decisions.filter(losesParts).length,
  };
}

/** What people agree to of one snapshot. Its logs and configuration alone are less than all of it, and named by themselves. */
export function agreementTo(decision: Decision): string | undefined {
  if (losesParts(decision)) return `parts:${decision.snapshot.id}`;
  return decision.keep ? undefined : decision.snapshot.id;
}

/**
 * @param decisions only those that nobody agreed to yet, and those that are kept.
 * @param before how many there were a while ago, when more than now: many small steps count as one large one.
 * @param partsBefore how many lost their logs and configuration since then.
 * @returns why people have to agree; undefined when they need not.
 */
export function whyAsk(decisions: readonly Decision[], before = 0, partsBefore = 0): string | undefined {
  const { total, removes, keeps, proven, provenLeft, partsTotal, partsGo } = weigh(decisions);
  if (removes > 0) {
    if (keeps === 0) return 'It would remove every snapshot of this target';
    if (proven > 0 && provenLeft === 0)
      return 'It would remove every snapshot that a restore test has proven';
    if (removes * 2 > total) return `It would remove ${removes} of ${total} snapshots at once`;
    if (keeps * 2 < before) return `It would leave ${keeps} of the ${before} snapshots of the last days`;
  }
  const [gone, all] = [partsGo + partsBefore, partsTotal + partsBefore];
  if (partsGo > 0 && gone * 2 > all)
    return `It would remove the logs and configuration of ${gone} of the ${all} snapshots that have them`;
  return undefined;
}

/** Without what people agreed to. @param agreed as `agreementTo` names it */
export function notAgreed(decisions: readonly Decision[], agreed: ReadonlySet<string>): Decision[] {
  return decisions.flatMap((decision) => {
    const named = agreementTo(decision);
    if (named === undefined || !agreed.has(named)) return [decision];
    if (!decision.keep) return [];
    // The snapshot itself stays, and counts among those that do.
    const { snapshot, keep, reasons, overdue } = decision;
    return [{ snapshot, keep, reasons, overdue }];
  });
}
