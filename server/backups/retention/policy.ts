/** What a policy of retention says, and what makes one wrong. */
import { Type, type Static } from 'typebox';
import { HoldfastError } from '../../lib/errors.ts';
import { checkTimeZone } from '../../lib/hours.ts';

const Count = (most: number) => Type.Integer({ minimum: 0, maximum: most });

export const RetentionRules = Type.Object(
  {
    kind: Type.Literal('rules'),
    /** So many of the newest, whatever their time. */
    last: Count(1_000),
    /** The newest of each of so many hours, days and so on that have a snapshot. */
    hourly: Count(1_000),
    daily: Count(1_000),
    weekly: Count(1_000),
    monthly: Count(1_000),
    yearly: Count(100),
    /** All that are at most so many days older than the newest one. */
    withinDays: Count(36_500),
    /** Never fewer than this by any rule. */
    minimumCount: Type.Integer({ minimum: 1, maximum: 1_000 }),
    /** A promise: what is older goes, unless it is held. */
    maximumAgeDays: Type.Union([Type.Integer({ minimum: 1, maximum: 36_500 }), Type.Null()]),
    /**
     * Logs and configuration by themselves: for so many days they stay when the rest goes, and after them they go when the rest stays. Absent or
     * null: they stay and go with the rest.
     */
    partsDays: Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: 3_650 }), Type.Null()])),
    /** IANA name; hours, days, weeks, months and years begin there. */
    timeZone: Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_+/-]+$' }),
  },
  { additionalProperties: false },
);
export type RetentionRules = Static<typeof RetentionRules>;

const KeepEverything = Type.Object(
  { kind: Type.Literal('keep-everything') },
  { additionalProperties: false },
);

export const RetentionPolicy = Type.Union([KeepEverything, RetentionRules]);
export type RetentionPolicy = Static<typeof RetentionPolicy>;

/**
 * What no shape says: a time zone that exists, and no rule that another one makes void.
 *
 * @throws HoldfastError `invalid_input`
 */
export function checkPolicy(policy: RetentionPolicy): void {
  if (policy.kind === 'keep-everything') return;
  checkTimeZone(policy.timeZone);
  const { maximumAgeDays, withinDays, partsDays = null } = policy;
  if (maximumAgeDays !== null && partsDays !== null && partsDays > maximumAgeDays) {
    throw new HoldfastError(
      'invalid_input',
      `Logs and configuration are not kept for ${partsDays} days when nothing may be older than ${maximumAgeDays} days`,
      { hint: 'Make the maximum age longer, or the days of logs and configuration fewer.' },
    );
  }
  if (maximumAgeDays !== null && withinDays > maximumAgeDays) {
    throw new HoldfastError(
      'invalid_input',
      `Nothing is kept for ${withinDays} days when nothing may be older than ${maximumAgeDays} days`,
      { hint: 'Make the maximum age longer, or the days within which all are kept fewer.' },
    );
  }
}
