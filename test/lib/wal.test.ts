import { describe, expect, test } from 'vitest';
import { parseLsn, walFileName, walFilesBetween } from '../../server/lib/postgres/index.ts';

const SEGMENT = 16n * 1024n * 1024n;

describe('positions in the write-ahead log', () => {
  test('anything but two hexadecimal halves is refused', () => {
    for (const text of ['', '1', '1/', '/1', 'G/1', '1/123456789', '1/2/3', ' 1/2']) {
      expect(() => parseLsn(text)).toThrow(/position/);
    }
  });

  test('count bytes', () => {
    expect(parseLsn('0/0')).toBe(0n);
    expect(parseLsn('1/0')).toBe(1n << 32n);
    expect(parseLsn('16/B374D848')).toBe(0x16b374d848n);
  });
});

describe('segment files', () => {
  test.each([
    [1, '0/0', '000000010000000000000000'],
    [1, '0/1000000', '000000010000000000000001'],
    [2, '16/B374D848', '0000000200000016000000B3'],
    [255, 'FF/FFFFFFFF', '000000FF000000FF000000FF'],
  ])('on timeline %i, %s lies in %s', (timeline, lsn, name) => {
    expect(walFileName(timeline, parseLsn(lsn) / SEGMENT, SEGMENT)).toBe(name);
  });

  test('a range names every segment it touches, and none that starts at its end', () => {
    const names = (start: string, end: string) => walFilesBetween(1, parseLsn(start), parseLsn(end), SEGMENT);

    expect(names('0/FFFFFF', '0/1000001')).toEqual(['000000010000000000000000', '000000010000000000000001']);
    expect(names('0/1000028', '0/2000000')).toEqual(['000000010000000000000001']);
    expect(names('0/FF000000', '1/1')).toEqual(['0000000100000000000000FF', '000000010000000100000000']);
  });
});
