/** A policy while a person changes it. */
import { PROPOSED_POLICY } from '../../../server/backups/retention/policy-words.ts';
import type { RetentionPolicy, RetentionRules } from '../../api/retention.ts';

export interface RetentionDraft {
  keepsEverything: boolean;
  rules: RetentionRules;
}

export const draftOf = (policy: RetentionPolicy): RetentionDraft => ({
  keepsEverything: policy.kind === 'keep-everything',
  rules: { ...(policy.kind === 'rules' ? policy : PROPOSED_POLICY) },
});

export const policyOf = (draft: RetentionDraft): RetentionPolicy =>
  draft.keepsEverything ? { kind: 'keep-everything' } : { ...draft.rules };

type NumberName =
  'last' | 'withinDays' | 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly' | 'minimumCount';

export const NUMBERS: readonly {
  name: NumberName;
  label: string;
  hint?: string;
  most: number;
  least: number;
}[] = [
  { name: 'last', label: 'The last', hint: 'Snapshots, whatever their time.', most: 1_000, least: 0 },
  { name: 'withinDays', label: 'All within days', hint: 'Of the newest one.', most: 36_500, least: 0 },
  { name: 'hourly', label: 'Hourly', most: 1_000, least: 0 },
  { name: 'daily', label: 'Daily', most: 1_000, least: 0 },
  { name: 'weekly', label: 'Weekly', most: 1_000, least: 0 },
  { name: 'monthly', label: 'Monthly', most: 1_000, least: 0 },
  { name: 'yearly', label: 'Yearly', most: 100, least: 0 },
  { name: 'minimumCount', label: 'Never fewer than', hint: 'By any rule.', most: 1_000, least: 1 },
];

/** @returns what is wrong; undefined when it can be tried. */
export function whatIsWrong({ keepsEverything, rules }: RetentionDraft): string | undefined {
  if (keepsEverything) return undefined;
  for (const { name, label, least, most } of NUMBERS) {
    const value = rules[name];
    if (!Number.isInteger(value) || value < least || value > most)
      return `“${label}” is a whole number from ${least} to ${most}`;
  }
  const { maximumAgeDays, withinDays } = rules;
  if (maximumAgeDays === null) return undefined;
  if (!Number.isInteger(maximumAgeDays) || maximumAgeDays < 1 || maximumAgeDays > 36_500)
    return 'The maximum age is a whole number of days from 1 to 36500';
  if (withinDays > maximumAgeDays) return 'All within days may not be more than the maximum age';
  return undefined;
}
