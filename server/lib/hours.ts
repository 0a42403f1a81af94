/**
 * Hours of the week, by the clock of a time zone: when something holds, and when work may begin. Pure.
 *
 * Wall-clock time decides: where clocks are set forward, hours that do not exist that night do not come; where they are set back, the hour that
 * comes twice counts twice.
 */
import { CronExpressionParser } from 'cron-parser';
import { Type, type Static } from 'typebox';
import { HoldfastError } from './errors.ts';

const Time = Type.String({ pattern: '^([01][0-9]|2[0-3]):[0-5][0-9]$', description: 'HH:MM' });

const window = {
  from: Time,
  /** The same as `from`: the whole day. Before it: over midnight. */
  to: Time,
  days: Type.Array(Type.Integer({ minimum: 1, maximum: 7 }), {
    ...{ minItems: 1, maxItems: 7, uniqueItems: true },
    description: '1 for Monday to 7; hours over midnight belong to the day on which they began',
  }),
};
/** IANA name. */
const timeZone = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_+/-]+$' });

export const Hours = Type.Object({ ...window, timeZone }, { additionalProperties: false });
export type Hours = Static<typeof Hours>;

/** When work that nobody asked for may begin. */
export const WorkHours = Type.Object(
  {
    windows: Type.Array(Type.Object(window, { additionalProperties: false }), { minItems: 1, maxItems: 7 }),
    timeZone,
  },
  { additionalProperties: false },
);
export type WorkHours = Static<typeof WorkHours>;

const MINUTES_A_DAY = 24 * 60;
const SHORTEST_MINUTES = 60;
/** Of one window: days on which its hours do not exist are skipped. */
const MOST_TRIES = 10;

export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** @throws HoldfastError `invalid_input` when there is no such time zone. */
export function checkTimeZone(name: string): void {
  if (isTimeZone(name)) return;
  throw new HoldfastError('invalid_input', `There is no time zone ${name}`, {
    hint: 'Take a name such as UTC or Europe/Zurich.',
  });
}

/** @throws HoldfastError `invalid_input` for a time zone that there is not, or hours in which nothing could be done. */
export function checkWorkHours(hours: WorkHours): void {
  checkTimeZone(hours.timeZone);
  for (const { from, to } of hours.windows) {
    const minutes = (minuteOf(to) - minuteOf(from) + MINUTES_A_DAY) % MINUTES_A_DAY;
    if (from === to || minutes >= SHORTEST_MINUTES) continue;
    throw new HoldfastError('invalid_input', `From ${from} to ${to} is less than an hour`, {
      hint: 'Give at least an hour, or work would hardly begin.',
    });
  }
}

/** Whether that time of the week is now. Hours that end before they begin go over midnight, and belong to the day on which they began. */
export function isWithin(
  { days, ...hours }: Omit<Hours, 'days'> & { days: readonly number[] },
  now: Date,
): boolean {
  const { day, minute } = localTime(now, hours.timeZone);
  const [from, to] = [minuteOf(hours.from), minuteOf(hours.to)];
  const before = ((day + 5) % 7) + 1;
  if (from < to) return days.includes(day) && minute >= from && minute < to;
  return (days.includes(day) && minute >= from) || (days.includes(before) && minute < to);
}

/** @param hours null: at any time. */
export function mayBegin(hours: WorkHours | null, now: Date): boolean {
  if (hours === null) return true;
  return hours.windows.some((window) => isWithin({ ...window, timeZone: hours.timeZone }, now));
}

/** @returns when work may begin that may not begin now; null when it may, or never. */
export function waitsUntil(hours: WorkHours | null, now: Date): Date | null {
  if (hours === null || mayBegin(hours, now)) return null;
  const begins = hours.windows.flatMap(({ from, days }) => {
    const [hour, minute] = from.split(':').map(Number);
    const times = CronExpressionParser.parse(
      `${String(minute)} ${String(hour)} * * ${days.toSorted((a, b) => a - b).join(',')}`,
      { currentDate: now, tz: hours.timeZone },
    );
    for (let tried = 0; tried < MOST_TRIES; tried++) {
      const at = times.next().toDate();
      if (mayBegin(hours, at)) return [at];
    }
    return [];
  });
  return begins.sort((a, b) => a.getTime() - b.getTime())[0] ?? null;
}

/** As what waits says it. @returns undefined when nothing keeps it from beginning. */
export function tellWait(hours: WorkHours | null, now: Date): string | undefined {
  if (hours === null || mayBegin(hours, now)) return undefined;
  const at = waitsUntil(hours, now);
  if (at === null) return 'it waits for the hours in which it may begin';
  return `it waits for its hours, until ${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

function minuteOf(time: string): number {
  const [hour = '0', minute = '0'] = time.split(':');
  return (Number(hour) * 60 + Number(minute)) % MINUTES_A_DAY;
}

const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** Day from 1 for Monday. */
function localTime(now: Date, zone: string): { day: number; minute: number } {
  const parts = new Intl.DateTimeFormat('en-US', {
    ...{ timeZone: zone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  }).formatToParts(now);
  const get = (type: string) => parts.find((part) => part.type === type)?.value ?? '';
  return { day: DAYS.indexOf(get('weekday')) + 1, minute: Number(get('hour')) * 60 + Number(get('minute')) };
}
