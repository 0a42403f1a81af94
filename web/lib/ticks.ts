/** Where the lines of a chart stand: round figures, three to six of them from nothing up to the largest value. */
const BYTE_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const SECOND_STEPS = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400,
];
const MOST = 5;

export function byteTicks(max: number): number[] {
  let unit = 1;
  while (max / unit >= 1024) unit *= 1024;
  return ticks(
    max,
    BYTE_STEPS.map((step) => step * unit),
    [unit / 4, unit / 2],
  );
}

export function durationTicks(maxMs: number): number[] {
  return ticks(
    maxMs,
    SECOND_STEPS.map((seconds) => seconds * 1000),
    [],
  );
}

/** @param fine steps below the usual ones, for a value just above one of a unit. */
function ticks(max: number, usual: readonly number[], fine: readonly number[]): number[] {
  const step =
    [...fine, ...usual].find((one) => max / one <= MOST) ??
    10 ** Math.ceil(Math.log10(Math.max(1, max / MOST)));
  return Array.from({ length: Math.max(1, Math.ceil(max / step)) + 1 }, (_, index) => index * step);
}
