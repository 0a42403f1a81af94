/**
 * The recovery kit in the browser: made here, proven here, and opened here for a restore test. Its secret key is never sent; what
 * is lent to a test is this repository's keys and the file keys of its newest keyring.
 *
 * The form of a kit is the server's own code, which uses nothing of Node. Load this file lazily: it brings age-encryption.
 */
import { Decrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { answerKitChallenge } from '../../server/keys/kit-challenge.ts';
import {
  kitToJson,
  kitToText,
  makeRecoveryKit,
  MAX_KIT_CHARACTERS,
  parseRecoveryKit,
  splitIdentity,
  type ParsedKit,
  type RecoveryKit,
} from '../../server/keys/recovery-kit.ts';

export { answerKitChallenge, kitToJson, kitToText, makeRecoveryKit, parseRecoveryKit, splitIdentity };
export type { ParsedKit, RecoveryKit };

/** Something about a kit that a person can put right. */
class KitError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.name = 'KitError';
    this.hint = hint;
  }
}

/** A new secret key and its public half. */
export async function generateKitKey(): Promise<{ identity: string; recipient: string }> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** The public half of a kit that somebody gave. */
export function recipientOf(kit: ParsedKit): Promise<string> {
  return identityToRecipient(kit.ageIdentity);
}

/** Reads the file of a kit. @throws HoldfastError that says what is wrong with it. */
export async function readKitFile(file: File): Promise<ParsedKit> {
  if (file.size > MAX_KIT_CHARACTERS) {
    throw new KitError('This file is too long to be a recovery kit', 'Give the file as it was downloaded.');
  }
  return parseRecoveryKit(await file.text());
}

interface Material {
  repositoryId: string;
  trustRoot: string;
  keysObject: string;
  /** Of generations before. */
  olderKeysObjects: readonly string[];
  keyring: readonly { name: string; header: string }[];
}

interface Lent {
  /** Base64 of the opened keys object. */
  keys: string;
  olderKeys: string[];
  keyringFileKeys: { name: string; fileKey: string }[];
}

/**
 * What a restore test needs of the kit.
 *
 * @throws when the kit is of another repository or does not open it, or the trust root in the kit has not signed what it opened.
 */
export async function lendFromKit(given: ParsedKit, material: Material): Promise<Lent> {
  if (given.kit && given.kit.repositoryId !== material.repositoryId) {
    throw new KitError(
      'This recovery kit belongs to another repository',
      `It is of "${given.kit.applianceName}", made on ${given.kit.createdAt.slice(0, 10)}.`,
    );
  }
  if (given.kit && given.kit.trustRoot !== material.trustRoot) {
    throw new KitError(
      'The trust root of the appliance is not the one in this recovery kit',
      'Use the newest kit. If this is the newest, somebody may have replaced the repository: look at the audit log.',
    );
  }
  const decrypter = new Decrypter();
  decrypter.addIdentity(given.ageIdentity);
  try {
    const open = async (object: string): Promise<string> => {
      const opened = await decrypter.decrypt(fromBase64(object));
      await checkKeysObject(opened, material);
      return toBase64(opened);
    };
    const keys = await open(material.keysObject);
    const olderKeys: string[] = [];
    for (const object of material.olderKeysObjects) {
      // One that came after write-only use was not given what is older.
      const older = await open(object).catch((error: unknown) => {
        if (error instanceof Error && error.message.startsWith('no identity matched')) return undefined;
        throw error;
      });
      if (older !== undefined) olderKeys.push(older);
    }
    const keyringFileKeys = [];
    for (const { name, header } of material.keyring) {
      const fileKey = await decrypter.decryptHeader(fromBase64(header));
      keyringFileKeys.push({ name, fileKey: toBase64(fileKey) });
    }
    return { keys, olderKeys, keyringFileKeys };
  } catch (error) {
    if (error instanceof KitError) throw error;
    throw new KitError(
      'This recovery kit does not open the repository on this target',
      'Use the kit of this appliance. If it is, the copy on this target may be damaged: test another target.',
    );
  }
}

/**
 * Tries a kit on what lies in a place, before the kit is sent anywhere: a machine without an owner knows neither kit nor repository.
 *
 * @throws when the kit is not whole, is of another repository, does not open this one, or its trust root has not signed it.
 */
export async function tryKit(
  given: ParsedKit,
  found: { repositoryId: string | null; keysObjects: readonly string[] },
): Promise<RecoveryKit> {
  const { kit } = given;
  if (!kit) {
    throw new KitError(
      'This is only the secret key of a recovery kit',
      'Give the whole kit: it also says which repository to trust.',
    );
  }
  const decrypter = new Decrypter();
  decrypter.addIdentity(kit.ageIdentity);
  for (const stored of found.keysObjects) {
    const opened = await decrypter.decrypt(fromBase64(stored)).catch(() => undefined);
    if (!opened) continue;
    // Believed is what the kit says, not what lies there.
    await checkKeysObject(opened, kit);
    return kit;
  }
  const other = found.repositoryId !== null && found.repositoryId !== kit.repositoryId;
  throw new KitError(
    other
      ? 'This recovery kit belongs to another repository'
      : 'This recovery kit does not open these backups',
    `It is of "${kit.applianceName}", made on ${kit.createdAt.slice(0, 10)}. Take the newest kit of the appliance that was lost.`,
  );
}

async function checkKeysObject(
  plaintext: Uint8Array,
  material: Pick<Material, 'repositoryId' | 'trustRoot'>,
): Promise<void> {
  const text = new TextDecoder().decode(plaintext);
  const lines = text.split('\n');
  const header = JSON.parse(lines[0] ?? '') as { number: number };
  const statement = JSON.parse(lines[1] ?? '') as { repositoryId: string };
  const line = JSON.parse(lines[2] ?? '') as { signature: string };
  const body = new TextEncoder().encode(`${lines[0] ?? ''}\n${lines[1] ?? ''}\n`);
  const signed = await isSigned(body, String(header.number), line.signature, material);
  if (!signed || statement.repositoryId !== material.repositoryId) {
    throw new KitError(
      'The keys on this target were not signed by the trust root of this kit',
      'They are not used. Test another target, and look at the audit log.',
    );
  }
}

/** The signature of `server/backups/FORMAT.md`, over what the object is and the hash of its body. */
async function isSigned(
  body: Uint8Array<ArrayBuffer>,
  number: string,
  signature: string,
  material: Pick<Material, 'repositoryId' | 'trustRoot'>,
): Promise<boolean> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', body));
  const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const message = `holdfast/1\nkeys\n${material.repositoryId}\n${number}\n${hex}\n`;
  try {
    const key = await crypto.subtle.importKey('raw', fromBase64(material.trustRoot), 'Ed25519', false, [
      'verify',
    ]);
    return await crypto.subtle.verify(
      'Ed25519',
      key,
      fromBase64(signature),
      new TextEncoder().encode(message),
    );
  } catch {
    throw new KitError(
      'This browser cannot check the signature of the trust root',
      'Use a newer browser, or run the test with: holdfast restore-test --kit FILE',
    );
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
