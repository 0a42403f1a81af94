/**
 * The claim code: 80 random bits that whoever starts the appliance reads on its console. Only its SHA-256 is stored; with
 * so many random bits a slow hash would add nothing.
 */
import { createHash, randomInt, timingSafeEqual } from 'node:crypto';

/** Crockford's base 32: no I, L, O, U, so that nothing is misread. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const LENGTH = 16;
const GROUP = 4;

export const CLAIM_CODE_LIFETIME_MS = 24 * 3_600_000;

/** A new code, `XXXX-XXXX-XXXX-XXXX`. Secret. */
export function newClaimCode(): string {
  const characters = Array.from({ length: LENGTH }, () => ALPHABET.charAt(randomInt(ALPHABET.length)));
  return (characters.join('').match(new RegExp(`.{${GROUP}}`, 'g')) ?? []).join('-');
}

/** Hash of a code as a person may type it: case, spaces and dashes do not matter, nor do O for 0 and I or L for 1. */
export function claimCodeHash(typed: string): Buffer {
  const code = typed.toUpperCase().replace(/[\s-]/g, '').replaceAll('O', '0').replace(/[IL]/g, '1');
  return createHash('sha256').update(`holdfast/claim-code/1\n${code}`).digest();
}

/** Constant time. */
export function isClaimCode(typed: string, hash: Buffer): boolean {
  return timingSafeEqual(claimCodeHash(typed), hash);
}
