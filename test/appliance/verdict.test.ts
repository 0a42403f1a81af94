import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isOverdue } from '../../server/appliance/schedule-state.ts';
import { decideVerdict, type ProtectionFacts } from '../../server/appliance/verdict.ts';

const offsite = { name: 'nas', sameDisk: false, snapshotCount: 3, lastProblem: null };
const local = { name: 'disk', sameDisk: true, snapshotCount: 3, lastProblem: null };
const proof = {
  at: '2026-01-02T04:10:00.000Z',
  grade: 'kit-proven',
  targetName: 'nas',
  sameDisk: false,
  snapshotTakenAt: '2026-01-02T02:00:00.000Z',
};
const well: ProtectionFacts = {
  targets: [offsite],
  lastSnapshot: { takenAt: '2026-01-02T02:00:00.000Z', state: 'stored' },
  lastProven: proof,
  held: false,
  snapshotOverdue: false,
  restoreTestOverdue: false,
  writeOnly: false,
  copies: { have: 1, elsewhere: 1, needed: 1, total: 1 },
  damage: [],
};

describe('the verdict', () => {
  const cases: [string, Partial<ProtectionFacts>, string][] = [
    ['a proven copy of an appliance in quarantine is overdue', { held: true }, 'overdue'],
    ['no target is unprotected', { targets: [] }, 'unprotected'],
    [
      'a target without a complete snapshot is unprotected',
      { targets: [{ ...offsite, snapshotCount: 0 }] },
      'unprotected',
    ],
    [
      'a proven copy on the same disk is local only',
      { targets: [local], lastProven: { ...proof, sameDisk: true } },
      'local-only',
    ],
    [
      'a same-disk copy beside an empty offsite target is local only',
      { targets: [local, { ...offsite, snapshotCount: 0 }] },
      'local-only',
    ],
    ['a local copy that is overdue is local only', { targets: [local], snapshotOverdue: true }, 'local-only'],
    ['a missed snapshot is overdue, proof or not', { snapshotOverdue: true }, 'overdue'],
    ['a missed restore test is overdue', { restoreTestOverdue: true }, 'overdue'],
    [
      'a proven copy that the last snapshot could not reach is overdue',
      { targets: [{ ...offsite, lastProblem: 'The target is not there' }] },
      'overdue',
    ],
    [
      'a proven copy whose newest snapshot is on too few targets is overdue',
      {
        targets: [offsite, { ...offsite, name: 'far' }],
        copies: { have: 1, elsewhere: 1, needed: 2, total: 2 },
      },
      'overdue',
    ],
    [
      'one lagging target does not matter where the rule asks for one',
      {
        targets: [offsite, { ...offsite, name: 'far', lastProblem: 'away' }],
        copies: { have: 1, elsewhere: 1, needed: 1, total: 2 },
      },
      'proven',
    ],
    [
      'enough copies on the disk of the data are local only',
      {
        targets: [local, { ...local, name: 'other' }],
        copies: { have: 2, elsewhere: 0, needed: 2, total: 2 },
      },
      'local-only',
    ],
    [
      'a newest snapshot that is only beside the data is overdue, whatever lies elsewhere from before',
      { targets: [local, offsite], copies: { have: 1, elsewhere: 0, needed: 1, total: 2 } },
      'overdue',
    ],
    ['an offsite copy without a test is stored', { lastProven: null }, 'stored'],
    [
      'a test of the local copy does not prove the offsite one',
      { targets: [local, offsite], lastProven: { ...proof, sameDisk: true } },
      'stored',
    ],
    [
      'a copy whose newest test failed is damaged, proven before or not',
      { damage: ['It failed.'] },
      'damaged',
    ],
    [
      'known damage of a local copy is said before that it is local',
      { targets: [local], damage: ['It failed.'] },
      'damaged',
    ],
    ['an offsite copy that was restored is proven', {}, 'proven'],
  ];
  for (const [name, change, verdict] of cases) {
    test(name, () => {
      const decided = decideVerdict({ ...well, ...change });

      expect(decided.verdict).toBe(verdict);
      expect(decided.sentences.length).toBeGreaterThan(0);
    });
  }

  test.each([
    [['disk'], 'The only copy, on disk, lies on the disk that it should'],
    [['one', 'two'], 'Both copies, on one and two, lie on the disk that they should'],
    [['a', 'b', 'c'], 'All 3 copies, on a, b and c, lie on the disk that they should'],
  ])('of local copies on %j it says that there are no others', (names, words) => {
    const targets = names.map((name) => ({ ...local, name }));

    expect(decideVerdict({ ...well, targets }).sentences[0]).toBe(
      `${words} protect against. Add a target elsewhere.`,
    );
  });

  test('local copies alone are never called proven, stored or overdue, whatever else is true', () => {
    const facts = fc.record({
      targets: fc.array(
        fc.record({
          name: fc.string(),
          sameDisk: fc.constant(true),
          snapshotCount: fc.nat(5),
          lastProblem: fc.option(fc.string()),
        }),
      ),
      lastSnapshot: fc.constantFrom(null, well.lastSnapshot),
      lastProven: fc.constantFrom(null, proof, { ...proof, sameDisk: true }),
      held: fc.boolean(),
      snapshotOverdue: fc.boolean(),
      restoreTestOverdue: fc.boolean(),
      writeOnly: fc.boolean(),
      copies: fc.constantFrom(null, well.copies),
      damage: fc.constant([]),
    });

    fc.assert(
      fc.property(facts, (given) => ['local-only', 'unprotected'].includes(decideVerdict(given).verdict)),
    );
    expect(decideVerdict({ ...well, targets: [local] }).verdict).toBe('local-only');
  });
});

describe('whether a schedule is overdue', () => {
  const hour = 3_600_000;
  const now = new Date('2026-03-10T12:00:00Z');
  const at = (hours: number) => new Date(now.getTime() + hours * hour);
  const cases: [string, Parameters<typeof isOverdue>[0], Date | null, boolean][] = [
    [
      'one that is switched off never is',
      { enabled: false, nextDueAt: at(-99), lastDueAt: at(-99) },
      null,
      false,
    ],
    ['one that was never due is not', { enabled: true, nextDueAt: at(5), lastDueAt: null }, null, false],
    [
      'one that was not started within an hour is',
      { enabled: true, nextDueAt: at(-2), lastDueAt: null },
      null,
      true,
    ],
    [
      'one whose last run may still be at work is not',
      { enabled: true, nextDueAt: at(20), lastDueAt: at(-4) },
      at(-28),
      false,
    ],
    [
      'one whose last due run did not succeed is',
      { enabled: true, nextDueAt: at(14), lastDueAt: at(-10) },
      at(-34),
      true,
    ],
    [
      'one that succeeded since it was due is not',
      { enabled: true, nextDueAt: at(14), lastDueAt: at(-10) },
      at(-9),
      false,
    ],
  ];
  for (const [name, schedule, lastGood, overdue] of cases) {
    test(name, () => {
      expect(isOverdue(schedule, lastGood, now)).toBe(overdue);
    });
  }
});
