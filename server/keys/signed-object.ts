/**
 * The last line of every repository object except packs: an Ed25519 signature over what the object is (type, repository,
 * number) and the SHA-256 of all bytes before the line. What is signed is exactly what is read: nothing is re-encoded.
 */
import { createHash } from 'node:crypto';
import { signBytes, verifyBytes } from '../lib/ed25519.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { ObjectSignature, ObjectStatement, VerifyKey } from './repository-keys.ts';

/** A signature line is about 140 bytes; anything longer is not one. */
const MAX_SIGNATURE_LINE = 512;
const NEWLINE = 0x0a;
const SIGNATURE_LINE = /^\{"signature":"([A-Za-z0-9+/]{85}[AQgw]==)","keyId":"([0-9a-f]{16})"\}$/;

/** What a reader expects an object to be, from its place in the repository. */
export interface ExpectedObject {
  type: ObjectStatement['type'];
  repositoryId: string;
  /** Decimal. */
  number: string;
}

/**
 * The bytes that are signed: five lines, each ended by a newline.
 *
 * @throws invalid_input when a part could be read as more than one line.
 */
export function statementBytes(statement: ObjectStatement): Buffer {
  const parts = [statement.type, statement.repositoryId, statement.number, statement.sha256];
  if (parts.some((part) => !/^[0-9A-Za-z+._-]{1,128}$/.test(part))) {
    throw new HoldfastError('invalid_input', 'A statement to be signed has a part that is not plain text');
  }
  return Buffer.from(`holdfast/1\n${parts.join('\n')}\n`);
}

/** Signs a statement with a key at hand. In the appliance only keyd does this. */
export function signStatement(
  key: { id: string; privateKey: Uint8Array },
  statement: ObjectStatement,
): ObjectSignature {
  const signature = signBytes(key.privateKey, statementBytes(statement));
  return { keyId: key.id, signature: signature.toString('base64') };
}

/** True when one of `keys` made this signature for this statement. */
export function checkSignature(
  statement: ObjectStatement,
  signature: ObjectSignature,
  keys: readonly VerifyKey[],
): boolean {
  const key = keys.find((candidate) => candidate.id === signature.keyId);
  if (!key) return false;
  return verifyBytes(key.publicKey, statementBytes(statement), Buffer.from(signature.signature, 'base64'));
}

/** The signature line, its newline included. */
export function signatureLine(signature: ObjectSignature): string {
  return `{"signature":"${signature.signature}","keyId":"${signature.keyId}"}\n`;
}

/**
 * `body` (whole lines, ended by a newline) with its signature line.
 *
 * @param sign gets the complete statement; `RepositoryWriteKeys.sign` fits.
 */
export async function appendSignature<T extends ExpectedObject>(
  body: Uint8Array,
  expected: T,
  sign: (statement: T & { sha256: string }) => Promise<ObjectSignature> | ObjectSignature,
): Promise<Buffer> {
  if (body.at(-1) !== NEWLINE)
    throw new HoldfastError('internal', 'An object must end in a newline to be signed');
  const sha256 = createHash('sha256').update(body).digest('hex');
  const signature = await sign({ ...expected, sha256 });
  return Buffer.concat([body, Buffer.from(signatureLine(signature))]);
}

/** Splits an object into its body and its signature, which is not checked. @throws integrity_failure when there is none. */
export function splitSignature(object: Uint8Array): { body: Buffer; signature: ObjectSignature } {
  const bytes = Buffer.from(object.buffer, object.byteOffset, object.byteLength);
  const start = bytes.length > 1 ? bytes.lastIndexOf(NEWLINE, bytes.length - 2) + 1 : 0;
  const fits = bytes.at(-1) === NEWLINE && bytes.length - start <= MAX_SIGNATURE_LINE;
  const match = fits ? SIGNATURE_LINE.exec(bytes.toString('latin1', start, bytes.length - 1)) : null;
  const [, signature, keyId] = match ?? [];
  if (start === 0 || signature === undefined || keyId === undefined) {
    throw new HoldfastError('integrity_failure', 'An object of the repository does not end in a signature', {
      hint: 'It is cut short or not ours. It is not used; other copies may be whole.',
    });
  }
  return { body: bytes.subarray(0, start), signature: { keyId, signature } };
}

/**
 * The body of a signed object, without the signature line.
 *
 * @throws integrity_failure when no key of `keys` signed it as what is expected.
 */
export function verifySignature(
  object: Uint8Array,
  expected: ExpectedObject,
  keys: readonly VerifyKey[],
): Buffer {
  const { body, signature } = splitSignature(object);
  const sha256 = createHash('sha256').update(body).digest('hex');
  if (!checkSignature({ ...expected, sha256 }, signature, keys)) {
    throw new HoldfastError(
      'integrity_failure',
      `The signature of a ${expected.type} object (number ${expected.number}) is not valid`,
      {
        hint: 'It was changed, or written by someone without the signing key. It is not used; other copies may be whole.',
        detail: `signed by ${signature.keyId}, known: ${keys.map((key) => key.id).join(', ')}`,
      },
    );
  }
  return body;
}

/** The name of an encrypted object: its place, and the SHA-256 of its stored bytes. */
export function objectName(place: string, stored: Uint8Array): string {
  return `${place}-${createHash('sha256').update(stored).digest('hex')}.age`;
}
