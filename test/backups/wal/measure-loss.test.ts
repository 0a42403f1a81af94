import { expect, test } from 'vitest';
import { lossOf } from '../../../server/backups/wal/measure-loss.ts';
import type { PointInTimeStatus, TargetShipping } from '../../../server/backups/wal/schema.ts';

const now = new Date('2030-01-31T12:00:00Z');

/** A target whose newest moment is so old; none when absent. */
function targetOf(name: string, ageSeconds: number | undefined, sameDisk = false): TargetShipping {
  const to = new Date(now.getTime() - (ageSeconds ?? 0) * 1000).toISOString();
  const window = { from: '2030-01-30T00:00:00.000Z', to, fromLsn: '0/1', toLsn: '0/2', bases: [] };
  return {
    ...{ targetId: name, name, location: name, state: 'shipping', since: null, completeAt: null },
    ...{ lagSeconds: null, worstDaySeconds: null, worstWeekSeconds: null, sameDisk, late: false },
    ...{ pendingBytes: 0, pieces: 1, storedBytes: 1, needsBase: false, gaps: [], problem: null },
    windows: ageSeconds === undefined ? [] : [window],
    coveredUntil: ageSeconds === undefined ? null : to,
  };
}

function statusOf(targets: TargetShipping[], enabled = true): PointInTimeStatus {
  return {
    ...{ enabled, windowDays: 7, objectiveSeconds: 300, pileLimitBytes: null },
    ...{ pileLimitInForceBytes: 1, changedAt: null, targets },
  };
}

test('what is not shipped is not measured, whatever was shipped before', () => {
  expect(lossOf(statusOf([targetOf('a', 5)], false), now)).toMatchObject({ state: 'off', seconds: null });
});

test('a target without a moment measures nothing', () => {
  expect(lossOf(statusOf([targetOf('a', undefined)]), now)).toMatchObject({
    ...{ state: 'nothing-yet', seconds: null, targetName: null },
  });
});

test('the target that could restore the newest moment counts', () => {
  const loss = lossOf(statusOf([targetOf('slow', 500), targetOf('quick', 20)]), now);

  expect(loss).toMatchObject({ state: 'measured', seconds: 20, targetName: 'quick', objectiveSeconds: 300 });
});

test('what lies on the same disk counts only where there is nothing else', () => {
  const beside = targetOf('beside', 1, true);

  expect(lossOf(statusOf([beside, targetOf('away', 90)]), now)).toMatchObject({
    ...{ seconds: 90, targetName: 'away', sameDisk: false },
  });
  expect(lossOf(statusOf([beside]), now)).toMatchObject({ seconds: 1, sameDisk: true });
});

test('time in which the database was off has put nothing at risk', () => {
  const [second, hour] = [1_000, 3_600_000];
  const at = now.getTime();
  const overnight = { fromMs: at - 12 * hour, toMs: at - 10 * second };
  const before = { fromMs: at - 20 * hour, toMs: at - 19 * hour };

  const loss = lossOf(statusOf([targetOf('away', 12 * 3600 + 40)]), now, [before, overnight]);

  expect(loss).toMatchObject({ state: 'measured', seconds: 50 });
});
