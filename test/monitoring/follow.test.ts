/** How an alert goes on from one look to the next. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CLEAR_MS,
  follow,
  WAIT_MS,
  type AlertEvent,
  type Condition,
  type OpenAlert,
} from '../../server/monitoring/follow.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = Date.parse('2026-11-23T00:00:00Z');
const SETTINGS = { remindHours: 24 };

const bad: Condition = { name: 'snapshots', state: 'bad', message: 'Not taken', hint: null };
const warn: Condition = { ...bad, state: 'warn' };

/** A look each minute; told as if everything were mailed. @returns events with the minute at which each came. */
function watch(
  looks: readonly (Condition | undefined)[],
  between: (alert: OpenAlert, minute: number) => OpenAlert = (alert) => alert,
): { events: [AlertEvent, number][]; alert: OpenAlert | undefined } {
  let alert: OpenAlert | undefined;
  const events: [AlertEvent, number][] = [];
  for (const [minute, condition] of looks.entries()) {
    const now = new Date(START + minute * MINUTE);
    const step = follow(alert, condition, now, SETTINGS);
    alert = step?.alert ?? undefined;
    if (alert !== undefined && step?.event !== undefined) {
      events.push([step.event, minute]);
      alert = step.event === 'ended' ? undefined : { ...alert, told: alert.told + 1, toldAt: now };
    }
    if (alert !== undefined) alert = between(alert, minute);
  }
  return { events, alert };
}

const minutes = (count: number, condition: Condition | undefined) =>
  Array<typeof condition>(count).fill(condition);

describe('raising', () => {
  test('waits until it was found at every look for a while, longer for a warning', () => {
    expect(watch(minutes(60, bad)).events).toEqual([['raised', WAIT_MS.bad / MINUTE]]);
    expect(watch(minutes(60, warn)).events).toEqual([['raised', WAIT_MS.warn / MINUTE]]);
  });

  test('forgets what went by itself before anybody was told', () => {
    const flapping = Array.from({ length: 40 }, () => [...minutes(2, bad), undefined]).flat();

    expect(watch(flapping)).toEqual({ events: [], alert: undefined });
  });
});

describe('ending', () => {
  test('waits until it was well at every look for a while', () => {
    const { events, alert } = watch([...minutes(10, bad), ...minutes(30, undefined)]);

    expect(events).toEqual([
      ['raised', 3],
      ['ended', 10 + CLEAR_MS / MINUTE],
    ]);
    expect(alert).toBeUndefined();
  });

  test('does not come where it falls back in between', () => {
    const looks = [
      ...minutes(10, bad),
      ...minutes(8, undefined),
      ...minutes(2, bad),
      ...minutes(8, undefined),
    ];

    expect(watch(looks).events).toEqual([['raised', 3]]);
  });
});

describe('reminders', () => {
  test('come daily for what is bad, weekly for a warning', () => {
    expect(
      watch(minutes(3 * 24 * 60, bad)).events.map(([event, at]) => [event, Math.floor(at / 60)]),
    ).toEqual([
      ['raised', 0],
      ['reminded', 24],
      ['reminded', 48],
    ]);
    expect(watch(minutes(8 * 24 * 60, warn)).events.map(([event]) => event)).toEqual(['raised', 'reminded']);
  });

  test('stay away while somebody takes care of it, and come again after', () => {
    const until = new Date(START + 60 * HOUR);
    const { events } = watch(minutes(70 * 60, bad), (alert, minute) =>
      minute === 60 ? { ...alert, acknowledgedAt: new Date(START + HOUR), silentUntil: until } : alert,
    );

    expect(events).toEqual([
      ['raised', 3],
      ['reminded', 60 * 60],
    ]);
  });

  test('what gets worse is told at once, also to who took care of the milder one', () => {
    const { events, alert } = watch([...minutes(60, warn), ...minutes(5, bad)], (one, minute) =>
      minute === 40
        ? { ...one, acknowledgedAt: new Date(START), silentUntil: new Date(START + 100 * HOUR) }
        : one,
    );

    expect(events).toEqual([
      ['raised', 30],
      ['worsened', 60],
    ]);
    expect(alert).toMatchObject({ acknowledgedAt: null, silentUntil: null });
  });
});

test('a clock that was set back far does not keep it quiet', () => {
  const raised = watch(minutes(5, bad)).alert;
  const step = follow(raised, bad, new Date(START - 365 * 24 * HOUR), SETTINGS);

  expect(step?.event).toBe('reminded');
});

test('whatever comes and goes: raised before ended, ended before raised again, and never silent for more than a day while bad', () => {
  const looks = fc.array(fc.tuple(fc.constantFrom(undefined, warn, bad), fc.integer({ min: 1, max: 600 })), {
    maxLength: 12,
  });
  fc.assert(
    fc.property(looks, (parts) => {
      const all = parts.flatMap(([condition, count]) => minutes(count, condition));
      const { events } = watch(all);
      let open = false;
      let last = 0;
      for (const [event, at] of events) {
        if (event === 'raised') expect(open).toBe(false);
        else expect(open).toBe(true);
        if (event === 'reminded') expect(at - last).toBeGreaterThanOrEqual(24 * 60);
        open = event !== 'ended';
        last = at;
      }
      const badFor = all.length - 1 - all.findLastIndex((condition) => condition?.state !== 'bad');
      if (badFor > WAIT_MS.bad / MINUTE) expect(open).toBe(true);
    }),
  );
});
