/**
 * How an alert goes on from one look to the next. Pure, one alert at a time; time comes in.
 *
 * What is found is not told at once: what comes and goes within minutes would teach people to look away. And it has not ended at the first good
 * look. Somebody who acknowledges it is not reminded for a while, but is told when it gets worse.
 */
import type { AlertSettings, AlertState } from './schema.ts';

/** What a look found that is not well. */
export interface Condition {
  name: string;
  state: AlertState;
  message: string;
  hint: string | null;
}

export interface OpenAlert extends Condition {
  firstSeenAt: Date;
  /** Null while it is not told of. */
  raisedAt: Date | null;
  /** Since when every look found it well. */
  clearSince: Date | null;
  toldAt: Date | null;
  told: number;
  acknowledgedAt: Date | null;
  /** No reminder before. */
  silentUntil: Date | null;
}

export type AlertEvent = 'raised' | 'worsened' | 'reminded' | 'ended';

export interface Step {
  /** As it is from now on; null: forgotten, since nobody was told of it. */
  alert: OpenAlert | null;
  event?: AlertEvent;
}

/** Found at every look for this long, before somebody is told. */
export const WAIT_MS: Record<AlertState, number> = { bad: 3 * 60_000, warn: 30 * 60_000 };
/** Well at every look for this long, before it has ended. */
export const CLEAR_MS = 10 * 60_000;
/** A warning is not urgent: its reminders come this much more seldom. */
const WARN_FACTOR = 7;

/** @returns undefined when there is nothing to keep. */
export function follow(
  before: OpenAlert | undefined,
  condition: Condition | undefined,
  now: Date,
  settings: Pick<AlertSettings, 'remindHours'>,
): Step | undefined {
  if (condition === undefined) return before && whenWell(before, now);
  if (before === undefined) return { alert: begin(condition, now) };
  const alert = { ...before, ...condition, clearSince: null };
  if (before.raisedAt === null) {
    const due = elapsed(before.firstSeenAt, now) >= WAIT_MS[condition.state];
    return due ? { alert: { ...alert, raisedAt: now }, event: 'raised' } : { alert };
  }
  if (before.state === 'warn' && condition.state === 'bad')
    return { alert: { ...alert, acknowledgedAt: null, silentUntil: null }, event: 'worsened' };
  return isReminderDue(alert, now, settings) ? { alert, event: 'reminded' } : { alert };
}

function begin(condition: Condition, now: Date): OpenAlert {
  const untold = { raisedAt: null, clearSince: null, toldAt: null, told: 0 };
  return { ...condition, firstSeenAt: now, ...untold, acknowledgedAt: null, silentUntil: null };
}

function whenWell(before: OpenAlert, now: Date): Step {
  if (before.raisedAt === null) return { alert: null };
  const clearSince = before.clearSince ?? now;
  const alert = { ...before, clearSince };
  return elapsed(clearSince, now) >= CLEAR_MS ? { alert, event: 'ended' } : { alert };
}

function isReminderDue(
  { state, toldAt, silentUntil }: OpenAlert,
  now: Date,
  { remindHours }: Pick<AlertSettings, 'remindHours'>,
): boolean {
  if (toldAt === null || (silentUntil !== null && silentUntil > now)) return false;
  return elapsed(toldAt, now) >= remindHours * 3_600_000 * (state === 'warn' ? WARN_FACTOR : 1);
}

/** A clock that was set back a year must not keep an alert quiet for that long: the distance counts, not the direction. */
function elapsed(from: Date, to: Date): number {
  return Math.abs(to.getTime() - from.getTime());
}
