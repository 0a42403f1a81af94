/**
 * Brings the catalogue in step with the target: index objects that the head names are taken in, others dropped, and packs
 * that are not on the target (or have another size) are marked, so that the next run stores their chunks again.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { Catalogue, PackState } from '../catalogue/catalogue.ts';
import type { RepositoryReadKeys, Target } from '../engine.ts';
import { decodeIndex, type RepositoryIndex } from '../objects/index-object.ts';
import { numberedName, type ObjectReference, packName } from '../objects/object-names.ts';
import { listPacks } from './listing.ts';
import { openObject, readObject, signingKeysOf } from './object-store.ts';
import { makeWarning, type RepositoryWarning } from './warnings.ts';

export interface CatalogueSync {
  /** Index objects that count but could not be read, for want of a key, or because they are gone or damaged. */
  unread: ObjectReference[];
  /** How many index objects were read to get there. */
  readCount: number;
  warnings: RepositoryWarning[];
}

/**
 * @param wanted index objects that must be in the catalogue.
 * @param tolerated index objects that may stay in it: those of a run that was cut off.
 */
export async function syncIndexes(
  target: Target,
  keys: RepositoryReadKeys,
  catalogue: Catalogue,
  wanted: readonly ObjectReference[],
  tolerated: readonly ObjectReference[],
): Promise<CatalogueSync> {
  const present = new Set(catalogue.indexes().map(keyOf));
  const result: CatalogueSync = { unread: [], readCount: 0, warnings: [] };
  const closed: string[] = [];
  const damaged: string[] = [];
  for (const reference of wanted) {
    if (present.has(keyOf(reference))) continue;
    const read = await tryReadIndex(target, keys, reference);
    if (read === 'closed' || read === 'damaged') {
      result.unread.push(reference);
      (read === 'closed' ? closed : damaged).push(numberedName('index', reference));
    } else {
      catalogue.addIndex(reference, read.sizeBytes, read.index);
      result.readCount++;
    }
  }
  const keep = new Set([...wanted, ...tolerated].map(keyOf));
  for (const reference of catalogue.indexes()) {
    if (!keep.has(keyOf(reference))) catalogue.dropIndex(reference);
  }
  if (closed.length > 0) result.warnings.push(unreadWarning(closed));
  if (damaged.length > 0) {
    result.warnings.push(
      makeWarning('missing_object', 'Index objects that the head names are missing or damaged.', damaged),
    );
  }
  return result;
}

function unreadWarning(names: string[]): RepositoryWarning {
  return makeWarning(
    'unread_index',
    'The catalogue was lost, and this appliance has no key to rebuild it. The next snapshot is a full one, or give the kit once.',
    names,
  );
}

export type IndexReading = { index: RepositoryIndex; sizeBytes: number } | 'closed' | 'damaged';

/** `closed`: no key at hand opens it. `damaged`: missing, altered, or not signed by this repository. */
export async function tryReadIndex(
  target: Target,
  keys: RepositoryReadKeys,
  reference: ObjectReference,
): Promise<IndexReading> {
  try {
    const stored = await readObject(target, 'index', numberedName('index', reference), reference.sha256);
    const plaintext = await openObject(stored, keys);
    const expected = { repositoryId: keys.repositoryId, number: reference.number };
    return { index: decodeIndex(plaintext, expected, signingKeysOf(keys)), sizeBytes: stored.length };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (error.code === 'wrong_key' || error.code === 'needs_kit') return 'closed';
    if (error.code === 'integrity_failure' || error.code === 'not_found') return 'damaged';
    throw error;
  }
}

/** Compares the packs of the catalogue with those on the target, and says which are missing, of a wrong size, or damaged. */
export async function syncPacks(target: Target, catalogue: Catalogue): Promise<RepositoryWarning[]> {
  const listed = await listPacks(target);
  const lost: string[] = [];
  const changes: { row: number; state: PackState }[] = [];
  for (const pack of catalogue.packs()) {
    const isMissing = listed.get(pack.id) !== pack.sizeBytes;
    // That a pack is damaged was found by reading it; a listing does not show it, and does not mend it.
    const state = isMissing ? 'missing' : pack.state === 'missing' ? 'present' : pack.state;
    if (state !== 'present') lost.push(packName(pack.id));
    if (state !== pack.state) changes.push({ row: pack.row, state });
  }
  catalogue.setPackStates(changes);
  if (lost.length === 0) return [];
  return [
    makeWarning(
      'missing_pack',
      'Packs are missing, cut short or damaged. What is still on this appliance is stored again by the next snapshot; older snapshots may have lost files.',
      lost,
    ),
  ];
}

export function keyOf(reference: ObjectReference): string {
  return `${String(reference.number)}-${reference.sha256}`;
}
