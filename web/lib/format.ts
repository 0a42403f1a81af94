/** How numbers, sizes and times read. Sizes are binary; instants come as RFC 3339 in UTC. */
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `412 GiB`, `1.4 MiB`, `0 B`. */
export function formatBytes(sizeBytes: number): string {
  let value = sizeBytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`;
}

/** `12,345`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-GB');
}

/** A name that a program gave, at the start of a line: `target` becomes `Target`. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A phrase in the middle of a line: `A snapshot is stored` becomes `a snapshot is stored`. */
export function uncapital(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** `6 m 12 s`, `48 s`, `0.4 s`, `2 h 5 m`. Less than can be told is `< 0.01 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs <= 0) return '0 s';
  if (durationMs < 10) return '< 0.01 s';
  if (durationMs < 950) return `${(durationMs / 1000).toFixed(durationMs < 100 ? 2 : 1)} s`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} m` : `${minutes} m ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} m`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const STEPS: [limitMs: number, unitMs: number, unit: string][] = [
  [3_600_000, 60_000, 'min'],
  [86_400_000, 3_600_000, 'h'],
  [60 * 86_400_000, 86_400_000, 'd'],
  [730 * 86_400_000, 30.44 * 86_400_000, 'mo'],
  [Infinity, 365.25 * 86_400_000, 'y'],
];

/** `2 min ago`, `in 3 h`, `just now`. */
export function formatRelative(instantMs: number, nowMs: number): string {
  const distance = Math.abs(nowMs - instantMs);
  if (distance < 45_000) return instantMs > nowMs + 5_000 ? 'in under a minute' : 'just now';
  const step = STEPS.find(([limit]) => distance < limit);
  if (!step) return '';
  const text = `${Math.max(1, Math.round(distance / step[1]))} ${step[2]}`;
  return instantMs > nowMs ? `in ${text}` : `${text} ago`;
}

/** The person's own time zone, such as `Europe/Berlin`. */
export const timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

function formatIn(zone: string, date: Date, seconds: boolean): string {
  return new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    ...(seconds ? { second: '2-digit' } : {}),
    hour12: false,
  }).format(date);
}

/** `21 Nov 2026, 21:18 ` in the person's zone. */
export function formatInstant(instant: string): string {
  return formatIn(timeZone, new Date(instant), false);
}

/** Both clocks to the second, for a tooltip. */
export function formatExact(instant: string): string {
  const date = new Date(instant);
  const utc = `${formatIn('UTC', date, true)} UTC`;
  return timeZone === 'UTC' ? utc : `${formatIn(timeZone, date, true)} ${timeZone} · ${utc}`;
}

/** The start of a long id. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}

/** `1 file`, `2 files`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** `31 Mar 2027`, of a day that has no time zone. */
export function formatDay(day: string | null): string {
  if (day === null) return '';
  return new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', dateStyle: 'medium' }).format(new Date(day));
}
