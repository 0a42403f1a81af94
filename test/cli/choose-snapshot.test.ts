import { describe, expect, test } from 'vitest';
import type { Snapshot } from '../../server/backups/index.ts';
import { pickSnapshot } from '../../server/cli/choose-snapshot.ts';

const snapshot = (number: string, id: string, state: Snapshot['state'] = 'stored') =>
  ({ number, id: id.padEnd(64, '0'), state }) as Snapshot;

/** Newest first, as they are listed. */
const ALL = [
  snapshot('12', '12345678aa'),
  snapshot('4', '3fffffff'),
  snapshot('3', '12345678bb'),
  snapshot('2', '22222222', 'forgotten'),
];

describe('a snapshot is refused', () => {
  test('by the start of an id that is too short to be sure: a number is never taken for one', () => {
    for (const wanted of ['1', '3f', '3fffff', '5'])
      expect(() => pickSnapshot(ALL, wanted)).toThrow(expect.objectContaining({ code: 'not_found' }));
  });

  test('when it was forgotten, or is none', () => {
    for (const wanted of ['2', '22222222', 'newest', ''])
      expect(() => pickSnapshot(ALL, wanted)).toThrow(
        expect.objectContaining({
          code: 'not_found',
          hint: expect.stringContaining('holdfast snapshots') as string,
        }),
      );
  });

  test('when several start like that', () => {
    expect(() => pickSnapshot(ALL, '12345678')).toThrow(expect.objectContaining({ code: 'invalid_input' }));
  });

  test('when there is none at all', () => {
    expect(() => pickSnapshot([])).toThrow(expect.objectContaining({ code: 'no_repository' }));
  });
});

test('a snapshot is meant by number, start of its id, or as the latest', () => {
  const numbers = ['12', '3', '12345678b', '3fffffff', 'latest', undefined].map(
    (wanted) => pickSnapshot(ALL, wanted).number,
  );

  expect(numbers).toEqual(['12', '3', '3', '4', '12', '12']);
});
