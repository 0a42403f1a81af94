/**
 * One round on a target. A dead share does not fail, it answers nothing: then the round is left to itself, so that neither the log nor
 * the other targets wait for it, and the target gets no other one until it is over, or each would hold another thread of this process.
 */
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Target } from '../engine.ts';

export interface Round {
  signal: AbortSignal;
  /** The target has answered something. */
  answered(): void;
  /** Since it last did. */
  quietMs(): number;
  /** Asks it to end. The first reason counts. */
  abort(reason: HoldfastError): void;
  /** Since it was asked to; undefined when it was not. */
  abortedMs(): number | undefined;
  /** Whoever waits goes on at once. */
  leave(): void;
  /** Called when it is left: what it holds besides the target. */
  onLeft(release: () => void): void;
  /** Why it was left or aborted. */
  reason(): HoldfastError | undefined;
}

let left = 0;

/** Rounds of this process that were left and are not over: a thread may hang in each, for which Node would wait at its end. */
export function countRoundsLeft(): number {
  return left;
}

/**
 * @param act the round itself.
 * @returns `done` ends as `act` does, or with `reason()` when it was left before; `over` when `act` has ended, however, perhaps never.
 */
export function startRound(
  clock: Pick<Clock, 'monotonicMs'>,
  act: (round: Round) => Promise<void>,
): { round: Round; done: Promise<void>; over: Promise<void> } {
  const stop = new AbortController();
  let answeredMs = clock.monotonicMs();
  let abortedMs: number | undefined;
  let why: HoldfastError | undefined;
  let release: (() => void) | undefined;
  let isOver = false;
  let leave: (reason: HoldfastError) => void = () => undefined;
  const whenLeft = new Promise<never>((_, reject) => (leave = reject));
  whenLeft.catch(() => undefined);
  const round: Round = {
    signal: stop.signal,
    answered: () => void (answeredMs = clock.monotonicMs()),
    quietMs: () => clock.monotonicMs() - answeredMs,
    abort(reason) {
      if (stop.signal.aborted) return;
      why = reason;
      abortedMs = clock.monotonicMs();
      stop.abort(reason);
    },
    abortedMs: () => (abortedMs === undefined ? undefined : clock.monotonicMs() - abortedMs),
    leave() {
      if (isOver) return;
      round.abort(noAnswer());
      left++;
      void over.then(() => left--);
      release?.();
      if (why?.code !== 'cancelled') why = noAnswer();
      leave(noAnswer());
    },
    onLeft: (given) => void (release = given),
    reason: () => why,
  };
  const acting = act(round);
  const over = acting
    .catch(() => undefined)
    .then(() => {
      isOver = true;
    });
  return { round, done: Promise.race([acting, whenLeft]), over };
}

export function noAnswer(): HoldfastError {
  return new HoldfastError('unavailable', 'The target does not answer, and does not fail either', {
    hint: 'Look at its disk, or at the share and the network between. Shipping to it goes on by itself when it answers again.',
  });
}

/** The same target, which tells each time that it has answered. */
export function tellAnswers(target: Target, answered: () => void): Target {
  const telling =
    <A extends unknown[], R>(act: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      const result = await act(...args);
      answered();
      return result;
    };
  return {
    ...target,
    async *list(prefix) {
      for await (const object of target.list(prefix)) {
        answered();
        yield object;
      }
      answered();
    },
    find: telling(target.find),
    read: telling(target.read),
    write: telling(target.write),
    create: telling(target.create),
    readBack: telling(target.readBack),
  };
}
