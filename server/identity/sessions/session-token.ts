/**
 * The token of a session has two halves: the first finds the session and stays, the second is its secret and is renewed. So a secret
 * that was renewed away is known to be of that session, without a list of all that ever were.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';

const SELECTOR_BYTES = 16;
const SECRET_BYTES = 32;
/** 48 bytes in base64url. */
const TOKEN = /^[A-Za-z0-9_-]{64}$/;

/** Both halves are secret: only their hashes are stored. */
export interface SessionToken {
  selector: Buffer;
  secret: Buffer;
}

export function makeSessionToken(): SessionToken {
  return { selector: randomBytes(SELECTOR_BYTES), secret: randomBytes(SECRET_BYTES) };
}

export function encodeSessionToken({ selector, secret }: SessionToken): string {
  return Buffer.concat([selector, secret]).toString('base64url');
}

/** @returns undefined for what cannot be a token of ours. */
export function decodeSessionToken(text: string): SessionToken | undefined {
  if (!TOKEN.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  return { selector: bytes.subarray(0, SELECTOR_BYTES), secret: bytes.subarray(SELECTOR_BYTES) };
}

/**
 * The secret after this one. Whoever has only the database does not know it, and whoever has only this secret neither; the server,
 * shown this secret again because a reply was lost, can give the same next one again.
 *
 * @param nonce 32 random bytes, kept with the session.
 */
export function nextSecret(secret: Buffer, nonce: Buffer): Buffer {
  return createHmac('sha256', secret).update('holdfast session secret\0').update(nonce).digest();
}

/** SHA-256 of one half of a token; a fast hash suffices for 128 random bits and more. */
export function hashHalf(half: Buffer): Buffer {
  return createHash('sha256').update(half).digest();
}
