/**
 * Takes in what a run published before it was cut off: objects that are signed, whole, and newer than the newest head. By the
 * order of writing a published snapshot has all it needs, so nothing that was finished is lost or stored twice.
 * Objects of numbers that a head gave out and does not list were removed on purpose, and are never taken in again.
 */
import { numberedName, type ObjectReference, parseKeyringName } from '../objects/object-names.ts';
import { listNames, listNumbered, sameReference } from './listing.ts';
import type { Repository } from './open-repository.ts';
import { keyOf, tryReadIndex } from './sync-catalogue.ts';
import { tryReadSnapshot } from './read-snapshot.ts';
import type { WriterState } from './writer-state.ts';

/** Numbers are never used twice, not even those of objects that no head names. */
export async function adoptUnclaimed(state: WriterState): Promise<void> {
  await adoptKeyring(state);
  await adoptIndexes(state);
  await adoptSnapshots(state);
  state.nextIndex = await nextNumber(state.repository, 'index', state.nextIndex);
  state.nextSnapshot = await nextNumber(state.repository, 'snapshots', state.nextSnapshot);
}

/** Number of a forged name far beyond ours: stepped over, or it would use up all numbers. */
const MAX_JUMP = 1_000_000;

async function nextNumber(
  repository: Repository,
  kind: 'snapshots' | 'index',
  atLeast: number,
): Promise<number> {
  const numbers = (await listNumbered(repository.target, kind)).map((one) => one.number);
  return Math.max(atLeast, ...numbers.filter((one) => one < atLeast + MAX_JUMP).map((one) => one + 1));
}

/** Keyring objects are closed to us; which of them are ours, our own catalogue remembers. */
async function adoptKeyring(state: WriterState): Promise<void> {
  const noted = state.repository.catalogue.keyring();
  if (noted === undefined || !isNewer(noted, state.keyring)) return;
  const present = new Set(await listNames(state.repository.target, 'keyring/'));
  if (noted.objects.every((name) => present.has(name) && parseKeyringName(name) !== undefined)) {
    state.keyring = noted;
  }
}

function isNewer(noted: { epoch: string; objects: string[] }, current: WriterState['keyring']): boolean {
  if (current === null) return true;
  const [theirs, ours] = [Number(noted.epoch), Number(current.epoch)];
  return theirs > ours || (theirs === ours && noted.objects.length > current.objects.length);
}

async function adoptIndexes(state: WriterState): Promise<void> {
  const { target, catalogue, keys } = state.repository;
  const known = new Set(catalogue.indexes().map(keyOf));
  const adopted = new Set<string>();
  for (const reference of await unclaimed(state, 'index')) {
    const read = known.has(keyOf(reference)) ? undefined : await tryReadIndex(target, keys, reference);
    if (read === 'closed' || read === 'damaged') continue;
    if (read !== undefined) catalogue.addIndex(reference, read.sizeBytes, read.index);
    state.indexes.push(reference);
    adopted.add(keyOf(reference));
  }
  const replaced = new Set(catalogue.superseded());
  const stale = state.indexes.filter((one) => replaced.has(numberedName('index', one)));
  state.indexes = state.indexes.filter((one) => !stale.includes(one));
  for (const reference of stale) catalogue.dropIndex(reference);
  state.removalAdopted = catalogue.indexesWithRemovals().some((carrier) => adopted.has(keyOf(carrier)));
}

async function adoptSnapshots(state: WriterState): Promise<void> {
  const { target, catalogue, keys } = state.repository;
  for (const reference of await unclaimed(state, 'snapshots')) {
    const snapshot = await tryReadSnapshot(target, keys, catalogue, reference);
    if (snapshot === undefined) continue;
    const segments = snapshot.sections.flatMap((section) => section.segments.map((one) => one.chunk));
    const whole = catalogue.locate(segments).every((found) => found !== undefined);
    const readable = Number(snapshot.keyringEpoch) <= Number(state.keyring?.epoch ?? 0);
    if (whole && readable) state.snapshots.push(reference);
  }
}

async function unclaimed(state: WriterState, kind: 'index' | 'snapshots'): Promise<ObjectReference[]> {
  const [from, counted] =
    kind === 'index' ? [state.nextIndex, state.indexes] : [state.nextSnapshot, state.snapshots];
  const listed = await listNumbered(state.repository.target, kind);
  return listed.filter((one) => one.number >= from && !counted.some((other) => sameReference(one, other)));
}
