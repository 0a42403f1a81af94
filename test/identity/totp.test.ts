import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { base32, matchTotp, totpCode, totpStep, totpUri } from '../../server/identity/factors/totp.ts';

const SECRET = Buffer.from('12345678901234567890');

describe('codes of authenticator apps', () => {
  // RFC 6238, appendix B, the rows of SHA-1.
  test.each([
    [59, '94287082'],
    [1_111_111_109, '07081804'],
    [1_111_111_111, '14050471'],
    [1_234_567_890, '89005924'],
    [2_000_000_000, '69279037'],
    [20_000_000_000, '65353130'],
  ])('at second %i are those of RFC 6238', (second, code) => {
    expect(totpCode(SECRET, totpStep(new Date(second * 1000)), 8)).toBe(code);
  });

  // RFC 4226, appendix D.
  test('by counter are those of RFC 4226', () => {
    const codes = Array.from({ length: 10 }, (_, step) => totpCode(SECRET, step));

    expect(codes).toEqual([
      ...['755224', '287082', '359152', '969429', '338314', '254676', '287922', '162583', '399871', '520489'],
    ]);
  });

  test('of two steps ago and of the step after the next are refused', () => {
    const now = new Date(1_700_000_000_000);
    const at = totpStep(now);
    const taken = [-2, -1, 0, 1, 2].map((off) => matchTotp(SECRET, totpCode(SECRET, at + off), now, 0));

    expect(taken).toEqual([undefined, at - 1, at, at + 1, undefined]);
  });

  test('that were used, and those before them, are refused', () => {
    const now = new Date(1_700_000_000_000);
    const at = totpStep(now);

    expect(matchTotp(SECRET, totpCode(SECRET, at), now, at)).toBeUndefined();
    expect(matchTotp(SECRET, totpCode(SECRET, at - 1), now, at)).toBeUndefined();
    expect(matchTotp(SECRET, totpCode(SECRET, at + 1), now, at)).toBe(at + 1);
  });

  test('are taken with the space that apps show in the middle', () => {
    const now = new Date(1_700_000_000_000);
    const code = totpCode(SECRET, totpStep(now));

    expect(matchTotp(SECRET, `${code.slice(0, 3)} ${code.slice(3)}`, now, 0)).toBe(totpStep(now));
  });
});

describe('the secret as text', () => {
  // RFC 4648, section 10.
  test.each([
    ['', ''],
    ['f', 'MY'],
    ['fo', 'MZXQ'],
    ['foo', 'MZXW6'],
    ['foob', 'MZXW6YQ'],
    ['fooba', 'MZXW6YTB'],
    ['foobar', 'MZXW6YTBOI'],
  ])('of %j is base 32', (bytes, text) => {
    expect(base32(Buffer.from(bytes))).toBe(text);
  });

  test('has a letter for each five bits, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(base32(bytes)).toMatch(new RegExp(`^[A-Z2-7]{${Math.ceil((bytes.length * 8) / 5)}}$`));
      }),
    );
  });

  test('goes into an address that apps read, names escaped', () => {
    const uri = new URL(totpUri(SECRET, 'Holdfast', 'ada&co@example.org'));

    expect(uri.protocol).toBe('otpauth:');
    expect(decodeURIComponent(uri.pathname)).toContain('Holdfast:ada&co@example.org');
    expect(uri.searchParams.get('secret')).toBe(base32(SECRET));
  });
});
