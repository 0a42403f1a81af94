/**
 * Codes on paper for the day when phone and passkey are lost. 120 random bits each, so that a plain hash suffices (ASVS 5.0, 6.5.2 asks
 * for a password hash below 112). Each works once; making new ones ends the old.
 */
import { createHash, randomBytes } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { replaceRecoveryCodes } from './queries.ts';

const COUNT = 10;
const CHARACTERS = 24;
const GROUP = 6;
/** Crockford's base 32: no letter that looks like a digit. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

function newRecoveryCode(): string {
  const characters = Array.from(randomBytes(CHARACTERS), (byte) => ALPHABET[byte & 31] ?? '');
  const groups: string[] = [];
  for (let at = 0; at < CHARACTERS; at += GROUP) groups.push(characters.slice(at, at + GROUP).join(''));
  return groups.join('-');
}

/** As it is looked up, however it was typed: O for 0 and I or L for 1 are taken. */
export function recoveryCodeHash(typed: string): Buffer {
  const plain = typed
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '')
    .replaceAll('o', '0')
    .replaceAll(/[il]/g, '1');
  return createHash('sha256').update(plain).digest();
}

/** Makes ten in place of those before. @returns them; they are kept nowhere. */
export async function writeRecoveryCodes(tx: WriteTransaction, userId: string, at: Date): Promise<string[]> {
  const codes = Array.from({ length: COUNT }, newRecoveryCode);
  await replaceRecoveryCodes(tx, userId, codes.map(recoveryCodeHash), at);
  return codes;
}

/** That one of the codes is spent. */
export async function recordRecoveryCodeUse(
  tx: WriteTransaction,
  clock: Clock,
  userId: string,
  actor: Actor,
): Promise<void> {
  await recordAudit(
    tx,
    clock,
    { ...actor, id: userId },
    { action: 'identity.recovery-code.used', objectType: 'user', objectId: userId },
  );
}
