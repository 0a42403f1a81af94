/** How fast something goes, smoothed over the last seconds, and how long it will take. */
export interface Rate {
  bytesPerSecond: number;
  /** Undefined while it cannot be said. */
  leftMs: number | undefined;
}

const WINDOW_MS = 8_000;

/** Give it every sample; it answers with the rate at that instant. */
export function createRateMeter(): (done: number, total: number | undefined, atMs: number) => Rate {
  let samples: { done: number; atMs: number }[] = [];
  return (done, total, atMs) => {
    samples = samples.filter((sample) => atMs - sample.atMs < WINDOW_MS && sample.done <= done);
    samples.push({ done, atMs });
    const first = samples[0] ?? { done, atMs };
    const elapsed = atMs - first.atMs;
    const bytesPerSecond = elapsed < 500 ? 0 : ((done - first.done) / elapsed) * 1000;
    const known = total !== undefined && total >= done && bytesPerSecond > 0;
    return { bytesPerSecond, leftMs: known ? ((total - done) / bytesPerSecond) * 1000 : undefined };
  };
}
