/**
 * What a program shows: `hf_<prefix>_<secret><checksum>`. The prefix finds the key, the secret (256 bits) proves it, and the checksum
 * lets a scanner for leaked secrets tell a real key from a look-alike without asking anybody.
 *
 * For scanners: `\bhf_[a-z2-7]{10}_[0-9A-Za-z]{49}\b`; the last six characters are the CRC-32 of all before them, in base 62.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';

export interface KeyToken {
  prefix: string;
  /** Secret: 43 characters. */
  secret: string;
}

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
/** 62^43 is the first power beyond 2^256. */
const SECRET_LENGTH = 43;
const CHECK_LENGTH = 6;
const PREFIX_LENGTH = 10;
const TOKEN = new RegExp(
  `^hf_([a-z2-7]{${PREFIX_LENGTH}})_([0-9A-Za-z]{${SECRET_LENGTH}})([0-9A-Za-z]{${CHECK_LENGTH}})$`,
);

export function makePrefix(): string {
  return [...randomBytes(PREFIX_LENGTH)].map((byte) => BASE32[byte & 31]).join('');
}

export function makeSecret(): string {
  return base62(BigInt(`0x${randomBytes(32).toString('hex')}`), SECRET_LENGTH);
}

/** The whole of it, for the one time it is shown. */
export function encodeToken({ prefix, secret }: KeyToken): string {
  const head = `hf_${prefix}_${secret}`;
  return head + checksum(head);
}

/** Undefined for what is no key of ours, or was mistyped. */
export function decodeToken(token: string): KeyToken | undefined {
  const [, prefix, secret, check] = TOKEN.exec(token) ?? [];
  if (prefix === undefined || secret === undefined) return undefined;
  return checksum(`hf_${prefix}_${secret}`) === check ? { prefix, secret } : undefined;
}

/** What lies in the table. A plain hash is enough for a secret that nobody can guess. */
export function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

export function isSecret(secret: string, hash: Buffer): boolean {
  return timingSafeEqual(hashSecret(secret), hash);
}

function checksum(head: string): string {
  return base62(BigInt(crc32(head)), CHECK_LENGTH);
}

function base62(value: bigint, length: number): string {
  let text = '';
  for (let rest = value; text.length < length; rest /= 62n) text = (DIGITS[Number(rest % 62n)] ?? '') + text;
  return text;
}
