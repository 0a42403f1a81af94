import { expect, test } from 'vitest';
import { makeVolumeRecoveryKey, parseVolumeRecoveryKey } from '../../server/lib/volume-recovery-key.ts';

test('a recovery key of a volume has thirteen groups of letters and digits that are not misread', () => {
  const keys = Array.from({ length: 200 }, makeVolumeRecoveryKey);

  for (const key of keys) expect(key).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){12}[0-9A-HJKMNP-TV-Z]{4}$/);
  expect(new Set(keys).size).toBe(200);
  // Every place varies: no bit of the 256 is fixed but the four that fill up the last letter.
  const places = Array.from({ length: 64 }, (_, place) => new Set(keys.map((key) => key.charAt(place))).size);
  expect(places.filter((_, place) => place % 5 !== 4 && place < 63).every((size) => size > 20)).toBe(true);
});

test('it is taken in any case, with spaces or dashes, and with letters that look like digits', () => {
  const key = makeVolumeRecoveryKey();
  const typed = key.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l');

  expect(parseVolumeRecoveryKey(typed)).toBe(key);
  expect(parseVolumeRecoveryKey(` ${key}\n`)).toBe(key);
});

test('what is too short, too long or has other characters is no such key', () => {
  const key = makeVolumeRecoveryKey();
  for (const wrong of ['', key.slice(1), `${key}A`, key.replace(/.$/, 'U'), key.replace(/.$/, '*')])
    expect(parseVolumeRecoveryKey(wrong)).toBeUndefined();
});
