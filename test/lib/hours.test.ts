/** Hours of the week in which work may begin: over midnight, and where clocks are set forward and back. */
import { describe, expect, test } from 'vitest';
import { checkWorkHours, mayBegin, tellWait, waitsUntil, type WorkHours } from '../../server/lib/hours.ts';

const ALL = [1, 2, 3, 4, 5, 6, 7];
const hours = (from: string, to: string, days = ALL, timeZone = 'UTC'): WorkHours => ({
  windows: [{ from, to, days }],
  timeZone,
});
const at = (instant: string) => new Date(instant);
const until = (when: WorkHours | null, instant: string) =>
  waitsUntil(when, at(instant))?.toISOString() ?? null;

describe('work', () => {
  // From Friday night into Saturday, and all of Sunday.
  const several: WorkHours = {
    windows: [
      { from: '22:00', to: '06:00', days: [5] },
      { from: '00:00', to: '00:00', days: [7] },
    ],
    timeZone: 'Europe/Zurich',
  };
  test.each([
    // 2026-11-27 is a Friday; Zurich is an hour ahead in winter.
    ['2026-11-27T20:59:00Z', '2026-11-27T21:00:00.000Z'],
    ['2026-11-27T21:00:00Z', null],
    ['2026-11-28T04:59:00Z', null],
    ['2026-11-28T05:00:00Z', '2026-11-28T23:00:00.000Z'],
    ['2026-11-29T22:59:00Z', null],
    ['2026-11-29T23:00:00Z', '2026-12-04T21:00:00.000Z'],
  ])('at %s waits until %s', (instant, then) => {
    expect(until(several, instant)).toBe(then);
    expect(mayBegin(several, at(instant))).toBe(then === null);
  });

  test('without hours begins at any time', () => {
    expect(mayBegin(null, at('2026-11-27T20:59:00Z'))).toBe(true);
    expect(until(null, '2026-11-27T20:59:00Z')).toBeNull();
    expect(tellWait(null, at('2026-11-27T20:59:00Z'))).toBeUndefined();
  });

  test('says until when it waits', () => {
    expect(tellWait(several, at('2026-11-27T12:00:00Z'))).toBe(
      'it waits for its hours, until 2026-11-27 21:00 UTC',
    );
  });
});

describe('in Zurich', () => {
  const night = hours('01:30', '04:00', ALL, 'Europe/Zurich');

  test('a night is an hour shorter where clocks are set forward', () => {
    // On 28 March 2027, 02:00 is 03:00.
    expect(until(night, '2027-03-28T00:29:00Z')).toBe('2027-03-28T00:30:00.000Z');
    expect(mayBegin(night, at('2027-03-28T01:59:00Z'))).toBe(true);
    expect(mayBegin(night, at('2027-03-28T02:00:00Z'))).toBe(false);
  });

  test('hours that do not exist in a night come with the next', () => {
    const skipped = hours('02:00', '03:00', ALL, 'Europe/Zurich');
    for (let minute = 0; minute < 120; minute += 5) {
      const now = new Date(Date.UTC(2027, 2, 28, 0, 30 + minute));
      expect(mayBegin(skipped, now)).toBe(false);
    }
    expect(until(skipped, '2027-03-28T00:30:00Z')).toBe('2027-03-29T00:00:00.000Z');
  });

  test('the hour that comes twice counts twice', () => {
    // On 31 October 2027, 03:00 is 02:00 again.
    const twice = hours('02:00', '03:00', ALL, 'Europe/Zurich');
    expect(
      ['00:00', '00:59', '01:00', '01:59'].map((time) => mayBegin(twice, at(`2027-10-31T${time}:00Z`))),
    ).toEqual([true, true, true, true]);
    expect(mayBegin(twice, at('2027-10-31T02:00:00Z'))).toBe(false);
  });

  test('over midnight the night is as long as its clock says, whichever day it is', () => {
    const weekend = hours('22:00', '06:00', [6], 'Europe/Zurich');
    // Saturday 27 March 2027, 22:00 (still winter) to Sunday 06:00 (summer already): seven hours.
    expect(mayBegin(weekend, at('2027-03-27T21:00:00Z'))).toBe(true);
    expect(mayBegin(weekend, at('2027-03-28T03:59:00Z'))).toBe(true);
    expect(mayBegin(weekend, at('2027-03-28T04:00:00Z'))).toBe(false);
  });
});

test.each([
  [hours('02:00', '02:59'), /less than an hour/],
  [hours('23:30', '00:29'), /less than an hour/],
  [hours('01:00', '05:00', ALL, 'Europe/Nowhere'), /no time zone Europe\/Nowhere/],
])('what makes no sense is refused, with a reason', (wrong, reason) => {
  expect(() => checkWorkHours(wrong)).toThrow(reason);
});

test.each([hours('02:00', '03:00'), hours('23:30', '00:30'), hours('07:00', '07:00')])(
  'an hour, also over midnight, and a whole day are taken',
  (fine) => {
    expect(() => checkWorkHours(fine)).not.toThrow();
  },
);
