/**
 * Reads and writes whole repository objects on a target.
 *
 * Guarantees: what is read has the hash that its name says and a size within its kind's limit; what is written was read
 * back from the target and is the same, before `publish` returns.
 */
import { decryptAge, encryptAge, needsKit } from '../../keys/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryGeneration, RepositoryReadKeys, Target, VerifyKey } from '../engine.ts';
import { sha256Of } from '../objects/object-names.ts';

const MIB = 1024 * 1024;

/** Longest object of each kind that is read into memory, stored bytes. */
const MAX_OBJECT_BYTES = {
  keys: MIB,
  index: 32 * MIB,
  snapshots: 128 * MIB,
  heads: 32 * MIB,
  writers: MIB / 16,
  reports: 32 * MIB,
  keyring: 256 * MIB,
  anchors: MIB / 16,
  wal: 24 * MIB,
  files: 32 * MIB,
} as const;

type ObjectKind = keyof typeof MAX_OBJECT_BYTES;

/**
 * The stored bytes of an object.
 *
 * @throws not_found; integrity_failure when they do not have the hash that the name promises, or are too many.
 */
export async function readObject(
  target: Target,
  kind: ObjectKind,
  name: string,
  sha256?: string,
): Promise<Buffer> {
  const found = await target.find(name);
  if (found === undefined) {
    throw new HoldfastError('not_found', `The repository does not hold ${name}`);
  }
  if (found.sizeBytes > MAX_OBJECT_BYTES[kind]) throw damaged(name, 'is longer than such an object can be');
  const stored = await target.read(name);
  if (sha256 !== undefined && sha256Of(stored) !== sha256) {
    throw damaged(name, 'was changed after it was written');
  }
  return stored;
}

function damaged(name: string, what: string): HoldfastError {
  return new HoldfastError('integrity_failure', `${name} ${what}`, {
    hint: 'It is not used. Another target may hold a whole copy.',
  });
}

/** The secret keys that open objects of this repository, newest first. */
function identitiesOf(keys: RepositoryReadKeys): string[] {
  return keys.generations.flatMap((one) => (one.identity === undefined ? [] : [one.identity])).reverse();
}

/** True when nothing encrypted can be read with these keys. */
export function isWriteOnly(keys: RepositoryReadKeys): boolean {
  return identitiesOf(keys).length === 0;
}

/** True when there are generations that nothing at hand opens: what was written under them counts as it is known, and by its hashes. */
export function lacksKeys(keys: RepositoryReadKeys): boolean {
  return keys.generations.some((one) => one.identity === undefined);
}

/** Whether `error` says no more than that, of keys that lack some. */
export function isClosed(error: unknown, keys: RepositoryReadKeys): boolean {
  return lacksKeys(keys) && error instanceof HoldfastError && ['wrong_key', 'needs_kit'].includes(error.code);
}

/** @throws needs_kit when no identity is at hand; wrong_key when none fits; integrity_failure. */
export async function openObject(stored: Uint8Array, keys: RepositoryReadKeys): Promise<Buffer> {
  const identities = identitiesOf(keys);
  if (identities.length === 0) throw needsKit();
  try {
    return await decryptAge(stored, identities);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'wrong_key') throw otherGeneration(keys, error);
    throw error;
  }
}

/** As a rule a newer one: whose kit was retired before it began, or who goes on from a state before. */
function otherGeneration({ generations }: RepositoryReadKeys, cause: HoldfastError): HoldfastError {
  const opened = generations.filter((one) => one.identity !== undefined).map((one) => one.generation);
  return new HoldfastError(
    'wrong_key',
    `This was written under another generation of the repository's keys than ${opened.join(', ')}, which the key at hand opens`,
    {
      hint: 'Take a recovery kit that was in use when it was written: one that was retired before the repository was re-keyed opens only what is older.',
      cause,
    },
  );
}

/** @throws internal when there is no generation. */
export function newestGeneration(keys: RepositoryReadKeys): RepositoryGeneration {
  const newest = keys.generations.reduce<RepositoryGeneration | undefined>(
    (best, one) => (best === undefined || one.generation > best.generation ? one : best),
    undefined,
  );
  if (newest === undefined)
    throw new HoldfastError('internal', 'A repository without any generation of keys');
  return newest;
}

/** Every key that may have signed an object, of all generations. */
export function signingKeysOf(keys: RepositoryReadKeys): VerifyKey[] {
  const byId = new Map<string, VerifyKey>();
  for (const one of keys.generations) for (const key of one.signingKeys) byId.set(key.id, key);
  return [...byId.values()];
}

/** Encrypts an object to the newest generation. The recipient comes from our own keys, never from a target. */
export function sealObject(plaintext: Uint8Array, keys: RepositoryReadKeys): Promise<Buffer> {
  return encryptAge(plaintext, [newestGeneration(keys).recipient]);
}

/**
 * Writes an object and reads it back.
 *
 * @param step names the crash points.
 * @throws integrity_failure when the target gives back something else; no_space, unavailable, conflict.
 */
export async function publish(target: Target, name: string, stored: Uint8Array, step: string): Promise<void> {
  await target.write(name, stored);
  crashPoint(`${step}.written`);
  const back = await target.readBack(name);
  if (back.sizeBytes !== stored.length || back.sha256 !== sha256Of(stored)) {
    throw new HoldfastError(
      'integrity_failure',
      `The target does not give back what was written as ${name}`,
      {
        hint: 'Check this disk and its connection before trusting it with backups.',
      },
    );
  }
  crashPoint(`${step}.verified`);
}
