/** How much of a cycle is owed when, without a database. */
import { describe, expect, test } from 'vitest';
import { DAY_MS, deadlineOf, goOn, owedParts, type Cycle } from '../../server/backups/read-back/cycle.ts';

const START = new Date('2026-03-01T03:00:00Z');
const day = (days: number, minutes = 0) => new Date(START.getTime() + days * DAY_MS + minutes * 60_000);
const begun = (done: number, parts = 30): Cycle => ({ parts, done, startedAt: START });

describe('owed', () => {
  test('is a part a day, also when a run begins some minutes early or late', () => {
    for (const minutes of [-20, 0, 20]) {
      for (let at = 1; at < 30; at++)
        expect(owedParts(begun(at), { now: day(at, minutes), nextDueAt: day(at + 1) })).toBe(1);
    }
  });

  test('is a part a day also when the appliance is on in the afternoon alone, long after the time of the schedule', () => {
    for (const hour of [1, 6, 12, 13, 18, 23]) {
      const afternoon = (days: number) => day(days, hour * 60);
      const cycle = { parts: 30, startedAt: afternoon(0) };
      for (let at = 1; at < 30; at++)
        expect(owedParts({ ...cycle, done: at }, { now: afternoon(at), nextDueAt: day(at + 1) })).toBe(1);
      expect(owedParts({ ...cycle, done: 1 }, { now: day(0, hour * 60 + 300), nextDueAt: day(1) })).toBe(0);
    }
  });

  test('is what was missed, and never more than there is', () => {
    expect(owedParts(begun(2), { now: day(5), nextDueAt: day(6) })).toBe(4);
    expect(owedParts(begun(2), { now: day(90), nextDueAt: day(91) })).toBe(28);
  });

  test('is nothing twice on a day, and a part when a cycle begins', () => {
    expect(owedParts(begun(1), { now: day(0, 60), nextDueAt: day(1) })).toBe(0);
    expect(owedParts({ parts: 30, done: 0, startedAt: null }, { now: day(0), nextDueAt: day(0, 60) })).toBe(
      1,
    );
  });

  test('falls due before the next time of a schedule that seldom runs', () => {
    let cycle: Cycle = { parts: 30, done: 0, startedAt: null };
    const read: number[] = [];
    for (let week = 0; cycle.done < cycle.parts; week++) {
      const now = day(7 * week);
      const owed = owedParts(cycle, { now, nextDueAt: day(7 * (week + 1)) });
      read.push(owed);
      cycle = { ...cycle, startedAt: cycle.startedAt ?? now, done: cycle.done + owed };
    }
    expect(read).toEqual([7, 7, 7, 7, 2]);
  });

  test('without a schedule is what has gone by', () => {
    expect(owedParts(begun(3), { now: day(3), nextDueAt: null })).toBe(0);
    expect(owedParts(begun(3), { now: day(4), nextDueAt: null })).toBe(1);
  });
});

test('parts of a cycle with another number of days do not count', () => {
  expect(goOn(begun(12), 30)).toEqual(begun(12));
  expect(goOn(begun(12), 10)).toEqual({ parts: 10, done: 0, startedAt: null });
  expect(goOn(undefined, 7)).toEqual({ parts: 7, done: 0, startedAt: null });
});

test('a cycle has its days and two more, from its first part or from when it was due', () => {
  expect(deadlineOf(begun(1, 7), day(40))).toEqual(day(9));
  expect(deadlineOf({ parts: 7, done: 0, startedAt: null }, day(40))).toEqual(day(49));
});
