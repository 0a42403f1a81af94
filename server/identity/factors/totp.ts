/**
 * Codes of authenticator apps: RFC 6238 over HMAC-SHA-1 with 30 seconds and six digits, which every app knows. That a code is taken once
 * only is the caller's part: it keeps the step that `matchTotp` gives and passes it as `after` the next time (RFC 6238 section 5.2).
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

const STEP_SECONDS = 30;
const DIGITS = 6;
/** Steps that a clock may be ahead or behind. */
const DRIFT_STEPS = 1;
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** 160 bits, as RFC 4226 section 4 advises. */
export const TOTP_SECRET_BYTES = 20;

/** The number of the half minute that holds an instant. */
export function totpStep(at: Date): number {
  return Math.floor(at.getTime() / 1000 / STEP_SECONDS);
}

/** The code of a step: RFC 4226 section 5.3 over its number. */
export function totpCode(secret: Uint8Array, step: number, digits = DIGITS): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const offset = (mac.at(-1) ?? 0) & 0x0f;
  const number = mac.readUInt32BE(offset) & 0x7fff_ffff;
  return String(number % 10 ** digits).padStart(digits, '0');
}

/**
 * The step whose code was typed: the present one or one beside it, later than `after`; undefined when there is none. Every candidate is
 * compared, in constant time.
 */
export function matchTotp(secret: Uint8Array, typed: string, now: Date, after: number): number | undefined {
  const given = Buffer.from(typed.replaceAll(/\s/g, ''));
  let found: number | undefined;
  for (let step = totpStep(now) - DRIFT_STEPS; step <= totpStep(now) + DRIFT_STEPS; step += 1) {
    const right = Buffer.from(totpCode(secret, step));
    const same = given.length === right.length && timingSafeEqual(given, right);
    if (same && step > after) found = step;
  }
  return found;
}

/** What an app reads from the QR code: the "Key Uri Format" of Google Authenticator. */
export function totpUri(secret: Uint8Array, issuer: string, account: string): string {
  const label = `${encodeURIComponent(issuer)}:${encodeURIComponent(account)}`;
  const query = new URLSearchParams({ secret: base32(secret), issuer });
  return `otpauth://totp/${label}?${query.toString().replaceAll('+', '%20')}`;
}

/** RFC 4648 section 6, without padding. */
export function base32(bytes: Uint8Array): string {
  let bits = 0;
  let value = 0;
  let text = '';
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32[(value >>> bits) & 31] ?? '';
    }
  }
  return bits === 0 ? text : text + (BASE32[(value << (5 - bits)) & 31] ?? '');
}
