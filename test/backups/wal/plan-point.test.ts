import { describe, expect, test } from 'vitest';
import { neededPieces } from '../../../server/backups/wal/log-needs.ts';
import { parsePoint, planPoint, windowsOf, type Base } from '../../../server/backups/wal/plan-point.ts';
import { parseWalPieceName, walPieceName, type WalPieceName } from '../../../server/backups/wal/wal-names.ts';

const CHAIN = { systemId: '7711', timeline: 1, life: '' };
const START = Date.parse('2030-01-01T00:00:00Z');
const minute = (count: number) => new Date(START + count * 60_000);

function piece(from: number, to: number, atMinute: number, timeline = 1): WalPieceName {
  const place = { from: BigInt(from), to: BigInt(to), atMs: minute(atMinute).getTime() };
  // Another piece has another hash.
  const sha256 = (from * 1000 + to).toString(16).padStart(64, '0');
  return { ...CHAIN, timeline, ...place, sha256 };
}

function base(number: number, endLsn: number, atMinute: number): Base {
  return {
    ...CHAIN,
    id: `snapshot-${String(number)}`,
    number,
    takenAt: minute(atMinute),
    endLsn: BigInt(endLsn),
  };
}

const PIECES = [
  piece(100, 200, 1),
  piece(200, 300, 2),
  piece(300, 400, 3),
  piece(700, 800, 8),
  piece(800, 900, 9),
];
const BASES = [base(1, 150, 1), base(2, 310, 3), base(3, 750, 8)];
const at = (count: number) => ({ kind: 'time', at: minute(count) }) as const;

describe('a moment', () => {
  test('goes on from the newest snapshot before it, with the pieces up to it', () => {
    const plan = planPoint(BASES, PIECES, at(2));

    expect(plan.base.number).toBe(1);
    expect(plan.pieces).toEqual(PIECES.slice(0, 2));
  });

  test('given by a position takes the pieces that hold it', () => {
    const plan = planPoint(BASES, PIECES, { kind: 'lsn', at: 820n });

    expect(plan).toMatchObject({ base: { number: 3 }, pieces: PIECES.slice(3) });
  });

  test.each([
    ['before the first', at(0), 'before the first', '2030-01-01T00:01:00.000Z'],
    ['after the last', at(10), 'after the last', '2030-01-01T00:09:00.000Z'],
    ['in a gap', at(5), 'in a gap', '2030-01-01T00:03:00.000Z before it and 2030-01-01T00:08:00.000Z after'],
    [
      'at a position in a gap',
      { kind: 'lsn', at: 500n } as const,
      'in a gap',
      '0/190 before it and 0/2EE after',
    ],
  ])('%s is refused with the nearest ones', (_, chosen, message, hint) => {
    expect(() => planPoint(BASES, PIECES, chosen)).toThrow(
      expect.objectContaining({
        code: 'not_found',
        message: expect.stringContaining(message) as string,
        hint: expect.stringContaining(hint) as string,
      }),
    );
  });

  test('is refused where no snapshot leads to the log', () => {
    expect(() => planPoint([base(1, 50, 0)], PIECES, at(2))).toThrow(/No moment/);
  });

  test('never crosses from one timeline to another', () => {
    const pieces = [...PIECES.slice(0, 3), piece(400, 500, 5, 2)];

    expect(() => planPoint(BASES, pieces, at(5))).toThrow(/after the last/);
  });

  test('never crosses from one life to another on the same timeline', () => {
    const pieces = [...PIECES.slice(0, 3), { ...piece(350, 500, 5), life: 'ab'.repeat(8) }];
    const strange = { ...base(3, 360, 4), life: 'cd'.repeat(8) };

    expect(planPoint([...BASES, strange], pieces, at(3)).base.number).toBe(2);
    expect(() => planPoint([...BASES, strange], pieces, at(5))).toThrow(/after the last/);
  });

  test('is refused from where a copy of the appliance has shipped under the same name', () => {
    const copied = { ...piece(300, 350, 3), sha256: 'cd'.repeat(32) };
    const pieces = [...PIECES.slice(0, 3), copied, { ...piece(350, 420, 4), sha256: 'ef'.repeat(32) }];

    expect(planPoint(BASES, pieces, at(2)).pieces).toEqual(PIECES.slice(0, 2));
    expect(planPoint(BASES, pieces, { kind: 'lsn', at: 300n }).pieces).toEqual(PIECES.slice(0, 2));
    for (const moment of [at(3), at(4), { kind: 'lsn', at: 301n } as const])
      expect(() => planPoint(BASES, pieces, moment)).toThrow(/hold what follows 0\/12C: a copy/);
  });

  test('is told to have come twice when the clock went back', () => {
    const pieces = [piece(100, 200, 5), piece(200, 300, 2), piece(300, 400, 6)];

    expect(planPoint([base(1, 150, 1)], pieces, at(6)).clockWentBack).toBe(true);
    expect(planPoint(BASES, PIECES, at(2)).clockWentBack).toBe(false);
  });
});

test('windows end where a piece is missing', () => {
  const windows = windowsOf(
    BASES,
    PIECES.filter((one) => one.from !== 200n),
  );

  expect(windows.map(({ fromLsn, toLsn }) => [fromLsn, toLsn])).toEqual([
    [150n, 200n],
    [310n, 400n],
    [750n, 900n],
  ]);
});

test('pieces that no snapshot leads to are not needed, those behind the oldest one are', () => {
  expect(neededPieces(PIECES, [])).toEqual([]);
  expect(neededPieces(PIECES, [base(2, 310, 3)])).toEqual(PIECES.slice(2));
  expect(neededPieces([piece(100, 200, 1, 2)], BASES)).toEqual([]);
});

test('names say what a piece holds, and nothing else is taken for one', () => {
  const [one] = PIECES;
  const name = walPieceName(one ?? piece(1, 2, 1));

  expect(parseWalPieceName(name)).toEqual(one);
  const named = { ...piece(100, 200, 1), life: 'ab'.repeat(8) };
  expect(parseWalPieceName(walPieceName(named))).toEqual(named);
  expect(parseWalPieceName(name.replace('database', 'other'))).toBeUndefined();
  expect(parseWalPieceName(name.replace('.age', ''))).toBeUndefined();
  expect(parseWalPieceName(walPieceName({ ...piece(200, 300, 1), to: 200n }))).toBeUndefined();
});

test.each(['yesterday', '2030-01-01', '2030-01-01T00:00:00', '2030-13-01T00:00:00Z', ''])(
  '%s is no instant',
  (time) => {
    expect(() => parsePoint({ time })).toThrow(/Not an instant/);
  },
);
