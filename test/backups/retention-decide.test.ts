/** What a policy keeps: examples with their reasons, and what holds whatever the snapshots, the policy and the clock are. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decide, type RetainedSnapshot } from '../../server/backups/retention/decide.ts';
import { periodNamer, PERIODS } from '../../server/backups/retention/periods.ts';
import { checkPolicy, type RetentionRules } from '../../server/backups/retention/policy.ts';
import { KEEP_EVERYTHING, PROPOSED_POLICY, tellPolicy } from '../../server/backups/retention/policy-words.ts';
import { weigh, whyAsk } from '../../server/backups/retention/weigh.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW = new Date('2026-11-20T12:00:00Z');
const NOTHING: RetentionRules = {
  kind: 'rules',
  ...{ last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
  ...{ minimumCount: 1, maximumAgeDays: null, timeZone: 'UTC' },
};

function snapshot(number: number, takenAt: string | Date, more: Partial<RetainedSnapshot> = {}) {
  const id = String(number).padStart(64, '0');
  const made: RetainedSnapshot = {
    ...{ id, number, takenAt: new Date(takenAt), state: 'stored', proof: null, hold: null },
    ...more,
  };
  return made;
}

/** One a day at 02:00, the last on the day of NOW. */
const daily = (count: number, more: (number: number) => Partial<RetainedSnapshot> = () => ({})) =>
  Array.from({ length: count }, (_, at) =>
    snapshot(at + 1, new Date(Date.parse('2026-11-20T02:00:00Z') - (count - 1 - at) * DAY_MS), more(at + 1)),
  );

const kept = (decisions: ReturnType<typeof decide>) =>
  decisions.filter((one) => one.keep).map((one) => one.snapshot.number);
const reasonsOf = (decisions: ReturnType<typeof decide>, number: number) =>
  decisions.find((one) => one.snapshot.number === number)?.reasons;

describe('what is kept, and why', () => {
  test('the newest of each period, in the time zone of the policy', () => {
    const policy = { ...NOTHING, daily: 2, weekly: 2, monthly: 2 };

    const decisions = decide(daily(40), policy, { now: NOW });

    expect(kept(decisions)).toEqual([40, 39, 35, 20]);
    expect(reasonsOf(decisions, 40)).toEqual([
      'the minimum of 1',
      'newest of day 2026-11-20',
      'newest of week 2026-W47',
      'newest of month 2026-11',
    ]);
    expect(reasonsOf(decisions, 35)).toEqual(['newest of week 2026-W46']);
    expect(reasonsOf(decisions, 20)).toEqual(['newest of month 2026-10']);
    expect(reasonsOf(decisions, 1)).toEqual(['no rule keeps it']);
  });

  test('a day begins when it does in the time zone', () => {
    const two = [snapshot(1, '2026-11-19T23:30:00Z'), snapshot(2, '2026-11-20T02:00:00Z')];

    expect(kept(decide(two, { ...NOTHING, daily: 2 }, { now: NOW }))).toEqual([2, 1]);
    expect(kept(decide(two, { ...NOTHING, daily: 2, timeZone: 'Europe/Zurich' }, { now: NOW }))).toEqual([2]);
  });

  test('weeks follow ISO 8601 around the new year, and the hour that comes twice is two', () => {
    const name = periodNamer('Europe/Zurich');

    expect(name('weekly', new Date('2027-01-03T12:00:00Z'))).toBe('week 2026-W53');
    expect(name('weekly', new Date('2027-01-04T12:00:00Z'))).toBe('week 2027-W01');
    expect(name('weekly', new Date('2024-12-30T12:00:00Z'))).toBe('week 2025-W01');
    expect(name('hourly', new Date('2026-10-25T00:30:00Z'))).toBe('hour 2026-10-25 02:00 GMT+02:00');
    expect(name('hourly', new Date('2026-10-25T01:30:00Z'))).toBe('hour 2026-10-25 02:00 GMT+01:00');
  });

  test('a hold outranks the maximum age; the last ones wait beyond it until people agree', () => {
    const policy = { ...NOTHING, last: 9, minimumCount: 2, maximumAgeDays: 30 };
    const old = [
      snapshot(1, '2026-01-01T00:00:00Z', { hold: { reason: 'litigation' } }),
      snapshot(2, '2026-01-02T00:00:00Z', { proof: 'data-proven' }),
      snapshot(3, '2026-01-03T00:00:00Z'),
      snapshot(4, '2026-01-04T00:00:00Z'),
      snapshot(5, '2026-01-05T00:00:00Z'),
    ];

    const decisions = decide(old, policy, { now: NOW });

    expect(kept(decisions)).toEqual([5, 4, 2, 1]);
    expect(reasonsOf(decisions, 1)).toEqual(['under legal hold: litigation']);
    expect(reasonsOf(decisions, 2)).toEqual([
      'last that a restore test proved',
      'older than the maximum age of 30 days: goes when people agree',
    ]);
    expect(reasonsOf(decisions, 3)).toEqual(['older than the maximum age of 30 days']);
    expect(decisions.filter((one) => one.overdue).map((one) => one.snapshot.number)).toEqual([5, 4, 2]);
    const agreed = new Set(old.map((one) => one.id));
    expect(kept(decide(old, policy, { now: NOW, agreed }))).toEqual([1]);
  });

  test('a partial one takes no place of a whole one, neither in a period nor in the minimum', () => {
    const some = [
      snapshot(1, '2026-11-18T02:00:00Z'),
      snapshot(2, '2026-11-19T02:00:00Z'),
      snapshot(3, '2026-11-19T12:00:00Z', { state: 'partial' }),
      snapshot(4, '2026-11-20T02:00:00Z', { state: 'partial' }),
    ];

    expect(kept(decide(some, { ...NOTHING, daily: 1, minimumCount: 2 }, { now: NOW }))).toEqual([4, 2, 1]);
    expect(kept(decide(some, { ...NOTHING, minimumCount: 3 }, { now: NOW }))).toEqual([4, 2, 1]);
  });

  test('one from the future is kept, and takes no place until the clock has passed it', () => {
    const some = [snapshot(1, '2031-01-01T00:00:00Z'), snapshot(2, '2026-11-20T02:00:00Z')];

    const decisions = decide(some, { ...NOTHING, yearly: 1 }, { now: NOW });

    expect(kept(decisions)).toEqual([2, 1]);
    expect(reasonsOf(decisions, 1)).toEqual([
      'its time is in the future: kept until the clock has passed it',
    ]);
  });

  test('when backups stop, or the clock jumps ahead by years, only the maximum age notices', () => {
    const years = new Date(NOW.getTime() + 5 * 365 * DAY_MS);
    const ageless = { ...PROPOSED_POLICY, maximumAgeDays: null };

    const before = decide(daily(60), ageless, { now: NOW });
    const after = decide(daily(60), ageless, { now: years });
    const aged = decide(daily(60), PROPOSED_POLICY, { now: years });

    expect(kept(after)).toEqual(kept(before));
    expect(kept(aged)).toEqual([60, 59, 58]);
    expect(whyAsk(aged)).toBe('It would remove 57 of 60 snapshots at once');
  });

  test('keep everything keeps everything', () => {
    expect(kept(decide(daily(500), KEEP_EVERYTHING, { now: NOW }))).toHaveLength(500);
  });
});

describe('when people are asked', () => {
  test('not for one of two, but for more than half, all that are proven, and half in small steps', () => {
    const last = (count: number) => ({ ...NOTHING, last: count });
    const of = (count: number, policy: RetentionRules) => decide(daily(count), policy, { now: NOW });

    expect(whyAsk(of(2, last(1)))).toBeUndefined();
    expect(whyAsk(of(3, last(1)))).toBe('It would remove 2 of 3 snapshots at once');
    expect(whyAsk(of(10, last(6)))).toBeUndefined();
    expect(whyAsk(of(10, last(6)), 13)).toBe('It would leave 6 of the 13 snapshots of the last days');
    expect(whyAsk(of(10, last(10)), 100)).toBeUndefined();
    const proven = daily(4, (number) => ({ proof: number === 1 ? 'data-proven' : null }));
    const goes = decide(proven, last(4), { now: NOW }).map((one) =>
      one.snapshot.number === 1 ? { ...one, keep: false } : one,
    );
    expect(whyAsk(goes)).toBe('It would remove every snapshot that a restore test has proven');
    expect(whyAsk(goes.map((one) => ({ ...one, keep: false })))).toBe(
      'It would remove every snapshot of this target',
    );
  });
});

describe('a policy', () => {
  test('with a time zone that does not exist, or rules that void each other, is refused', () => {
    expect(() => checkPolicy({ ...NOTHING, timeZone: 'Mars/Olympus' })).toThrow(/no time zone/);
    expect(() => checkPolicy({ ...NOTHING, withinDays: 31, maximumAgeDays: 30 })).toThrow(/30 days/);
    expect(() => checkPolicy(PROPOSED_POLICY)).not.toThrow();
  });

  test('reads as a sentence', () => {
    expect(tellPolicy(PROPOSED_POLICY)).toBe(
      'Kept are the last 3, all of 7 days, 30 daily, 12 weekly, 6 monthly; at least 3, nothing older than 180 days; logs and configuration for 30 days (UTC).',
    );
  });
});

describe('whatever the snapshots, the policy and the clock', () => {
  const small = fc.nat({ max: 6 });
  const policies: fc.Arbitrary<RetentionRules> = fc.record({
    kind: fc.constant('rules' as const),
    ...{ last: small, hourly: small, daily: small, weekly: small, monthly: small, yearly: small },
    withinDays: fc.nat({ max: 60 }),
    minimumCount: fc.integer({ min: 1, max: 8 }),
    maximumAgeDays: fc.option(fc.integer({ min: 1, max: 400 })),
    timeZone: fc.constantFrom('UTC', 'Europe/Zurich', 'Asia/Kolkata', 'America/St_Johns', 'Pacific/Apia'),
  });
  /** Minutes around NOW: three years back, and clocks that were wrong by up to a year ahead. */
  const minutes = fc.integer({ min: -3 * 365 * 1440, max: 365 * 1440 });
  const lists = fc
    .array(
      fc.record({
        at: fc.oneof(minutes, fc.integer({ min: -20 * 1440, max: 0 })),
        state: fc.constantFrom('stored' as const, 'stored' as const, 'partial' as const),
        proof: fc.constantFrom(null, null, null, 'data-proven' as const, 'kit-proven' as const),
        hold: fc.constantFrom(null, null, null, null, { reason: 'litigation' }),
      }),
      { maxLength: 40 },
    )
    .map((rows) =>
      rows.map(({ at, ...row }, index) => snapshot(index + 1, new Date(NOW.getTime() + at * 60_000), row)),
    );
  const nows = minutes.map((at) => new Date(NOW.getTime() + at * 60_000));
  const numbers = (decisions: ReturnType<typeof decide>) => new Set(kept(decisions));
  const RUNS = { numRuns: 400 };

  test('what is held, the last proven and the minimum stay, and each decision has its reason', () => {
    fc.assert(
      fc.property(lists, policies, nows, (list, policy, now) => {
        const decisions = decide(list, policy, { now });
        const keeps = numbers(decisions);
        const whole = list.filter((one) => one.state === 'stored').map((one) => one.number);

        expect(decisions).toHaveLength(list.length);
        for (const one of list) if (one.hold !== null) expect(keeps).toContain(one.number);
        expect(keeps.size).toBeGreaterThanOrEqual(Math.min(policy.minimumCount, list.length));
        for (const one of whole.slice(-policy.minimumCount)) expect(keeps).toContain(one);
        const proven = list.findLast((one) => one.proof !== null);
        if (proven !== undefined) expect(keeps).toContain(proven.number);
        const byKit = list.findLast((one) => one.proof === 'kit-proven');
        if (byKit !== undefined) expect(keeps).toContain(byKit.number);
        for (const one of decisions) expect(one.reasons.length).toBeGreaterThan(0);
      }),
      RUNS,
    );
  });

  test('nothing older than the maximum age stays but what is held, or waits for people as overdue', () => {
    fc.assert(
      fc.property(lists, policies, nows, (list, policy, now) => {
        if (policy.maximumAgeDays === null) return;
        const limit = now.getTime() - policy.maximumAgeDays * DAY_MS;
        const agreed = new Set(list.map((one) => one.id));

        for (const one of decide(list, policy, { now })) {
          if (one.keep && one.snapshot.takenAt.getTime() < limit)
            expect(one.overdue || one.snapshot.hold !== null).toBe(true);
        }
        for (const one of decide(list, policy, { now, agreed })) {
          if (one.keep && one.snapshot.takenAt.getTime() < limit) expect(one.snapshot.hold).not.toBeNull();
        }
      }),
      RUNS,
    );
  });

  test('the order in which they come does not matter', () => {
    fc.assert(
      fc.property(
        lists.chain((list) =>
          fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
        ),
        policies,
        nows,
        ([list, shuffled], policy, now) => {
          expect(decide(shuffled, policy, { now })).toEqual(decide(list, policy, { now }));
        },
      ),
      RUNS,
    );
  });

  test('deciding again about what is left takes nothing more away', () => {
    fc.assert(
      fc.property(lists, policies, nows, (list, policy, now) => {
        const left = decide(list, policy, { now }).flatMap((one) => (one.keep ? one.snapshot : []));

        expect(weigh(decide(left, policy, { now })).removes).toBe(0);
      }),
      RUNS,
    );
  });

  test('later never brings back what was to go, and a clock that goes back takes nothing more away', () => {
    fc.assert(
      fc.property(lists, policies, nows, nows, (list, policy, one, other) => {
        const [early, late] = one < other ? [one, other] : [other, one];
        const before = numbers(decide(list, policy, { now: early }));

        for (const number of kept(decide(list, policy, { now: late }))) expect(before).toContain(number);
      }),
      RUNS,
    );
  });

  test('a policy that asks for more keeps more', () => {
    const field = fc.constantFrom('last', 'withinDays', 'minimumCount', 'maximumAgeDays', ...PERIODS);
    fc.assert(
      fc.property(
        lists,
        policies,
        nows,
        field,
        fc.integer({ min: 1, max: 9 }),
        (list, policy, now, name, by) => {
          const now_ = policy[name];
          const more = { ...policy, [name]: now_ === null ? null : now_ + by };
          const after = numbers(decide(list, more, { now }));

          for (const number of kept(decide(list, policy, { now }))) expect(after).toContain(number);
        },
      ),
      RUNS,
    );
  });

  test('a further snapshot saves none that was to go, and a hold takes none away', () => {
    fc.assert(
      fc.property(lists, policies, nows, fc.nat(), (list, policy, now, pick) => {
        const at = list[pick % Math.max(1, list.length)];
        const held = list.map((one) => (one === at ? { ...one, hold: { reason: 'a request' } } : one));
        const after = numbers(decide(held, policy, { now }));

        for (const number of kept(decide(list, policy, { now }))) expect(after).toContain(number);
      }),
      RUNS,
    );
  });
});

describe('logs and configuration by themselves', () => {
  const parts = ['database', 'appliance', 'files', 'system'];
  const policy = { ...NOTHING, last: 2, partsDays: 5 };
  const lost = ['database', 'files'];
  const tell = (decisions: ReturnType<typeof decide>) =>
    decisions.map(({ snapshot: { number }, keep, expires, leftover }) => [
      number,
      keep,
      expires ?? [],
      leftover === true,
    ]);

  test('stay when the rest goes, and go when the rest stays; the last ones and held ones stay as they are', () => {
    const list = daily(10, (number) => ({
      parts,
      ...(number === 1 ? { hold: { reason: 'litigation' } } : {}),
      ...(number === 2 ? { proof: 'data-proven' as const } : {}),
    }));

    const decisions = decide(list, { ...policy, monthly: 1, weekly: 2 }, { now: NOW });

    expect(tell(decisions)).toEqual([
      [10, true, [], false],
      [9, true, [], false],
      [8, false, lost, false],
      [7, false, lost, false],
      [6, false, lost, false],
      [5, true, [], false],
      [4, false, [], false],
      [3, false, [], false],
      [2, true, [], false],
      [1, true, [], false],
    ]);
    expect(reasonsOf(decisions, 8)).toEqual([
      'no rule keeps it',
      'reduced to logs and configuration until 2026-11-23',
    ]);
    const older = decide(
      daily(20, () => ({ parts })),
      { ...policy, weekly: 3 },
      { now: NOW },
    );
    expect(tell(older).filter(([, keep, gone]) => keep === true && (gone as string[]).length > 0)).toEqual([
      [8, true, ['system'], false],
    ]);
    expect(reasonsOf(older, 8)?.at(-1)).toBe(
      'without its logs and configuration: logs and configuration are kept 5 days',
    );
  });

  test('are all that is left of one: it counts for nothing, and stays for its days', () => {
    const reduced = (number: number) => ({ parts, expired: lost, proof: 'kit-proven' as const, number });
    const list = daily(8, (number) => (number > 2 ? reduced(number) : { parts }));

    const decisions = decide(list, { ...policy, minimumCount: 3 }, { now: NOW });

    expect(kept(decisions)).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(reasonsOf(decisions, 2)).toEqual(['one of the minimum of 3', 'one of the last 2']);
    expect(weigh(decisions)).toMatchObject({ total: 2, keeps: 2, proven: 0 });
    const later = decide([...list, snapshot(9, '2026-11-24T02:00:00Z', { parts })], policy, {
      now: new Date('2026-11-24T12:00:00Z'),
    });
    expect(later.filter((one) => !one.keep).map((one) => one.snapshot.number)).toEqual([6, 5, 4, 3, 1]);
    expect(decide(list, NOTHING, { now: NOW }).filter((one) => one.leftover && one.keep)).toEqual([]);
  });

  test('fade away neither when backups stop nor when a clock jumps, but by the maximum age', () => {
    const list = daily(6, (number) => (number < 4 ? { parts, expired: lost } : { parts }));
    const year = new Date('2027-11-20T12:00:00Z');

    expect(tell(decide(list, { ...policy, last: 3 }, { now: year }))).toEqual(
      tell(decide(list, { ...policy, last: 3 }, { now: NOW })),
    );
    const aged = decide(list, { ...policy, last: 3, maximumAgeDays: 30 }, { now: year });
    expect(aged.filter((one) => one.leftover === true && one.keep)).toEqual([]);
    expect(aged.every((one) => one.expires === undefined)).toBe(true);
  });

  test('of an installation that has none, snapshots stay and go whole', () => {
    const list = daily(9, () => ({ parts: ['database', 'appliance', 'files'] }));

    const decisions = decide(list, { ...policy, weekly: 2 }, { now: NOW });

    expect(kept(decisions)).toEqual([9, 8, 4]);
    expect(decisions.every((one) => one.expires === undefined)).toBe(true);
    expect(weigh(decisions)).toMatchObject({ removes: 6, reduces: 0, partsTotal: 0 });
  });

  test('are asked for when most of them would go, small steps together', () => {
    const list = daily(10, () => ({ parts }));
    const goes = (partsDays: number) => decide(list, { ...policy, last: 10, partsDays }, { now: NOW });

    expect(whyAsk(goes(5))).toBeUndefined();
    expect(whyAsk(goes(3))).toBe(
      'It would remove the logs and configuration of 6 of the 10 snapshots that have them',
    );
    expect(whyAsk(goes(5), 0, 4)).toBe(
      'It would remove the logs and configuration of 8 of the 14 snapshots that have them',
    );
    expect(whyAsk(goes(20), 0, 100)).toBeUndefined();
  });

  test('cannot be kept longer than anything may be', () => {
    expect(() => checkPolicy({ ...policy, maximumAgeDays: 4 })).toThrow(
      'Logs and configuration are not kept for 5 days',
    );
    expect(tellPolicy(policy)).toContain('logs and configuration for 5 days');
  });
});
