import { plural } from '../../lib/format.ts';

/** `7 years`, `180 days`. Years where they come out even, leap days counted. */
export function formatDays(days: number): string {
  const years = Math.round(days / 365.25);
  const even = years > 0 && Math.abs(days - years * 365.25) <= 1;
  return even ? plural(years, 'year') : plural(days, 'day');
}
