/**
 * What of a snapshot stays by itself, or goes by itself. Pure. Days count back from the newest snapshot, not from now: when backups stop, or a
 * clock jumps, nothing grows old.
 */
import type { Decision, RetainedSnapshot } from './decide.ts';
import { isSmallPart, LOG_PART } from './parts.ts';
import type { RetentionRules } from './policy.ts';
import { days } from './policy-words.ts';

const DAY_MS = 86_400_000;
/** A clock may be this far off. */
export const AHEAD_MS = 3_600_000;

const leftOf = ({ parts = [], expired = [] }: RetainedSnapshot): string[] =>
  parts.filter((name) => !expired.includes(name));

/** Its database or files went before. */
export const isLeftover = ({ expired = [] }: RetainedSnapshot): boolean =>
  expired.some((name) => !isSmallPart(name));

/** Whether a snapshot has something left that could go by itself, or is all that is left of one. */
export const hasParts = (snapshot: RetainedSnapshot): boolean => {
  const left = leftOf(snapshot);
  return isLeftover(snapshot) ? left.some(isSmallPart) : left.includes(LOG_PART);
};

/** What a policy says of the small parts of one snapshot. */
interface Keeping {
  partsDays: number | null;
  /** Not older than that. */
  isYoung: boolean;
  until: Date;
}

export function partsKeeper(
  snapshots: readonly RetainedSnapshot[],
  { partsDays = null }: RetentionRules,
  now: Date,
): (snapshot: RetainedSnapshot) => Keeping {
  const times = snapshots.map((one) => one.takenAt.getTime());
  const newest = times
    .filter((at) => at <= now.getTime() + AHEAD_MS)
    .reduce((a, b) => Math.max(a, b), -Infinity);
  return ({ takenAt }) => {
    const untilMs = takenAt.getTime() + (partsDays ?? 0) * DAY_MS;
    return { partsDays, isYoung: partsDays !== null && newest <= untilMs, until: new Date(untilMs) };
  };
}

const dayOf = (at: Date): string => at.toISOString().slice(0, 10);
const kept = (count: number): string => `logs and configuration are kept ${days(count)}`;

/** Of one that has all that it is taken for: its logs alone go, or all but its small parts. */
export function withoutParts(decision: Decision, { partsDays, isYoung, until }: Keeping): Decision {
  if (partsDays === null) return decision;
  const left = leftOf(decision.snapshot);
  // Without logs and configuration of a machine there is nothing worth a time of its own.
  if (!left.includes(LOG_PART)) return decision;
  if (decision.keep) {
    if (isYoung) return decision;
    const reasons = [...decision.reasons, `without its logs and configuration: ${kept(partsDays)}`];
    return { ...decision, reasons, expires: [LOG_PART] };
  }
  const large = left.filter((name) => !isSmallPart(name));
  if (!isYoung || large.length === 0) return decision;
  const reasons = [...decision.reasons, `reduced to logs and configuration until ${dayOf(until)}`];
  return { ...decision, reasons, expires: large, reducedUntil: until };
}

/** Of one of which only small parts are left. */
export function judgeLeftover(
  snapshot: RetainedSnapshot,
  { partsDays, isYoung, until }: Keeping,
  isTooOld: boolean,
): Decision {
  const answer = (keep: boolean, reason: string): Decision => ({
    ...{ snapshot, keep, reasons: [reason], overdue: false, leftover: true },
    ...(keep ? { reducedUntil: until } : {}),
  });
  if (snapshot.hold !== null) {
    const { reason } = snapshot.hold;
    return { snapshot, keep: true, reasons: [`under legal hold: ${reason}`], overdue: false, leftover: true };
  }
  if (isTooOld) return answer(false, 'older than the maximum age');
  if (partsDays === null) return answer(false, 'logs and configuration are not kept by themselves');
  if (isYoung) return answer(true, `reduced to logs and configuration until ${dayOf(until)}`);
  return answer(false, kept(partsDays));
}
