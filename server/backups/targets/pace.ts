/**
 * No more is sent to a target than people allow: so many bytes a second, all threads of a process together. Whoever sends waits for
 * its turn before each piece, never after it, so that the line carries what was allowed in every second and not on average of an hour.
 *
 * Relies on: pieces of at most some hundred KiB. What is read is not held up: a restore should be as quick as it can.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../lib/clock.ts';
import { isWithin } from '../../lib/hours.ts';
import type { Pace } from '../engine.ts';

/** Waits until so many bytes may be sent. */
export type Turn = (bytes: number) => Promise<void>;

const NS = 1_000_000_000n;
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

/** Whether the limit holds now. Pure. */
export function isLimited({ hours }: Pick<Pace, 'hours'>, now: Date): boolean {
  return hours === undefined || isWithin(hours, now);
}
