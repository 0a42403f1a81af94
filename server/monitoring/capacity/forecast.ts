/** From figures over time to what they mean: how full it is, and when it will be. Pure. */

export interface Point {
  at: Date;
  usedBytes: number;
}

/** Percent in use from which it is said, worse each time. At the last one new files are refused. */
const FULL_PERCENT = [80, 90, 95] as const;
/** Days until it is full from which it is said. */
const FULL_DAYS = [30, 7] as const;
/** A level that is reached is left when it is this much better: what goes up and down by a little is said once. */
const SLACK_PERCENT = 2;
const SLACK_DAYS = [5, 2] as const;

const DAY_MS = 86_400_000;
const LOOKED_AT_DAYS = 30;
const FEWEST_DAYS = 7;
/** Further away nothing can be said. */
const MOST_DAYS = 3650;

/** 0 for well, then one for each of the limits. */
export function levelOf(percent: number, before: number): number {
  const reached = FULL_PERCENT.filter((limit) => percent >= limit).length;
  const held = FULL_PERCENT.slice(0, before).filter((limit) => percent >= limit - SLACK_PERCENT).length;
  return Math.max(reached, held);
}

export function forecastLevelOf(days: number | null, before: number): number {
  if (days === null) return 0;
  const reached = FULL_DAYS.filter((limit) => days < limit).length;
  const held = FULL_DAYS.slice(0, before).filter(
    (limit, index) => days < limit + (SLACK_DAYS[index] ?? 0),
  ).length;
  return Math.max(reached, held);
}

export type Forecast =
  | { state: 'full-in'; days: number }
  /** It does not grow, or so slowly that nobody knows. */
  | { state: 'not-growing' }
  /** Fewer than seven days are known. */
  | { state: 'too-early' }
  /** How much room there is is not known. */
  | { state: 'no-limit' };

/** A straight line through the last thirty days, by the last figure of each. */
export function forecast(points: readonly Point[], freeBytes: number | null, now: Date): Forecast {
  if (freeBytes === null) return { state: 'no-limit' };
  const from = now.getTime() - LOOKED_AT_DAYS * DAY_MS;
  const days = new Map<number, { x: number; y: number }>();
  for (const { at, usedBytes } of [...points].sort((a, b) => a.at.getTime() - b.at.getTime())) {
    if (at.getTime() < from || at > now) continue;
    days.set(Math.floor(at.getTime() / DAY_MS), { x: (at.getTime() - from) / DAY_MS, y: usedBytes });
  }
  const all = [...days.values()];
  const [first, last] = [all[0], all.at(-1)];
  if (first === undefined || last === undefined || last.x - first.x < FEWEST_DAYS)
    return { state: 'too-early' };
  const perDay = slopeOf(all);
  const left = freeBytes / perDay;
  if (perDay <= 0 || left > MOST_DAYS) return { state: 'not-growing' };
  return { state: 'full-in', days: Math.max(0, Math.floor(left)) };
}

/** Least squares. */
function slopeOf(points: readonly { x: number; y: number }[]): number {
  const count = points.length;
  const [x, y] = [sum(points.map((one) => one.x)) / count, sum(points.map((one) => one.y)) / count];
  const above = sum(points.map((one) => (one.x - x) * (one.y - y)));
  const below = sum(points.map((one) => (one.x - x) ** 2));
  return below === 0 ? 0 : above / below;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
