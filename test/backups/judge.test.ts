/** Whether the size of a snapshot is unusual. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isShrink, judge, tellUnusual, type SizeLimits } from '../../server/backups/unusual/judge.ts';

const MIB = 1024 ** 2;
const LIMITS: SizeLimits = { shrinkPercent: 30, growthPercent: 100, leastFiles: 50, leastBytes: 32 * MIB };
const files = (fileCount: number, sizeBytes = fileCount * MIB) => [{ name: 'files', fileCount, sizeBytes }];

describe('a snapshot', () => {
  test('is unusual from the limit on, and not a file before', () => {
    const before = [files(1000), files(1010), files(990)];

    expect(judge(files(701, 1000 * MIB), before, LIMITS)).toEqual([]);
    expect(judge(files(700, 1000 * MIB), before, LIMITS)).toEqual([
      { source: 'files', what: 'files', usual: 1000, found: 700, percent: -30 },
    ]);
    expect(judge(files(1999, 1999 * MIB), before, LIMITS)).toEqual([]);
    expect(judge(files(2000, 1000 * MIB), before, LIMITS)).toMatchObject([{ what: 'files', percent: 100 }]);
  });

  test('that lost half its bytes and no file is unusual', () => {
    expect(judge(files(1000, 500 * MIB), [files(1000)], LIMITS)).toMatchObject([
      { what: 'bytes', percent: -50 },
    ]);
  });

  test('is compared with the median: one outlier before changes nothing', () => {
    expect(judge(files(1000), [files(1000), files(1000), files(9000)], LIMITS)).toEqual([]);
  });

  test('small as it is, is not unusual for a few files or bytes', () => {
    expect(judge(files(1, 10), [files(40, 10)], LIMITS)).toEqual([]);
  });

  test('without a whole source that the others have lost it', () => {
    const found = judge([], [files(100), files(100)], LIMITS);

    expect(isShrink(found)).toBe(true);
    expect(tellUnusual(found)).toBe(
      'files: 0 files instead of about 100 files (−100 %); files: 0.0 MiB instead of about 100.0 MiB (−100 %)',
    );
  });

  test('without one that few of the others have is not unusual', () => {
    expect(judge([], [files(100), [], []], LIMITS)).toEqual([]);
  });

  test('grows unnoticed while nobody knows what is usual, and shrinks noticed from the first on', () => {
    expect(judge(files(5000), [files(100), files(100)], LIMITS)).toEqual([]);
    expect(judge(files(10), [files(100)], LIMITS)).not.toEqual([]);
    expect(judge(files(10), [], LIMITS)).toEqual([]);
  });

  test('is never unusual without limits', () => {
    const none = { ...LIMITS, shrinkPercent: null, growthPercent: null };

    expect(judge(files(1), [files(1000), files(1000), files(1000)], none)).toEqual([]);
  });
});

test('the order of those before does not matter, and what is as it was is never unusual', () => {
  const sizes = fc.array(fc.nat(100_000), { minLength: 1, maxLength: 7 });
  fc.assert(
    fc.property(sizes, fc.nat(100_000), (before, now) => {
      const lists = before.map((count) => files(count));
      expect(judge(files(now), lists.toReversed(), LIMITS)).toEqual(judge(files(now), lists, LIMITS));
      const same = lists.map(() => files(now));
      expect(judge(files(now), same, LIMITS)).toEqual([]);
    }),
  );
});
