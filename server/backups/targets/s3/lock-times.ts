/** How long objects are locked. Pure. */
import type { ObjectLock } from '../../engine.ts';

const DAY_MS = 86_400_000;
/**
 * Objects are locked for so much longer than what is promised of them, so that most snapshots find the locks of what they share with
 * older ones long enough already.
 */
const AHEAD = 0.25;

/** Until when an object is locked that is written now, or whose lock is renewed now. */
export function lockEnd({ days }: ObjectLock, now: Date): Date {
  return new Date(now.getTime() + (days + Math.max(1, Math.ceil(days * AHEAD))) * DAY_MS);
}

/** The log, and lists of files born with it, are kept for days: what is erased must leave with them. */
const LOG_DAYS = 7;

/** Until when a piece of the log is locked that is written now. Never renewed. */
export function logLockEnd({ days }: ObjectLock, now: Date): Date {
  return new Date(now.getTime() + Math.min(days, LOG_DAYS) * DAY_MS);
}

/** Until when the lock of what a snapshot of this moment needs must last at least. */
export function lockNeeded({ days }: ObjectLock, now: Date): Date {
  return new Date(now.getTime() + days * DAY_MS);
}
