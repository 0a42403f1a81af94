/** Whether what was due has happened. Pure. */

export interface ScheduleFacts {
  enabled: boolean;
  nextDueAt: Date | null;
  lastDueAt: Date | null;
}

/** How late a due run may start, and how long it may take, before it counts as missed. */
const START_GRACE_MS = 3_600_000;
const RUN_GRACE_MS = 6 * 3_600_000;

/**
 * @param lastGoodAt when the work last succeeded, by the instant that the work is about (for a snapshot, when it was taken).
 */
export function isOverdue(schedule: ScheduleFacts | undefined, lastGoodAt: Date | null, now: Date): boolean {
  if (!schedule?.enabled) return false;
  if (schedule.nextDueAt !== null && now.getTime() - schedule.nextDueAt.getTime() > START_GRACE_MS)
    return true;
  if (schedule.lastDueAt === null || now.getTime() - schedule.lastDueAt.getTime() <= RUN_GRACE_MS)
    return false;
  return lastGoodAt === null || lastGoodAt < schedule.lastDueAt;
}
