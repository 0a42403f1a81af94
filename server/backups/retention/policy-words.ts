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
  timeZone: 'UTC',
};

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
  return `Kept are ${kept}; at least ${policy.minimumCount}, ${age} (${policy.timeZone}).`;
}

export const days = (count: number): string => (count === 1 ? '1 day' : `${count} days`);
