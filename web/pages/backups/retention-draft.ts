/** A policy while a person changes it. */
import { PROPOSED_POLICY } from '../../../server/backups/retention/policy-words.ts';
import { firstFault, type NumberRange } from '../../lib/number-range.ts';
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

const range = (label: string, min: number, max: number): NumberRange => ({ label, min, max });

export const NUMBERS: readonly { name: NumberName; hint?: string; range: NumberRange }[] = [
  { name: 'last', range: range('The last', 0, 1_000), hint: 'Snapshots, whatever their time.' },
  { name: 'withinDays', range: range('All within days', 0, 36_500), hint: 'Of the newest one.' },
  { name: 'hourly', range: range('Hourly', 0, 1_000) },
  { name: 'daily', range: range('Daily', 0, 1_000) },
  { name: 'weekly', range: range('Weekly', 0, 1_000) },
  { name: 'monthly', range: range('Monthly', 0, 1_000) },
  { name: 'yearly', range: range('Yearly', 0, 100) },
  { name: 'minimumCount', range: range('Never fewer than', 1, 1_000), hint: 'By any rule.' },
];
export const PARTS_DAYS: NumberRange = { label: 'Logs and configuration', unit: 'days', min: 1, max: 3_650 };
export const MAXIMUM_AGE: NumberRange = { label: 'Maximum age', unit: 'days', min: 1, max: 36_500 };

/** @returns what is wrong; undefined when it can be tried. */
export function whatIsWrong({ keepsEverything, rules }: RetentionDraft): string | undefined {
  if (keepsEverything) return undefined;
  const { maximumAgeDays, withinDays, partsDays = null } = rules;
  const fault =
    firstFault(...NUMBERS.map(({ name, range }) => [rules[name], range] as const)) ??
    (partsDays === null ? undefined : firstFault([partsDays, PARTS_DAYS]));
  if (fault !== undefined || maximumAgeDays === null) return fault;
  if (withinDays > maximumAgeDays) return 'All within days may not be more than the maximum age';
  if (partsDays !== null && partsDays > maximumAgeDays)
    return 'Logs and configuration may not be kept for more than the maximum age';
  return firstFault([maximumAgeDays, MAXIMUM_AGE]);
}
