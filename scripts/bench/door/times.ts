/** Milliseconds of many runs, shortest first. */
export function summary(times: readonly number[]): string {
  const sorted = [...times].sort((one, other) => one - other);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return `p50 ${at(0.5).toFixed(2)}  p99 ${at(0.99).toFixed(2)}  longest ${at(1).toFixed(2)} ms  (${sorted.length})`;
}

export function median(times: readonly number[]): number {
  return [...times].sort((one, other) => one - other)[Math.floor(times.length / 2)] ?? 0;
}
