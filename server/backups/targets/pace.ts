/**
 * No more is sent to a target than people allow: so many bytes a second, all threads of a process together. Whoever sends waits for
 * its turn before each piece, never after it, so that the line carries what was allowed in every second and not on average of an hour.
 *
 * Relies on: pieces of at most some hundred KiB. What is read is not held up: a restore should be as quick as it can.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../lib/clock.ts';
import type { Pace } from '../engine.ts';

/** Waits until so many bytes may be sent. */
export type Turn = (bytes: number) => Promise<void>;

const NS = 1_000_000_000n;
const MINUTES_A_DAY = 24 * 60;
/** Asked for in steps, so that the end of the hours is noticed soon. */
const LOOK_EVERY_MS = 1_000;
const PIECE_BYTES = 256 * 1024;

/** Shared between threads: when the next piece may begin, nanoseconds of the machine's steady clock. */
export function sharedLine(): SharedArrayBuffer {
  return new SharedArrayBuffer(8);
}

/** @returns undefined where nothing is limited. */
export function openTurn(pace: Pace | undefined): Turn | undefined {
  if (pace === undefined) return undefined;
  // What came over a pipe has no memory in common with others.
  const line = new BigInt64Array(pace.line instanceof SharedArrayBuffer ? pace.line : sharedLine());
  let lookedMs = Number.NEGATIVE_INFINITY;
  let limited = true;
  return async (bytes) => {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - lookedMs >= LOOK_EVERY_MS) {
      lookedMs = nowMs;
      limited = isLimited(pace, systemClock.now());
    }
    if (!limited) return;
    const took = (BigInt(bytes) * NS) / BigInt(Math.max(1, Math.floor(pace.bytesPerSecond)));
    const waitNs = reserve(line, process.hrtime.bigint(), took);
    if (waitNs > 1_000_000n) await sleep(Number(waitNs / 1_000_000n));
  };
}

/** @returns how long to wait. */
function reserve(line: BigInt64Array, now: bigint, took: bigint): bigint {
  for (;;) {
    const next = Atomics.load(line, 0);
    const begin = next > now ? next : now;
    if (Atomics.compareExchange(line, 0, next, begin + took) === next) return begin - now;
  }
}

/** Pieces of what is to be written, each in its turn. */
export async function* inTurn(data: Uint8Array, turn: Turn | undefined): AsyncIterable<Uint8Array> {
  if (turn === undefined) {
    yield data;
    return;
  }
  for (let at = 0; at < data.length; at += PIECE_BYTES) {
    const piece = data.subarray(at, at + PIECE_BYTES);
    await turn(piece.length);
    yield piece;
  }
}

/** Whether the limit holds now. Pure. Hours that end before they begin go over midnight, and belong to the day on which they began. */
export function isLimited({ hours }: Pick<Pace, 'hours'>, now: Date): boolean {
  if (hours === undefined) return true;
  const { day, minute } = localTime(now, hours.timeZone);
  const [from, to] = [minuteOf(hours.from), minuteOf(hours.to)];
  const before = ((day + 5) % 7) + 1;
  if (from < to) return hours.days.includes(day) && minute >= from && minute < to;
  return (hours.days.includes(day) && minute >= from) || (hours.days.includes(before) && minute < to);
}

function minuteOf(time: string): number {
  const [hour = '0', minute = '0'] = time.split(':');
  return (Number(hour) * 60 + Number(minute)) % MINUTES_A_DAY;
}

const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** Day from 1 for Monday. */
function localTime(now: Date, timeZone: string): { day: number; minute: number } {
  const parts = new Intl.DateTimeFormat('en-US', {
    ...{ timeZone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  }).formatToParts(now);
  const get = (type: string) => parts.find((part) => part.type === type)?.value ?? '';
  return { day: DAYS.indexOf(get('weekday')) + 1, minute: Number(get('hour')) * 60 + Number(get('minute')) };
}
