/**
 * Which snapshots of a target a policy keeps, and why. Pure. Guarantees:
 *
 * - One under legal hold is kept.
 * - At least `minimumCount` are kept, whole ones before partial ones, and the last that a restore test proved is kept. Beyond the maximum
 *   age these are `overdue`: kept until people agree that they go (`agreed`), since a promise about age must not take the last good copy.
 * - One that has lost its database or files counts for no rule, no minimum and no proof. What is left of it stays for the days of logs and
 *   configuration, reckoned from the newest snapshot, and not beyond the maximum age.
 * - Deciding again about what is kept takes nothing more away, and the order in which snapshots are given does not matter.
 * - What is newest is told by the number of a snapshot, which is signed, never by a clock. Only the maximum age looks at the present
 *   time: when backups stop, or a clock jumps, nothing else grows old.
 */
import { AHEAD_MS, isLeftover, judgeLeftover, partsKeeper, withoutParts } from './decide-parts.ts';
import { type RetentionPolicy, type RetentionRules } from './policy.ts';
import { days } from './policy-words.ts';
import { PERIODS, periodNamer, type Period } from './periods.ts';

export interface RetainedSnapshot {
  id: string;
  /** One more than that of the snapshot before. */
  number: number;
  takenAt: Date;
  /** `partial`: its sources had problems. */
  state: 'stored' | 'partial';
  /** The best that a restore test from this target proved. */
  proof: 'data-proven' | 'kit-proven' | null;
  hold: { reason: string } | null;
  /** Names of its parts, those among them that are kept no more here included. */
  parts?: readonly string[];
  expired?: readonly string[];
}

export interface Decision {
  snapshot: RetainedSnapshot;
  keep: boolean;
  /** In plain words; at least one. */
  reasons: string[];
  /** Older than the maximum age, and kept only because it is one of the last. */
  overdue: boolean;
  /** It has lost its database or files before: what is left is no snapshot to go back to. */
  leftover?: true;
  /** Parts that go now, while the others stay. Of one that is not kept otherwise: all but logs and configuration. */
  expires?: readonly string[];
  /** Until when logs and configuration stay, where only these do. */
  reducedUntil?: Date;
}

interface Present {
  now: Date;
  /** Ids of those that people agreed to let go, although they are among the last. */
  agreed?: ReadonlySet<string>;
}

const DAY_MS = 86_400_000;

/** @returns one decision for each snapshot, the newest first. */
export function decide(
  snapshots: readonly RetainedSnapshot[],
  policy: RetentionPolicy,
  present: Present,
): Decision[] {
  const newestFirst = [...snapshots].sort((a, b) => b.number - a.number || (a.id < b.id ? -1 : 1));
  if (policy.kind === 'keep-everything') {
    return newestFirst.map((snapshot) => ({
      snapshot,
      keep: true,
      reasons: ['everything is kept'],
      overdue: false,
      ...(isLeftover(snapshot) ? { leftover: true as const } : {}),
    }));
  }
  const whole = newestFirst.filter((one) => !isLeftover(one));
  const byRule = applyRules(whole, policy, present.now);
  const lasting = findLasting(whole, policy.minimumCount);
  const keptBy = partsKeeper(newestFirst, policy, present.now);
  return newestFirst.map((snapshot) => {
    if (isLeftover(snapshot))
      return judgeLeftover(snapshot, keptBy(snapshot), isTooOld(snapshot, policy, present.now));
    const decision = judge(snapshot, { policy, present, byRule, lasting });
    // The last ones stay as they are: they are what a person falls back on.
    const asItIs = decision.keep && (lasting.has(snapshot.id) || snapshot.hold !== null);
    return asItIs || isTooOld(snapshot, policy, present.now)
      ? decision
      : withoutParts(decision, keptBy(snapshot));
  });
}

type Reasons = ReadonlyMap<string, readonly string[]>;

function judge(
  snapshot: RetainedSnapshot,
  by: { policy: RetentionRules; present: Present; byRule: Reasons; lasting: Reasons },
): Decision {
  const { maximumAgeDays } = by.policy;
  const held = snapshot.hold === null ? [] : [`under legal hold: ${snapshot.hold.reason}`];
  const lasting = by.lasting.get(snapshot.id) ?? [];
  const rules = by.byRule.get(snapshot.id) ?? [];
  if (maximumAgeDays === null || !isTooOld(snapshot, by.policy, by.present.now)) {
    const reasons = [...held, ...lasting, ...rules];
    if (reasons.length > 0) return { snapshot, keep: true, reasons, overdue: false };
    return { snapshot, keep: false, reasons: ['no rule keeps it'], overdue: false };
  }
  const age = `older than the maximum age of ${days(maximumAgeDays)}`;
  if (held.length > 0) return { snapshot, keep: true, reasons: [...held, ...lasting], overdue: false };
  if (lasting.length === 0) return { snapshot, keep: false, reasons: [age], overdue: false };
  if (by.present.agreed?.has(snapshot.id) === true) {
    return { snapshot, keep: false, reasons: [age, 'people agreed that it goes'], overdue: false };
  }
  return { snapshot, keep: true, reasons: [...lasting, `${age}: goes when people agree`], overdue: true };
}

function isTooOld(snapshot: RetainedSnapshot, { maximumAgeDays }: RetentionRules, now: Date): boolean {
  return maximumAgeDays !== null && now.getTime() - snapshot.takenAt.getTime() > maximumAgeDays * DAY_MS;
}

/** Those that no rule and no age takes away by itself. */
function findLasting(newestFirst: readonly RetainedSnapshot[], minimumCount: number): Reasons {
  const reasons = new Map<string, string[]>();
  const say = (one: RetainedSnapshot | undefined, why: string) => {
    if (one !== undefined) reasons.set(one.id, [...(reasons.get(one.id) ?? []), why]);
  };
  const whole = newestFirst.filter((one) => one.state === 'stored');
  const partial = newestFirst.filter((one) => one.state === 'partial');
  const fewest = minimumCount === 1 ? 'the minimum of 1' : `one of the minimum of ${minimumCount}`;
  for (const one of [...whole, ...partial].slice(0, minimumCount)) say(one, fewest);
  const proven = newestFirst.find((one) => one.proof !== null);
  const byKit = newestFirst.find((one) => one.proof === 'kit-proven');
  say(proven, 'last that a restore test proved');
  if (byKit !== proven) say(byKit, 'last that was proven with the recovery kit');
  return reasons;
}

function applyRules(newestFirst: readonly RetainedSnapshot[], policy: RetentionRules, now: Date): Reasons {
  const reasons = new Map<string, string[]>();
  const say = (one: RetainedSnapshot, why: string) =>
    reasons.set(one.id, [...(reasons.get(one.id) ?? []), why]);
  const isAhead = (one: RetainedSnapshot) => one.takenAt.getTime() > now.getTime() + AHEAD_MS;
  for (const one of newestFirst.slice(0, policy.last)) say(one, `one of the last ${policy.last}`);
  const timed = newestFirst.filter((one) => {
    if (isAhead(one)) say(one, 'its time is in the future: kept until the clock has passed it');
    return !isAhead(one);
  });
  keepWithin(timed, policy.withinDays, say);
  const nameOf = periodNamer(policy.timeZone);
  for (const state of ['stored', 'partial'] as const) {
    // Each by itself: a partial one never takes the place of a whole one.
    const some = timed.filter((one) => one.state === state);
    for (const period of PERIODS) keepPeriods(some, { period, most: policy[period], nameOf }, say);
  }
  return reasons;
}

/** Reckoned from the newest, not from now: when backups stop, what there is does not fade away. */
function keepWithin(
  timed: readonly RetainedSnapshot[],
  withinDays: number,
  say: (one: RetainedSnapshot, why: string) => void,
): void {
  const newestAt = timed.reduce((max, one) => Math.max(max, one.takenAt.getTime()), -Infinity);
  for (const one of timed) {
    if (withinDays > 0 && newestAt - one.takenAt.getTime() <= withinDays * DAY_MS)
      say(one, `within ${days(withinDays)} of the newest`);
  }
}

function keepPeriods(
  newestFirst: readonly RetainedSnapshot[],
  rule: { period: Period; most: number; nameOf: (period: Period, at: Date) => string },
  say: (one: RetainedSnapshot, why: string) => void,
): void {
  const seen = new Set<string>();
  for (const one of newestFirst) {
    if (seen.size >= rule.most) return;
    const name = rule.nameOf(rule.period, one.takenAt);
    if (seen.has(name)) continue;
    seen.add(name);
    say(one, `newest ${one.state === 'partial' ? 'partial one ' : ''}of ${name}`);
  }
}
