/**
 * Sealing of single values under a keyring key: the envelope for names and personal fields, blind indexes for look-ups, and
 * the wrapping of file data keys. Pure: keys come in, bytes go out. The bytes are specified in README.md, section Sealed fields.
 *
 * Relies on: random 96-bit nonces, which AES-GCM allows for 2^32 values a key (NIST SP 800-38D section 8.3).
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { HoldfastError } from '../lib/errors.ts';

/** What a derived key is for. A key for one purpose is of no use for another. */
export const KEY_PURPOSES = ['names', 'person', 'blind-index', 'wrap', 'secrets'] as const;
export type KeyPurpose = (typeof KEY_PURPOSES)[number];

/** What a sealed value belongs to; opening it in any other place fails. '' where a part does not apply. */
export interface FieldContext {
  /** What it is, such as `node-name`, `user-email`, `file-key`. */
  type: string;
  workspaceId: string;
  /** Id of the subject key; '' under a workspace or appliance key. */
  subjectId: string;
  /** Id of the row or content that holds it. */
  objectId: string;
  /** Version of that object, decimal; '' where it has none. Not the key's version, which is in the envelope. */
  version: string;
}

/** One version of a derived key. */
export interface VersionedKey {
  /** 1 and up. */
  version: number;
  /** 32 bytes. */
  key: Uint8Array;
}

const ENVELOPE = 0x01;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + 4 + NONCE_BYTES;

/** Bytes that an envelope adds. */
export const SEALED_FIELD_OVERHEAD = HEADER_BYTES + TAG_BYTES;
/** Longest value that is sealed, bytes; anything longer is a file. */
const MAX_FIELD_BYTES = 1024 * 1024;

/** HKDF-SHA-256 (RFC 5869), no salt, info `holdfast/<purpose>/1`, 32 bytes. */
export function deriveKey(material: Uint8Array, purpose: KeyPurpose): Buffer {
  return Buffer.from(hkdfSync('sha256', material, '', `holdfast/${purpose}/1`, 32));
}

/**
 * Seals a value.
 *
 * @throws too_large above `MAX_FIELD_BYTES`.
 */
export function sealField(key: VersionedKey, context: FieldContext, value: Uint8Array | string): Buffer {
  const plaintext = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  if (plaintext.length > MAX_FIELD_BYTES) {
    throw new HoldfastError('too_large', 'This value is too long for a sealed field');
  }
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(ENVELOPE, 0);
  header.writeUInt32BE(key.version, 1);
  randomBytes(NONCE_BYTES).copy(header, 5);
  const cipher = createCipheriv('aes-256-gcm', key.key, header.subarray(5));
  cipher.setAAD(fieldAad(context));
  return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** The key version that a sealed value was made with. @throws integrity_failure when it is no sealed value. */
export function sealedVersion(sealed: Uint8Array): number {
  if (sealed.length < SEALED_FIELD_OVERHEAD || sealed[0] !== ENVELOPE) {
    throw damaged('not an envelope of format 1');
  }
  return Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength).readUInt32BE(1);
}

/**
 * Opens a sealed value.
 *
 * @param keys every version at hand; the envelope says which one it needs.
 * @throws integrity_failure when it was changed or moved to another place, or needs a version that is not there.
 */
export function openField(keys: readonly VersionedKey[], context: FieldContext, sealed: Uint8Array): Buffer {
  const version = sealedVersion(sealed);
  const key = keys.find((candidate) => candidate.version === version);
  if (!key) throw damaged(`key version ${version} is not there`);
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key.key, sealed.subarray(5, HEADER_BYTES));
  decipher.setAAD(fieldAad(context));
  decipher.setAuthTag(sealed.subarray(end));
  const plaintext = decipher.update(sealed.subarray(HEADER_BYTES, end));
  try {
    decipher.final();
  } catch (cause) {
    throw damaged(`type ${context.type}, object ${context.objectId}`, cause);
  }
  return plaintext;
}

/**
 * Look-up value of something that is stored sealed: the same for equal values in the same context, and telling nothing
 * without the key.
 *
 * @param context where the value must be unique, such as `user-email` or `node-name:<parent id>`; it holds no NUL.
 * @returns 32 bytes.
 */
export function blindIndex(key: Uint8Array, context: string, value: string): Buffer {
  if (context.includes('\0')) throw new HoldfastError('internal', 'A blind index context must not hold NUL');
  return createHmac('sha256', key).update(context).update('\0').update(value).digest();
}

/** Where the data key of one file version belongs. */
export interface FileKeyContext {
  workspaceId: string;
  subjectKeyId: string;
  contentId: string;
  version: number;
}

/** The context under which a file's data key is wrapped. */
export function fileKeyContext(file: FileKeyContext): FieldContext {
  return {
    type: 'file-key',
    workspaceId: file.workspaceId,
    subjectId: file.subjectKeyId,
    objectId: file.contentId,
    version: String(file.version),
  };
}

function fieldAad(context: FieldContext): Buffer {
  const { type, workspaceId, subjectId, objectId, version } = context;
  return Buffer.from(JSON.stringify(['holdfast/field/1', type, workspaceId, subjectId, objectId, version]));
}

function damaged(detail: string, cause?: unknown): HoldfastError {
  return new HoldfastError('integrity_failure', 'A sealed value cannot be opened: it was changed or moved', {
    hint: 'Restore this value from a snapshot, and look for what changed the database.',
    detail,
    cause,
  });
}
