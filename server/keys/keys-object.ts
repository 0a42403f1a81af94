/**
 * `keys/<generation>-<hash>.age`: what a reader of the repository must know, signed by the trust root and encrypted to the
 * kits and, unless write-only, to the test identity. A reader believes only what the root in its kit has signed.
 */
import { HoldfastError } from '../lib/errors.ts';
import { decryptAge, encryptAge } from './age.ts';
import type { ChunkingParameters, RepositoryGeneration } from './repository-keys.ts';
import { appendSignature, objectName, signStatement, verifySignature } from './signed-object.ts';
import { type SigningKeyPair, signingKeyId } from './trust-root.ts';

/** Whom a recovery kit stands for. */
export interface KitRecipient {
  /** UUID of the kit. */
  id: string;
  /** `age1…` */
  recipient: string;
}

/** What the trust root signs, one per generation. */
export interface KeysStatement {
  repositoryId: string;
  /** 1 and up. */
  generation: number;
  /** `AGE-SECRET-KEY-1…`: opens packs and all objects of this generation. */
  identity: string;
  recipient: string;
  kits: KitRecipient[];
  /** Absent in write-only use. */
  testRecipient?: string;
  /** Base64, 32 bytes. */
  chunkIdSecret: string;
  chunking: ChunkingParameters;
  /** `publicKey`: base64, 32 bytes; `validFrom`: RFC 3339. */
  signingKeys: { id: string; publicKey: string; validFrom: string }[];
  /** RFC 3339. */
  createdAt: string;
}

export interface BuiltObject {
  name: string;
  /** As stored. */
  bytes: Buffer;
}

/** Longest keys object that is read, bytes. A whole one is a few kilobytes. */
const MAX_KEYS_OBJECT_BYTES = 1024 * 1024;

/** Signs and encrypts a generation. @throws invalid_input when no kit would open it. */
export async function buildKeysObject(
  statement: KeysStatement,
  trustRoot: SigningKeyPair,
): Promise<BuiltObject> {
  if (statement.kits.length === 0) {
    throw new HoldfastError('invalid_input', 'A repository needs at least one recovery kit');
  }
  const number = String(statement.generation);
  const header = {
    type: 'keys',
    version: 1,
    repository: statement.repositoryId,
    number: statement.generation,
    must: [],
  };
  const body = Buffer.from(`${JSON.stringify(header)}\n${JSON.stringify(statement)}\n`);
  const plaintext = await appendSignature(
    body,
    { type: 'keys', repositoryId: statement.repositoryId, number },
    (signed) => signStatement(trustRoot, signed),
  );
  const recipients = statement.kits.map((kit) => kit.recipient);
  if (statement.testRecipient !== undefined) recipients.push(statement.testRecipient);
  const bytes = await encryptAge(plaintext, recipients);
  plaintext.fill(0);
  body.fill(0);
  return { name: objectName(`keys/${number}`, bytes), bytes };
}

/**
 * Opens a generation.
 *
 * @param identities of a kit, or the test identity.
 * @param expected the trust root and repository from the kit.
 * @throws wrong_key when no identity opens it; integrity_failure when the trust root did not sign it, it is damaged, or it
 *   belongs to another repository; invalid_input when it needs a newer Holdfast.
 */
export async function openKeysObject(
  stored: Uint8Array,
  identities: readonly string[],
  expected: { repositoryId: string; trustRoot: Uint8Array },
): Promise<KeysStatement> {
  if (stored.length > MAX_KEYS_OBJECT_BYTES) throw damaged('it is too long');
  return readKeysPlaintext(await decryptAge(stored, identities), expected);
}

/**
 * Believes a keys object that someone else decrypted, such as the page that holds the kit.
 *
 * @throws as `openKeysObject`.
 */
export function readKeysPlaintext(
  plaintext: Buffer,
  expected: { repositoryId: string; trustRoot: Uint8Array },
): KeysStatement {
  const { header, statement } = readLines(plaintext);
  const root = { id: signingKeyId(expected.trustRoot), publicKey: expected.trustRoot };
  const number = String(header.number);
  verifySignature(plaintext, { type: 'keys', repositoryId: expected.repositoryId, number }, [root]);
  checkHeader(header);
  checkStatement(statement, header, expected.repositoryId);
  return statement;
}

/** A statement in the shape that readers and writers work with. */
export function generationOf(statement: KeysStatement, withIdentity: boolean): RepositoryGeneration {
  return {
    generation: statement.generation,
    recipient: statement.recipient,
    identity: withIdentity ? statement.identity : undefined,
    chunkIdSecret: Buffer.from(statement.chunkIdSecret, 'base64'),
    chunking: statement.chunking,
    signingKeys: statement.signingKeys.map((key) => ({
      id: key.id,
      publicKey: Buffer.from(key.publicKey, 'base64'),
    })),
  };
}

interface KeysHeader {
  type: string;
  version: number;
  repository: string;
  number: number;
  must?: string[];
}

function readLines(plaintext: Buffer): { header: KeysHeader; statement: KeysStatement } {
  const [first, second] = plaintext.toString('utf8').split('\n', 3);
  try {
    const header = JSON.parse(first ?? '') as KeysHeader;
    const statement = JSON.parse(second ?? '') as KeysStatement;
    if (typeof header === 'object' && typeof statement === 'object') return { header, statement };
  } catch {
    // Said below, without the text: it may hold secrets.
  }
  throw damaged('its lines are not JSON');
}

function checkHeader(header: KeysHeader): void {
  if (header.version === 1 && (header.must ?? []).length === 0) return;
  throw new HoldfastError('invalid_input', 'This repository was written by a newer Holdfast', {
    hint: 'Use the newest version of Holdfast to open it.',
  });
}

function checkStatement(statement: KeysStatement, header: KeysHeader, repositoryId: string): void {
  const whole =
    header.type === 'keys' &&
    header.repository === repositoryId &&
    statement.repositoryId === repositoryId &&
    statement.generation === header.number &&
    Number.isSafeInteger(statement.generation) &&
    statement.generation > 0 &&
    typeof statement.identity === 'string' &&
    typeof statement.recipient === 'string' &&
    Array.isArray(statement.kits) &&
    typeof statement.chunkIdSecret === 'string' &&
    Buffer.from(statement.chunkIdSecret, 'base64').length === 32 &&
    Array.isArray(statement.signingKeys) &&
    statement.signingKeys.every(
      (key) =>
        typeof key.publicKey === 'string' && signingKeyId(Buffer.from(key.publicKey, 'base64')) === key.id,
    );
  if (!whole) throw damaged('a part of it is missing or not valid');
}

function damaged(detail: string): HoldfastError {
  return new HoldfastError('integrity_failure', 'A keys object of the repository is damaged', {
    hint: 'It is not used. Other copies of the repository may be whole.',
    detail,
  });
}
