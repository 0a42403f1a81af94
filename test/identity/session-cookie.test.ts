import { describe, expect, test } from 'vitest';
import {
  expiredSessionCookie,
  newSessionToken,
  readSessionToken,
  sessionCookie,
} from '../../server/identity/sessions/session-cookie.ts';

describe('the session cookie', () => {
  test('is bound to this host, to HTTPS, out of reach of scripts and of other sites', () => {
    const parts = sessionCookie('T').split('; ');

    expect(parts[0]).toBe('__Host-holdfast=T');
    expect(parts.slice(1).sort()).toEqual(['HttpOnly', 'Path=/', 'SameSite=Strict', 'Secure']);
    expect(expiredSessionCookie()).toContain('Max-Age=0');
  });

  test('is read back among others', () => {
    const token = newSessionToken();

    expect(readSessionToken(`a=b; __Host-holdfast=${token}; c=d`)).toBe(token);
  });

  const nothing = [
    undefined,
    '',
    'a=b',
    '__Host-holdfast=',
    '__Host-holdfast=short',
    `holdfast=${'a'.repeat(43)}`,
    `__Host-holdfast=${'!'.repeat(43)}`,
  ];
  for (const header of nothing) {
    test(`"${String(header).slice(0, 30)}" holds no session`, () => {
      expect(readSessionToken(header)).toBeUndefined();
    });
  }
});
