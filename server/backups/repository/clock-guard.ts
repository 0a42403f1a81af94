/**
 * Removal must not be hurried by a clock that jumped. It stops when the clock is over an hour away from where it should be:
 * behind the newest head, apart from the monotonic clock since this writer began, or apart from the target's own clock.
 *
 * Not caught: a clock that was wrong before the appliance started, on a target that is a disk of the same machine.
 */
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Target } from '../engine.ts';

const TOLERANCE_MS = 60 * 60 * 1000;

export interface ClockGuard {
  /** To be told of every head that is published. */
  headMade(createdAt: string): void;
  /** @returns the present instant. @throws wrong_state when the clock cannot be believed. */
  check(target: Target): Promise<Date>;
}

/** @param lastHeadAt when the newest head was made, RFC 3339. */
export function createClockGuard(clock: Clock, lastHeadAt: string | undefined): ClockGuard {
  let headAt = lastHeadAt === undefined ? undefined : Date.parse(lastHeadAt);
  const began = { wall: clock.now().getTime(), monotonic: clock.monotonicMs() };
  return {
    headMade(createdAt) {
      headAt = Date.parse(createdAt);
    },
    async check(target) {
      const now = clock.now();
      const expected = began.wall + clock.monotonicMs() - began.monotonic;
      if (headAt !== undefined && now.getTime() < headAt - TOLERANCE_MS) {
        throw distrusted('is behind the newest head of the repository');
      }
      if (Math.abs(now.getTime() - expected) > TOLERANCE_MS)
        throw distrusted('jumped while this run went on');
      const theirs = await target.now();
      if (theirs !== undefined && Math.abs(theirs.getTime() - now.getTime()) > TOLERANCE_MS) {
        throw distrusted('is over an hour away from the clock of the target');
      }
      return now;
    },
  };
}

function distrusted(what: string): HoldfastError {
  return new HoldfastError('wrong_state', `The clock of this machine ${what}. Nothing was removed.`, {
    hint: 'Set the clock (and see that time synchronisation works), then try again.',
  });
}
