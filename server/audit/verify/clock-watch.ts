/** Notices where the clock went back: in the entries, in the order of the log, and in the checkpoints, in the order of their signing. */
import type { FindingList } from './findings.ts';

/** An act may take a while from its entry to its commit, and others overtake it; more than this is the clock. */
const TOLERANCE_MS = 10 * 60_000;

export interface ClockWatch {
  readonly firstAt: string | null;
  readonly lastAt: string | null;
  entry(at: string, position: number): void;
  head(at: Date, size: number): void;
}

export function watchClock(findings: FindingList): ClockWatch {
  let latestEntry = -Infinity;
  let latestHead = -Infinity;
  let firstAt: string | null = null;
  let lastAt: string | null = null;
  // Told once for each time that it went back, not for every entry until it caught up.
  const follow = (latest: number, time: number, tell: (before: string) => void): number => {
    if (time < latest - TOLERANCE_MS) {
      tell(new Date(latest).toISOString());
      return time;
    }
    return Math.max(latest, time);
  };
  return {
    get firstAt() {
      return firstAt;
    },
    get lastAt() {
      return lastAt;
    },
    entry(at, position) {
      const time = Date.parse(at);
      if (Number.isNaN(time)) return;
      firstAt ??= at;
      lastAt = at;
      latestEntry = follow(latestEntry, time, (before) => {
        findings.add(
          'clock-set-back',
          position,
          `The entry at position ${position} is of ${at}, one before it of ${before}`,
        );
      });
    },
    head(at, size) {
      latestHead = follow(latestHead, at.getTime(), (before) => {
        const message = `The checkpoint at ${size} entries was signed at ${at.toISOString()}, one before it at ${before}`;
        findings.add('clock-set-back', size, message);
      });
    },
  };
}
