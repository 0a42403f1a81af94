/** Hours in which work may begin, while a person changes them. */
import type { WorkHours } from '../../server/lib/hours.ts';

export type { WorkHours };
type Window = WorkHours['windows'][number];

export const MOST_WINDOWS = 7;
const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
const SHORTEST_MINUTES = 60;

export const emptyWindow = (): Window => ({ from: '20:00', to: '06:00', days: [1, 2, 3, 4, 5, 6, 7] });

export function hoursFrom(windows: readonly Window[], timeZone: string): WorkHours {
  return {
    windows: windows.map(({ from, to, days }) => ({ from, to, days: days.toSorted((a, b) => a - b) })),
    timeZone,
  };
}

/** @returns why they cannot be saved. */
export function hoursFault(windows: readonly Window[]): string | undefined {
  for (const { from, to, days } of windows) {
    if (from === '' || to === '') return 'The hours are missing';
    if (days.length === 0) return 'No day is chosen';
    const minutes = (minuteOf(to) - minuteOf(from) + 1440) % 1440;
    if (from !== to && minutes < SHORTEST_MINUTES) return 'Hours are at least one hour long';
  }
  return undefined;
}

export function describeHours(hours: WorkHours | null): string {
  if (hours === null) return 'at any time';
  const windows = hours.windows.map(({ from, to, days }) => {
    const when = from === to ? 'all day' : `from ${from} to ${to}`;
    return days.length === 7
      ? `${when} every day`
      : `${when} on ${days.map((day) => DAYS[day - 1] ?? '').join(', ')}`;
  });
  return `${windows.join(', and ')} (${hours.timeZone})`;
}

function minuteOf(time: string): number {
  const [hour = 0, minute = 0] = time.split(':').map(Number);
  return hour * 60 + minute;
}
