/**
 * `keyring/<epoch>-<hash>.age` and `keyring/<epoch>+<n>-<hash>.age`: the keyring in the repository, encrypted to the kits only.
 * An addition holds every key that changed since its base, so a reader needs the base and its last addition, nothing between.
 *
 * Lines: header, keys, the repository's secrets, signature. A stranger's reader is described in README.md, section Keyring objects.
 */
import { HoldfastError } from '../lib/errors.ts';
import { decryptAge, encryptAge } from './age.ts';
import type { BuiltObject, KitRecipient } from './keys-object.ts';
import {
  applyLines,
  emptyKeyring,
  encodeKeyring,
  encodeRecord,
  type Keyring,
  type RepositoryRecord,
} from './keyring/model.ts';
import type { ObjectSignature, ObjectStatement, VerifyKey } from './repository-keys.ts';
import { appendSignature, objectName, verifySignature } from './signed-object.ts';

/** Longest keyring object that is read, bytes: about two million keys. */
const MAX_KEYRING_OBJECT_BYTES = 768 * 1024 * 1024;

const NAME = /^keyring\/(\d{1,15})(?:\+(\d{1,9}))?-[0-9a-f]{64}\.age$/;

export interface KeyringObjectName {
  name: string;
  epoch: number;
  /** 0 for a base. */
  addition: number;
}

/** @returns undefined when the name is not that of a keyring object. */
export function parseKeyringName(name: string): KeyringObjectName | undefined {
  const [, epoch, addition] = NAME.exec(name) ?? [];
  return epoch === undefined ? undefined : { name, epoch: Number(epoch), addition: Number(addition ?? 0) };
}

/**
 * The names to read for the newest keyring among `names`: the base of the highest epoch, and its last addition if any. Several
 * with the same number are all given, bases first: what is forged fails to verify, and the other one serves.
 */
export function newestKeyringNames(names: readonly string[]): { bases: string[]; additions: string[] } {
  const parsed = names.flatMap((name) => parseKeyringName(name) ?? []);
  const bases = parsed.filter((entry) => entry.addition === 0);
  const epoch = Math.max(0, ...bases.map((entry) => entry.epoch));
  const additions = parsed.filter((entry) => entry.epoch === epoch && entry.addition > 0);
  const last = Math.max(0, ...additions.map((entry) => entry.addition));
  return {
    bases: bases.filter((entry) => entry.epoch === epoch).map((entry) => entry.name),
    additions: additions.filter((entry) => entry.addition === last).map((entry) => entry.name),
  };
}

interface BuildParts {
  keyring: Keyring;
  repository: RepositoryRecord;
  epoch: number;
  /** 0 makes a base. */
  addition: number;
  createdAt: Date;
  kits: readonly Pick<KitRecipient, 'recipient'>[];
  sign: (statement: ObjectStatement) => ObjectSignature;
}

/** Builds, signs and encrypts a base or an addition. */
export async function buildKeyringObject(parts: BuildParts): Promise<BuiltObject> {
  const { keyring, repository, epoch, addition } = parts;
  const number = addition === 0 ? String(epoch) : `${epoch}+${addition}`;
  const header = {
    type: 'keyring',
    version: 1,
    repository: repository.repositoryId,
    number,
    must: [],
    epoch,
    addition,
    created: parts.createdAt.toISOString(),
  };
  const lines = addition === 0 ? encodeKeyring({ ...keyring, repository: null }) : changedLines(keyring);
  const own = encodeRecord({ kind: 'repository', repository });
  const body = Buffer.from(`${JSON.stringify(header)}\n${lines.join('')}${own}`);
  const expected = { type: 'keyring', repositoryId: repository.repositoryId, number } as const;
  const plaintext = await appendSignature(body, expected, parts.sign);
  const bytes = await encryptAge(
    plaintext,
    parts.kits.map((kit) => kit.recipient),
  );
  plaintext.fill(0);
  body.fill(0);
  return { name: objectName(`keyring/${number}`, bytes), bytes };
}

function changedLines(keyring: Keyring): string[] {
  return [...keyring.changedSinceBase].flatMap((id) => {
    const key = keyring.keys.get(id);
    return key ? [encodeRecord({ kind: 'key', key })] : [];
  });
}

/** What a reader needs to believe a keyring object. */
export interface KeyringReader {
  repositoryId: string;
  /** Signing keys of every generation. */
  signingKeys: readonly VerifyKey[];
}

/**
 * Opens a keyring object with a kit.
 *
 * @returns its plaintext, verified, for `keyringFromObjects`.
 * @throws wrong_key when the kit does not open it, integrity_failure when it is not ours or damaged.
 */
export async function openKeyringObject(
  stored: Uint8Array,
  identities: readonly string[],
  reader: KeyringReader & { name: string },
): Promise<Buffer> {
  if (stored.length > MAX_KEYRING_OBJECT_BYTES) throw damaged('it is too long');
  if (objectName(reader.name.replace(/-[0-9a-f]{64}\.age$/, ''), stored) !== reader.name) {
    throw damaged(`${reader.name} does not have the hash in its name`);
  }
  const plaintext = await decryptAge(stored, identities).catch((error: unknown) => {
    if (!(error instanceof HoldfastError) || error.code !== 'wrong_key') throw error;
    throw new HoldfastError(
      'wrong_key',
      'This recovery kit does not open the newest keyring: it was retired',
      {
        hint: 'Recovering, and files under their own names, need a kit that was in use when the keyring was written. The register of keys names those in use.',
        detail: reader.name,
        cause: error,
      },
    );
  });
  const { header } = verifyKeyringObject(plaintext, reader);
  const named = parseKeyringName(reader.name);
  if (named?.epoch !== header.epoch || named.addition !== header.addition) {
    throw damaged(`${reader.name} holds number ${header.number}`);
  }
  return plaintext;
}

interface KeyringHeader {
  number: string;
  epoch: number;
  addition: number;
}

/** Checks the signature of a decrypted keyring object. @returns its header and the lines after it. */
export function verifyKeyringObject(
  plaintext: Buffer,
  reader: KeyringReader,
): { header: KeyringHeader; lines: string } {
  const end = plaintext.indexOf(0x0a);
  let header: Partial<KeyringHeader> & { version?: number; must?: unknown[]; type?: string };
  try {
    header = JSON.parse(plaintext.toString('utf8', 0, Math.max(0, Math.min(end, 4096)))) as typeof header;
  } catch {
    throw damaged('its header is not JSON');
  }
  const { number, epoch, addition } = header;
  if (typeof number !== 'string' || typeof epoch !== 'number' || typeof addition !== 'number') {
    throw damaged('its header is not complete');
  }
  const expected = { type: 'keyring', repositoryId: reader.repositoryId, number } as const;
  const body = verifySignature(plaintext, expected, reader.signingKeys);
  if (number !== (addition === 0 ? String(epoch) : `${epoch}+${addition}`))
    throw damaged('its number is not its own');
  if (header.version !== 1 || (header.must?.length ?? 0) > 0) {
    throw new HoldfastError('invalid_input', 'This keyring was written by a newer Holdfast', {
      hint: 'Use the newest version of Holdfast to open it.',
    });
  }
  return { header: { number, epoch, addition }, lines: body.toString('utf8', end + 1) };
}

/**
 * The keyring from the plaintexts of a base and, if there is one, an addition to it. Its next publication is a new base.
 *
 * @throws integrity_failure when one does not verify or they do not belong together.
 */
export function keyringFromObjects(plaintexts: readonly Buffer[], reader: KeyringReader): Keyring {
  const keyring = emptyKeyring();
  let base: number | undefined;
  for (const plaintext of plaintexts) {
    const { header, lines } = verifyKeyringObject(plaintext, reader);
    if (header.addition === 0 ? base !== undefined : header.epoch !== base) {
      throw damaged('an addition does not belong to its base');
    }
    base = header.epoch;
    applyLines(keyring, lines);
  }
  const { repository } = keyring;
  if (base === undefined || !repository) throw damaged('there is none');
  const publication = { epoch: base, baseName: '', baseAt: '', stale: true, additions: 0, recipients: [] };
  keyring.repository = { ...repository, publication };
  return keyring;
}

function damaged(detail: string): HoldfastError {
  return new HoldfastError('integrity_failure', 'A keyring object of the repository is damaged', {
    hint: 'It is not used. Other copies of the repository may be whole.',
    detail,
  });
}
