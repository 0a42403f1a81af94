import { describe, expect, test } from 'vitest';
import { checkShownName, comparableName } from '../../server/lib/shown-name.ts';

describe('a name is kept', () => {
  test.each([
    ['  Ada   Lovelace ', 'Ada Lovelace'],
    ['Ada\u00a0\u2003Lovelace', 'Ada Lovelace'],
    ['Rene\u0301', 'René'],
    ["O'Neill-Å., 3rd", "O'Neill-Å., 3rd"],
    ['山田\u{e0100} 太郎', '山田\u{e0100} 太郎'],
    ['می\u200cخواهم', 'می\u200cخواهم'],
    ['क\u094d\u200dष', 'क\u094d\u200dष'],
    ['Team 👩\u200d🔬 ❤\ufe0f', 'Team 👩\u200d🔬 ❤\ufe0f'],
    ['اسم', 'اسم'],
  ])('%j as %j', (given, kept) => {
    expect(checkShownName(given)).toBe(kept);
  });
});

describe('a name is refused', () => {
  test.each([
    ['', 'empty'],
    [' \u00a0 ', 'empty'],
    ['a\nb', 'control'],
    ['a\u001b[31mb', 'control'],
    ['a\u2028b', 'control'],
    ['\ud800', 'Unicode'],
    ['\u3164', 'nothing that can be seen'],
    ['\u115f\u1160', 'nothing that can be seen'],
    ['\u200b\u2060', 'nothing that can be seen'],
    ['\u2800', 'nothing that can be seen'],
    ['\u0301', 'nothing that can be seen'],
    ['Ada\u200b', 'not seen'],
    ['Ada\u3164', 'not seen'],
    ['A\u200dda', 'not seen'],
    ['A\u0301\u200dda', 'not seen'],
    ['می\u200c', 'not seen'],
    ['Ada\ufe0f', 'not seen'],
    ['A\u00adda', 'not seen'],
    ...[0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, 0x200e, 0x200f, 0x61c].map(
      (turn) => [`A${String.fromCodePoint(turn)}da`, 'not seen'],
    ),
  ])('%j', (given, reason) => {
    expect(() => checkShownName(given)).toThrow(reason);
  });

  test('with the character that is to go', () => {
    expect(() => checkShownName('Ada\u202e')).toThrow(
      expect.objectContaining({ code: 'invalid_input', hint: 'Type it anew, without U+202E.' }),
    );
  });
});

test('names that look the same compare the same, also those that could not be given today', () => {
  for (const one of ['Ada  Lovelace', 'Ada\u00a0Lovelace ', '\u202eAda Lovelace', 'A\u200bda Lovelace'])
    expect(comparableName(one)).toBe('Ada Lovelace');
  expect(comparableName('Ada\nLovelace')).toBe('Ada Lovelace');
  expect(comparableName('Rene\u0301')).toBe(comparableName('René'));
  expect(comparableName('\u3164')).toBe('');
  expect(comparableName('Ada')).not.toBe(comparableName('ada'));
});
