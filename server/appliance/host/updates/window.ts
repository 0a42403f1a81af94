/** The hours in which an appliance may restart by itself. Pure. */
import type { MaintenanceWindow } from './schema.ts';

const HOUR_MS = 3_600_000;
/** People see that a restart comes at least this long before it, whatever the window says. */
export const NOTICE_MS = 10 * 60_000;

/** The first instant, notice given, at which a restart is allowed. A window that is open counts while the notice fits in it. */
export function nextRestart(window: MaintenanceWindow, now: Date): Date {
  const earliest = now.getTime() + NOTICE_MS;
  const midnight = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  // From yesterday, whose window may reach over midnight, to the same day of next week.
  for (let day = -1; day <= 8; day += 1) {
    const opens = midnight + (day * 24 + window.startHour) * HOUR_MS;
    if (!window.days.includes(new Date(opens).getUTCDay())) continue;
    if (earliest < opens) return new Date(opens);
    if (earliest < opens + window.hours * HOUR_MS) return new Date(earliest);
  }
  return new Date(earliest);
}
