/** Policies to begin with, and how people read one. The browser has this too: nothing is loaded here. */
import type { RetentionPolicy, RetentionRules } from './policy.ts';

export const KEEP_EVERYTHING: RetentionPolicy = { kind: 'keep-everything' };

/** To begin a draft with: the newest one, and nothing by any rule. */
export const KEEP_NOTHING_MORE: RetentionRules = {
  kind: 'rules',
  ...{ last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
  ...{ minimumCount: 1, maximumAgeDays: null, timeZone: 'UTC' },
};

/** Proposed for a new target. */
export const PROPOSED_POLICY: RetentionRules = {
  kind: 'rules',
  last: 3,
  hourly: 0,
  daily: 30,
  weekly: 12,
  monthly: 6,
  yearly: 0,
  withinDays: 7,
  minimumCount: 3,
  maximumAgeDays: 180,
  partsDays: 30,
  timeZone: 'UTC',
};

/** Where nothing ever goes, locks are renewed as long as snapshots are taken. */
const EVERYTHING_DAYS = 365;
const MOST_DAYS = 3650;

/**
 * For how many days a policy surely keeps a snapshot that is the newest of its day; what it keeps of weeks, months and years besides is
 * too little to lock everything for as long. Where it names no days, the newest of its week, month or year; where it names no time at
 * all, or others only by their number, a day.
 */
export function promisedDays(policy: RetentionPolicy): number {
  if (policy.kind === 'keep-everything') return EVERYTHING_DAYS;
  const { last, withinDays, hourly, daily, weekly, monthly, yearly, maximumAgeDays } = policy;
  const ofDays = Math.max(withinDays, daily, Math.ceil(hourly / 24));
  const ofPeriods = [7 * weekly, 28 * monthly, 365 * yearly].find((days) => days > 0) ?? 1;
  const promised = ofDays > 0 ? ofDays : last > 0 ? 1 : ofPeriods;
  return Math.min(promised, maximumAgeDays ?? MOST_DAYS, MOST_DAYS);
}

/** What other days of a target's lock mean, for who chooses them. */
export function tellLockChange(mode: 'governance' | 'compliance', before: number, after: number): string {
  if (after < before)
    return `Only what is stored from then on is locked for ${days(after)} instead of ${before}. A lock that is there lasts as long as it did.`;
  const longer = `From the next snapshot on, all that snapshots need is locked for ${days(after)} instead of ${before}.`;
  return mode === 'governance'
    ? longer
    : `${longer} Nobody can take that back, not even the owner of the account.`;
}

/** What a target keeps of what a removal frees. */
export function tellHeld(exact: boolean, bytes: string, until: string): string {
  return exact
    ? `But ${bytes} of that stays on the target until ${until}: its lock keeps it.`
    : `But up to ${bytes} of that stays on the target, at the latest until ${until}: its lock keeps it.`;
}

const PERIOD_WORDS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;

/** One line for people. */
export function tellPolicy(policy: RetentionPolicy): string {
  if (policy.kind === 'keep-everything') return 'Every snapshot is kept until somebody forgets it.';
  const parts = [
    policy.last > 0 ? `the last ${policy.last}` : [],
    policy.withinDays > 0 ? `all of ${days(policy.withinDays)}` : [],
    PERIOD_WORDS.flatMap((word) => (policy[word] > 0 ? `${policy[word]} ${word}` : [])),
  ].flat();
  const kept = parts.length === 0 ? 'none by number or period' : parts.join(', ');
  const age =
    policy.maximumAgeDays === null ? 'no maximum age' : `nothing older than ${days(policy.maximumAgeDays)}`;
  const own = policy.partsDays == null ? '' : `; logs and configuration for ${days(policy.partsDays)}`;
  return `Kept are ${kept}; at least ${policy.minimumCount}, ${age}${own} (${policy.timeZone}).`;
}

export const days = (count: number): string => (count === 1 ? '1 day' : `${count} days`);
