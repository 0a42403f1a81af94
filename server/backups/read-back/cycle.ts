/**
 * A cycle reads every byte on a target once, in as many parts as it has days. Each day owes one part; days that were missed are owed on top,
 * and a schedule that seldom runs owes at once what falls before its next time. Pure.
 */

export interface Cycle {
  /** As many as days. */
  parts: number;
  /** The first so many of them. */
  done: number;
  /** Null between two cycles. */
  startedAt: Date | null;
}

export const DAY_MS = 24 * 3_600_000;
const SHORT_DAYS = 0.25;
/** A cycle may be closed so much later than its last day. */
const GRACE_MS = 2 * DAY_MS;

/** Of a cycle with another number of parts nothing counts: the same byte lies in another part. */
export function goOn(kept: Cycle | undefined, parts: number): Cycle {
  return kept?.parts === parts ? kept : { parts, done: 0, startedAt: null };
}

/** @returns how many parts are to be read now; a cycle that is not begun owes at least one. */
export function owedParts(cycle: Cycle, { now, nextDueAt }: { now: Date; nextDueAt: Date | null }): number {
  const startMs = cycle.startedAt?.getTime() ?? now.getTime();
  const daysTo = (at: Date): number => (at.getTime() - startMs) / DAY_MS;
  // A day that is some hours short counts: runs do not begin at the same second.
  const today = Math.floor(daysTo(now) + SHORT_DAYS) + 1;
  const days = nextDueAt === null ? Math.round(daysTo(now)) : Math.max(today, Math.round(daysTo(nextDueAt)));
  const owed = Math.min(cycle.parts, days) - cycle.done;
  return Math.max(cycle.startedAt === null ? 1 : 0, owed);
}

/**
 * By when all has to be read back.
 *
 * @param due the first time that the schedule names after the last cycle, or since there is something to read.
 */
export function deadlineOf({ parts, startedAt }: Cycle, due: Date): Date {
  return new Date((startedAt ?? due).getTime() + parts * DAY_MS + GRACE_MS);
}
