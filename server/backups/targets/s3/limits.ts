/** How long, how often and how much at once. One object, so that a test can be quicker than the world is. */
export interface S3Limits {
  /** Nothing moved in either direction for this long: the connection is given up. */
  stallMs: number;
  /** A request may last this long, and as much longer as its bytes take at `slowestBytesPerSecond`. */
  requestMs: number;
  slowestBytesPerSecond: number;
  /** In all, of one request. */
  attempts: number;
  /** Waits are random between nothing and this, doubled each time, up to `longestWaitMs` (full jitter). */
  firstWaitMs: number;
  longestWaitMs: number;
  /** Larger objects are sent in parts. */
  singlePutBytes: number;
  partBytes: number;
  /** Parts under way at once; also connections of one thread. */
  atOnce: number;
  /** How long whoever creates a name waits for others who want the same, where the server has no conditional writes. */
  rivalsMs: number;
}

export const LIMITS: S3Limits = {
  stallMs: 30_000,
  requestMs: 60_000,
  slowestBytesPerSecond: 32 * 1024,
  attempts: 6,
  firstWaitMs: 300,
  longestWaitMs: 20_000,
  // A pack has at most 96 MiB: it goes at once, so that the server keeps the hash of all of it.
  singlePutBytes: 100 * 1024 * 1024,
  partBytes: 16 * 1024 * 1024,
  atOnce: 4,
  rivalsMs: 15_000,
};
