/** How much may be sent to a target, while a person changes it. */
import type { TargetReply } from '../../api/shapes.ts';

type Pace = NonNullable<TargetReply['pace']>;

export interface PaceDraft {
  limit: 'none' | 'hours' | 'always';
  mbits: number | null;
  from: string;
  to: string;
  /** 1 for Monday to 7. */
  days: number[];
  timeZone: string;
}

const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;
export const SPEED = { label: 'At most', unit: 'Mbit/s', min: 2, max: 80_000 };
const BYTES_A_MBIT = 125_000;

export function draftOf(pace: Pace | null, ownZone: string): PaceDraft {
  const { hours } = pace ?? {};
  return {
    limit: pace === null ? 'none' : hours === undefined ? 'always' : 'hours',
    mbits: pace === null ? 10 : Math.round(pace.bytesPerSecond / BYTES_A_MBIT),
    from: hours?.from ?? '07:00',
    to: hours?.to ?? '19:00',
    days: [...(hours?.days ?? [1, 2, 3, 4, 5])],
    timeZone: hours?.timeZone ?? ownZone,
  };
}

export function paceFrom({ limit, mbits, from, to, days, timeZone }: PaceDraft): Pace | null {
  if (limit === 'none') return null;
  const bytesPerSecond = (mbits ?? 0) * BYTES_A_MBIT;
  if (limit === 'always') return { bytesPerSecond };
  return { bytesPerSecond, hours: { from, to, days: days.toSorted((a, b) => a - b), timeZone } };
}

export function describePace(pace: Pace | null): string {
  if (pace === null) return 'As much is sent as it takes.';
  const speed = `At most ${String(Math.round(pace.bytesPerSecond / BYTES_A_MBIT))} Mbit/s are sent`;
  const { hours } = pace;
  if (hours === undefined) return `${speed}.`;
  const days = hours.days.map((day) => DAYS[day - 1] ?? '').join(', ');
  return `${speed} from ${hours.from} to ${hours.to} (${hours.timeZone}) on ${days}; at other hours nothing is limited.`;
}
