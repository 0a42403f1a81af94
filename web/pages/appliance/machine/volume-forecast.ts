/** When a volume will be full, told from how its content grew. Pure. */
const MONTH_MS = 30 * 86_400_000;
const HORIZON_MS = 10 * 365 * 86_400_000;
/** Less than a day of samples says nothing about months. */
const LEAST_SPAN_MS = 86_400_000;

/**
 * By the straight line that fits the last month best.
 *
 * @returns an instant; undefined when it does not grow, or not within ten years, or too little is known.
 */
export function fullOn(
  points: readonly { at: string; value: number }[],
  freeBytes: number,
): string | undefined {
  const samples = points.map(({ at, value }) => ({ at: Date.parse(at), value }));
  const newest = Math.max(...samples.map((sample) => sample.at));
  const recent = samples.filter((sample) => newest - sample.at <= MONTH_MS);
  const span = newest - Math.min(...recent.map((sample) => sample.at));
  if (recent.length < 2 || span < LEAST_SPAN_MS) return undefined;
  const middle = recent.reduce((sum, one) => sum + one.at, 0) / recent.length;
  const level = recent.reduce((sum, one) => sum + one.value, 0) / recent.length;
  const rise = recent.reduce((sum, one) => sum + (one.at - middle) * (one.value - level), 0);
  const run = recent.reduce((sum, one) => sum + (one.at - middle) ** 2, 0);
  const bytesPerMs = rise / run;
  if (bytesPerMs <= 0 || freeBytes / bytesPerMs > HORIZON_MS) return undefined;
  return new Date(newest + freeBytes / bytesPerMs).toISOString();
}
