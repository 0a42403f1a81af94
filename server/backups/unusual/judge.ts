/** Whether a snapshot holds much less or much more than those before it, source by source. Pure. */

export interface SourceSize {
  name: string;
  fileCount: number;
  sizeBytes: number;
}

/** Null: that way nothing is unusual. */
export interface SizeLimits {
  shrinkPercent: number | null;
  growthPercent: number | null;
  /** What changes by less is not unusual, however small the source is. */
  leastFiles: number;
  leastBytes: number;
}

export interface Unusual {
  source: string;
  what: 'files' | 'bytes';
  /** The median of those before. */
  usual: number;
  found: number;
  /** Negative: less. */
  percent: number;
}

/** From so few on it is known what a usual size is; a loss is told from the first on. */
const FEWEST_FOR_GROWTH = 3;

/** @param before the newest ones before it, in any order. */
export function judge(
  sources: readonly SourceSize[],
  before: readonly (readonly SourceSize[])[],
  limits: SizeLimits,
): Unusual[] {
  if (before.length === 0) return [];
  const names = new Set(before.flatMap((one) => one.map(({ name }) => name)));
  return [...names].sort().flatMap((name) => {
    const seen = before.flatMap((one) => one.find((source) => source.name === name) ?? []);
    // One that most of them do not have may come and go.
    if (seen.length * 2 <= before.length) return [];
    const now = sources.find((source) => source.name === name) ?? { name, fileCount: 0, sizeBytes: 0 };
    return [
      compare(
        name,
        'files',
        now.fileCount,
        seen.map(({ fileCount }) => fileCount),
        limits,
      ),
      compare(
        name,
        'bytes',
        now.sizeBytes,
        seen.map(({ sizeBytes }) => sizeBytes),
        limits,
      ),
    ].flat();
  });
}

function compare(
  source: string,
  what: Unusual['what'],
  found: number,
  before: readonly number[],
  limits: SizeLimits,
): Unusual[] {
  const usual = median(before);
  const least = what === 'files' ? limits.leastFiles : limits.leastBytes;
  if (usual === 0 || Math.abs(found - usual) < least) return [];
  const percent = Math.round(((found - usual) / usual) * 100);
  const { shrinkPercent: shrink, growthPercent: growth } = limits;
  const less = shrink !== null && (usual - found) * 100 >= usual * shrink;
  const more =
    growth !== null && before.length >= FEWEST_FOR_GROWTH && (found - usual) * 100 >= usual * growth;
  return less || more ? [{ source, what, usual, found, percent }] : [];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? high : Math.round(((sorted[middle - 1] ?? high) + high) / 2);
}

export const isShrink = (unusual: readonly Unusual[]): boolean => unusual.some(({ percent }) => percent < 0);

/** `files: 40 files instead of 120 (-67 %)`, the strongest first. */
export function tellUnusual(unusual: readonly Unusual[]): string {
  const size = (what: Unusual['what'], value: number) =>
    what === 'files'
      ? `${value.toLocaleString('en-GB')} file${value === 1 ? '' : 's'}`
      : `${(value / 1024 ** 2).toFixed(1)} MiB`;
  return [...unusual]
    .sort((a, b) => a.percent - b.percent)
    .map((one) => {
      const sign = one.percent > 0 ? '+' : '−';
      const [found, usual] = [size(one.what, one.found), size(one.what, one.usual)];
      return `${one.source}: ${found} instead of about ${usual} (${sign}${Math.abs(one.percent)} %)`;
    })
    .join('; ');
}
