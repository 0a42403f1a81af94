/** Time as the product sees it: replaced by a fake in tests, read nowhere else. */
export interface Clock {
  /** The present instant, UTC. */
  now(): Date;
  /** Milliseconds that never go back, from an arbitrary start; for measuring and time limits. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
};
