import { expect, test } from 'vitest';
import { selectPaths } from '../../server/backups/pipeline/path-selection.ts';

test('no paths, or the empty one among others, select everything', () => {
  for (const paths of [undefined, ['a', ''], ['/']]) {
    const wanted = selectPaths(paths);
    expect([wanted.take('x/y'), wanted.mayLieWithin('q', 'r'), wanted.unmet()]).toEqual([true, true, []]);
  }
});

test('an empty list selects nothing', () => {
  expect(selectPaths([]).take('a')).toBe(false);
});

test('a path selects itself and what is below it, not its neighbours', () => {
  const wanted = selectPaths(['/a/b/', 'c', 'grüße']);

  const taken = ['a', 'a/b', 'a/b-', 'a/b/c/d', 'a/bc', 'c', 'c/d', 'c0'].filter((path) => wanted.take(path));

  expect(taken).toEqual(['a/b', 'a/b/c/d', 'c', 'c/d']);
  expect(wanted.take(Buffer.from('grüße/x').toString('latin1'))).toBe(true);
});

test('a path below another is met only by what lies there', () => {
  const wanted = selectPaths(['a', 'a/b', 'z']);

  wanted.take('a/c');

  expect(wanted.unmet()).toEqual(['a/b', 'z']);
});

test('no range of the list that holds a wanted entry is passed over', () => {
  const all = ['a', 'a-', 'a/1', 'a/1/2', 'a0', 'b', 'b/x', 'c/y', 'c/y/z', 'd'];
  for (const path of all) {
    const wanted = selectPaths([path, 'zz']);
    for (let start = 0; start < all.length; start++) {
      for (let end = start + 1; end <= all.length; end++) {
        const holds = all.slice(start, end).some((one) => wanted.take(one));
        if (holds) expect(wanted.mayLieWithin(all[start] ?? '', all[end])).toBe(true);
      }
    }
  }
  expect(selectPaths(['b/x']).mayLieWithin('a', 'b')).toBe(false);
  expect(selectPaths(['b/x']).mayLieWithin('b0', undefined)).toBe(false);
});
