/** Reads snapshot objects, once: what was verified is kept in the catalogue. */
import { HoldfastError } from '../../lib/errors.ts';
import type { Catalogue } from '../catalogue/catalogue.ts';
import type { RepositoryReadKeys, SnapshotRecord, Target } from '../engine.ts';
import { withoutExpired } from '../expired-parts.ts';
import { numberedName, type ObjectReference } from '../objects/object-names.ts';
import { decodeSnapshot } from '../objects/snapshot-object.ts';
import { openObject, readObject, signingKeysOf } from './object-store.ts';

/** Without what is kept of it no more. @throws not_found, integrity_failure, wrong_key */
export async function readSnapshot(
  target: Target,
  keys: RepositoryReadKeys,
  catalogue: Catalogue,
  reference: ObjectReference,
): Promise<SnapshotRecord> {
  const known = catalogue.findSnapshot(reference);
  if (known !== undefined) return known;
  const record = await readStoredSnapshot(target, keys, reference);
  catalogue.addSnapshot(record);
  return withoutExpired(record, catalogue.expired());
}

/** From the target itself, and whole, as its object says. @throws not_found, integrity_failure, wrong_key */
export async function readStoredSnapshot(
  target: Target,
  keys: RepositoryReadKeys,
  reference: ObjectReference,
): Promise<SnapshotRecord> {
  const name = numberedName('snapshots', reference);
  const plaintext = await openObject(await readObject(target, 'snapshots', name, reference.sha256), keys);
  const expected = { repositoryId: keys.repositoryId, number: reference.number };
  return { ...decodeSnapshot(plaintext, expected, signingKeysOf(keys)), id: reference.sha256 };
}

/** @returns undefined for one that is missing, damaged, or closed to these keys. */
export async function tryReadSnapshot(
  ...parts: Parameters<typeof readSnapshot>
): Promise<SnapshotRecord | undefined> {
  try {
    return await readSnapshot(...parts);
  } catch (error) {
    const expected = ['not_found', 'integrity_failure', 'wrong_key', 'needs_kit'];
    if (error instanceof HoldfastError && expected.includes(error.code)) return undefined;
    throw error;
  }
}

/** The one that a person means by `wanted`. @throws not_found, conflict */
export function chooseSnapshot(references: readonly ObjectReference[], wanted: string): ObjectReference {
  const isStart = /^[0-9a-f]{8,64}$/.test(wanted);
  const matches = references.filter(
    (one, index) =>
      (isStart && one.sha256.startsWith(wanted)) ||
      String(one.number) === wanted ||
      (wanted === 'latest' && index === references.length - 1),
  );
  const [first, second] = matches;
  if (first === undefined) {
    throw new HoldfastError('not_found', 'There is no such snapshot in this repository', {
      hint: 'List them with: holdfast snapshots',
    });
  }
  if (second !== undefined) {
    throw new HoldfastError('conflict', 'Several snapshots start like that', { hint: 'Give more digits.' });
  }
  return first;
}
