/**
 * age files (age-encryption.org/v1): header and identities by the age-encryption library, payload by `age-stream.ts`.
 *
 * Guarantees: nothing is ever encrypted to nobody, and never to post-quantum and classic recipients together (the file
 * would only be as strong as the weaker). A header is accepted only with its MAC checked.
 * age does not sign: whoever knows the public recipient can make such a file. Authenticity is signed-object's work.
 */
import type { Decrypter, Encrypter, Recipient, Stanza } from 'age-encryption';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import {
  createStreamDecryptor,
  sealPayloadInto,
  sealedSize,
  STREAM_NONCE_BYTES,
  STREAM_TAG_BYTES,
} from './age-stream.ts';

/** Loaded when it is first needed: it is 6 MiB, and most processes and threads never need it. */
const loadAge = () => import('age-encryption');

/** Longest header that is looked at. A header of a hundred recipients has under 12 KiB. */
export const AGE_HEADER_LIMIT_BYTES = 64 * 1024;

/** `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`, or a passphrase. */
export type AgeIdentity = string | { passphrase: string };

export interface AgeHeader {
  /** The textual header with its MAC line. The payload nonce follows it. */
  header: Buffer;
  /** 16 bytes. For `createStreamEncryptor`, once. */
  fileKey: Buffer;
}

export interface OpenedAgeHeader {
  /** 16 bytes. */
  fileKey: Buffer;
  /** Bytes of the header; the payload nonce starts there. */
  headerLength: number;
}

/** A new X25519 age key pair: `AGE-SECRET-KEY-1…` and its `age1…`. */
export async function generateAgeIdentity(): Promise<{ identity: string; recipient: string }> {
  const { generateX25519Identity, identityToRecipient } = await loadAge();
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** The `age1…` of an identity. @throws invalid_input when it is not one. */
export async function ageRecipientOf(identity: string): Promise<string> {
  const { identityToRecipient } = await loadAge();
  try {
    return await identityToRecipient(identity);
  } catch (cause) {
    throw new HoldfastError('invalid_input', 'This is not an age secret key', {
      hint: 'An age secret key starts with AGE-SECRET-KEY-1 and is in the recovery kit.',
      cause,
    });
  }
}

function isPostQuantum(recipient: string): boolean {
  return recipient.startsWith('age1pq1') || recipient.startsWith('age1tagpq1');
}

/** @throws invalid_input for none, and for a mix of post-quantum and classic ones. */
function checkAgeRecipients(recipients: readonly string[]): void {
  if (recipients.length === 0) {
    throw new HoldfastError('invalid_input', 'Refusing to encrypt to no recipient: nobody could open it');
  }
  const strong = recipients.filter(isPostQuantum).length;
  if (strong !== 0 && strong !== recipients.length) {
    throw new HoldfastError('invalid_input', 'Post-quantum and classic recipients cannot be mixed', {
      hint: 'Use age1pq1… recipients only, or age1… recipients only.',
    });
  }
}

function addRecipient(encrypter: Encrypter, recipient: string): void {
  try {
    encrypter.addRecipient(recipient);
  } catch (cause) {
    throw new HoldfastError('invalid_input', `This is not an age recipient: ${recipient.slice(0, 80)}`, {
      hint: 'A recipient starts with age1.',
      cause,
    });
  }
}

/**
 * A fresh file key, wrapped for every recipient.
 *
 * @throws invalid_input for no recipient, for something that is none, and for a mix of post-quantum and classic ones.
 */
export async function makeAgeHeader(recipients: readonly string[]): Promise<AgeHeader> {
  checkAgeRecipients(recipients);
  const age = await loadAge();
  let kept: Buffer | undefined;
  // The library does not hand out the file key; a recipient that adds no stanza is told it.
  const keeper: Recipient = {
    wrapFileKey(fileKey: Uint8Array): Stanza[] {
      kept = Buffer.from(fileKey);
      return [];
    },
  };
  const encrypter = new age.Encrypter();
  for (const recipient of recipients) addRecipient(encrypter, recipient);
  encrypter.addRecipient(keeper);
  const empty = Buffer.from(await encrypter.encrypt(new Uint8Array(0)));
  if (kept === undefined) throw new HoldfastError('internal', 'The age library gave no file key');
  const header = empty.subarray(0, empty.length - STREAM_NONCE_BYTES - STREAM_TAG_BYTES);
  return { header, fileKey: kept };
}

/** Bytes of the header that `data` starts with, or undefined when it does not end within `data`. */
export function findAgeHeaderLength(data: Uint8Array): number | undefined {
  const head = Buffer.from(data.buffer, data.byteOffset, Math.min(data.length, AGE_HEADER_LIMIT_BYTES));
  const mac = head.indexOf('\n---');
  const end = mac < 0 ? -1 : head.indexOf('\n', mac + 1);
  return end < 0 ? undefined : end + 1;
}

async function decrypterOf(identities: readonly AgeIdentity[]): Promise<Decrypter> {
  const age = await loadAge();
  const decrypter = new age.Decrypter();
  for (const identity of identities) {
    try {
      if (typeof identity === 'string') decrypter.addIdentity(identity);
      else decrypter.addPassphrase(identity.passphrase);
    } catch (cause) {
      throw new HoldfastError('invalid_input', 'This is not an age secret key', {
        hint: 'An age secret key starts with AGE-SECRET-KEY-1 and is in the recovery kit.',
        cause,
      });
    }
  }
  return decrypter;
}

/**
 * The file key of an age file.
 *
 * @param data the file, or a start of it that holds the whole header (`AGE_HEADER_LIMIT_BYTES` always suffice).
 * @throws wrong_key when no identity matches, integrity_failure when the header is malformed or altered.
 */
export async function openAgeHeader(
  data: Uint8Array,
  identities: readonly AgeIdentity[],
): Promise<OpenedAgeHeader> {
  const headerLength = findAgeHeaderLength(data);
  if (headerLength === undefined) {
    throw new HoldfastError('integrity_failure', 'This is not an age file, or its header is cut short');
  }
  const decrypter = await decrypterOf(identities);
  try {
    const fileKey = await decrypter.decryptHeader(data.subarray(0, headerLength));
    return { fileKey: Buffer.from(fileKey), headerLength };
  } catch (cause) {
    if (messageOf(cause).startsWith('no identity matched')) {
      throw new HoldfastError('wrong_key', 'This key does not open the encrypted file', {
        hint: 'Use the recovery kit that belongs to this repository.',
        cause,
      });
    }
    throw new HoldfastError('integrity_failure', 'The header of an encrypted file is damaged', { cause });
  }
}

/** A whole age file in memory. For small objects; bulk goes through `age-stream.ts`. */
export async function encryptAge(
  data: Uint8Array | readonly Uint8Array[],
  recipients: readonly string[],
): Promise<Buffer> {
  const parts = data instanceof Uint8Array ? [data] : data;
  const { header, fileKey } = await makeAgeHeader(recipients);
  const plainBytes = parts.reduce((sum, part) => sum + part.length, 0);
  const out = Buffer.allocUnsafe(header.length + STREAM_NONCE_BYTES + sealedSize(plainBytes));
  out.set(header, 0);
  sealPayloadInto(fileKey, parts, out, header.length);
  return out;
}

/** The content of a whole age file in memory; nothing is returned unless all of it verified. @throws as `openAgeHeader`. */
export async function decryptAge(data: Uint8Array, identities: readonly AgeIdentity[]): Promise<Buffer> {
  const { fileKey, headerLength } = await openAgeHeader(data, identities);
  const codec = createStreamDecryptor(fileKey);
  const pieces = codec.update(data.subarray(headerLength));
  return Buffer.concat([...pieces, ...codec.finish()]);
}
