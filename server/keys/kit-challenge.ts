/**
 * Proof that somebody holds a kit's secret key, without showing it: the appliance encrypts a random text to the kit's
 * recipient; the holder opens it and answers with its SHA-256. Runs in the browser too (no Node modules).
 *
 * The answer is a hash, and only of a text made for this purpose and this kit, so that a hostile page cannot use the holder to
 * decrypt anything else.
 */
import { HoldfastError } from '../lib/errors.ts';
import { isKitRecipient } from './recovery-kit.ts';

const PURPOSE = 'holdfast/kit-challenge/1';
/** A challenge to one recipient is under 3 KiB, also for a post-quantum one. */
const MAX_CHALLENGE_CHARACTERS = 16 * 1024;

/** Large, and rarely needed. */
const loadAge = () => import('age-encryption');

export interface KitChallenge {
  /** Base64 of an age file. */
  challenge: string;
  /** Hex SHA-256: what the holder must answer. Never sent. */
  expected: string;
}

/** @throws invalid_input when `recipient` is not a public age key of a kit. */
export async function createKitChallenge(kitId: string, recipient: string): Promise<KitChallenge> {
  if (!isKitRecipient(recipient)) {
    throw new HoldfastError('invalid_input', 'This is not the public key of a recovery kit', {
      hint: 'It starts with age1. The secret key, AGE-SECRET-KEY-…, is never given to the appliance.',
    });
  }
  const nonce = crypto.getRandomValues(new Uint8Array(32));
  const text = new TextEncoder().encode(`${PURPOSE}\n${kitId}\n${toBase64(nonce)}\n`);
  const { Encrypter } = await loadAge();
  const encrypter = new Encrypter();
  try {
    encrypter.addRecipient(recipient);
  } catch (cause) {
    throw new HoldfastError('invalid_input', 'This public key of a recovery kit has a typing error', {
      cause,
    });
  }
  return { challenge: toBase64(await encrypter.encrypt(text)), expected: await sha256Hex(text) };
}

/**
 * Opens a challenge with the kit's secret key.
 *
 * @returns hex SHA-256 to send back.
 * @throws wrong_key when this key is not the one that the challenge is for; invalid_input when it is no challenge for this kit.
 */
export async function answerKitChallenge(
  kitId: string,
  identity: string,
  challenge: string,
): Promise<string> {
  const text = await openChallenge(identity, challenge);
  if (!new TextDecoder().decode(text).startsWith(`${PURPOSE}\n${kitId}\n`)) {
    throw new HoldfastError('invalid_input', 'This is not a challenge for this recovery kit');
  }
  return sha256Hex(text);
}

async function openChallenge(identity: string, challenge: string): Promise<Uint8Array> {
  if (challenge.length > MAX_CHALLENGE_CHARACTERS) {
    throw new HoldfastError('too_large', 'This is too long to be a challenge for a recovery kit');
  }
  const { Decrypter } = await loadAge();
  const decrypter = new Decrypter();
  try {
    decrypter.addIdentity(identity);
    return await decrypter.decrypt(Uint8Array.from(atob(challenge), (character) => character.charCodeAt(0)));
  } catch (cause) {
    throw new HoldfastError('wrong_key', 'This key is not the one of the recovery kit', {
      hint: 'Type both lines of the secret key exactly as in the kit, or give the kit file.',
      cause,
    });
  }
}

async function sha256Hex(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', Uint8Array.from(bytes));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
