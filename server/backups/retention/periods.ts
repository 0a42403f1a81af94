/** Hours, days, weeks, months and years in a time zone. */

export const PERIODS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
export type Period = (typeof PERIODS)[number];

const DAY_MS = 86_400_000;

/**
 * The name of the period that an instant lies in, such as `week 2026-W46`. When the clocks go back, the hour that comes twice is two.
 *
 * @param timeZone IANA name.
 */
export function periodNamer(timeZone: string): (period: Period, at: Date) => string {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    timeZoneName: 'longOffset',
  });
  return (period, at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const part = (type: Intl.DateTimeFormatPartTypes): string => parts.get(type) ?? '';
    const [year, month, day] = [part('year').padStart(4, '0'), part('month'), part('day')];
    switch (period) {
      case 'hourly':
        return `hour ${year}-${month}-${day} ${part('hour')}:00 ${part('timeZoneName')}`;
      case 'daily':
        return `day ${year}-${month}-${day}`;
      case 'weekly':
        return `week ${weekOf(Number(year), Number(month), Number(day))}`;
      case 'monthly':
        return `month ${year}-${month}`;
      case 'yearly':
        return `year ${year}`;
    }
  };
}

/** ISO 8601: weeks begin on Monday, and belong to the year of their Thursday. */
function weekOf(year: number, month: number, day: number): string {
  const date = Date.UTC(year, month - 1, day);
  const weekday = (new Date(date).getUTCDay() + 6) % 7;
  const thursday = new Date(date + (3 - weekday) * DAY_MS);
  const first = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  const week = Math.floor((thursday.getTime() - first) / (7 * DAY_MS)) + 1;
  return `${thursday.getUTCFullYear()}-W${String(week).padStart(2, '0')}`;
}
