/** What the parts of a writer share, and the two objects that several of them publish: index and head. */
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import type { RepositoryWriteKeys } from '../engine.ts';
import { encodeHead, type KeyringState, type RepositoryHead } from '../objects/head-object.ts';
import { encodeIndex, type RepositoryIndex } from '../objects/index-object.ts';
import { numberedName, type ObjectReference, sha256Of } from '../objects/object-names.ts';
import type { Claim } from './claim.ts';
import type { ClockGuard } from './clock-guard.ts';
import { newestGeneration, publish, sealObject } from './object-store.ts';
import type { Repository } from './open-repository.ts';

/** What the next head will say, and what the parts of a writer share. */
export interface WriterState {
  readonly repository: Repository;
  readonly keys: RepositoryWriteKeys;
  readonly clock: Clock;
  readonly guard: ClockGuard;
  readonly claim: Claim;
  snapshots: ObjectReference[];
  indexes: ObjectReference[];
  nextSnapshot: number;
  nextIndex: number;
  keyring: KeyringState | null;
  longestRunMs: number;
  lastHead: ObjectReference | null;
  highestHead: number;
  ledger: ObjectReference | null;
  wal: unknown;
  /** A removal was taken in that no head knew: its time begins with this writer. */
  removalAdopted: boolean;
}

/** @returns the reference, which the next head will list. */
export async function publishIndexObject(
  state: WriterState,
  content: Omit<RepositoryIndex, 'number'>,
): Promise<ObjectReference> {
  const { repository, keys } = state;
  const index = { ...content, number: state.nextIndex };
  const stored = await sealObject(await encodeIndex(keys.repositoryId, index, keys), keys);
  const reference = { number: index.number, sha256: sha256Of(stored) };
  state.nextIndex++;
  await publish(repository.target, numberedName('index', reference), stored, 'backups.index');
  repository.catalogue.addIndex(reference, stored.length, index);
  crashPoint('backups.index.recorded');
  state.indexes.push(reference);
  return reference;
}

/** Publishes what `state` says now. */
export async function publishHead(
  state: WriterState,
): Promise<{ reference: ObjectReference; head: RepositoryHead }> {
  const { repository, keys } = state;
  // A head that was signed and never arrived has used up its number.
  const signed = Number(await keys.lastHeadNumber());
  const head: RepositoryHead = {
    number: Math.max(state.highestHead, signed) + 1,
    writer: state.claim.number,
    createdAt: state.clock.now().toISOString(),
    generation: newestGeneration(keys).generation,
    previous: state.lastHead,
    snapshots: [...state.snapshots].sort((a, b) => a.number - b.number),
    indexes: [...state.indexes].sort((a, b) => a.number - b.number),
    nextSnapshot: state.nextSnapshot,
    nextIndex: state.nextIndex,
    keyring: state.keyring,
    ledger: state.ledger,
    wal: state.wal,
    longestRunMs: state.longestRunMs,
  };
  const stored = await encodeHead(keys.repositoryId, head, keys);
  const reference = { number: head.number, sha256: sha256Of(stored) };
  await publish(repository.target, numberedName('heads', reference), stored, 'backups.head');
  state.highestHead = head.number;
  state.lastHead = reference;
  state.guard.headMade(head.createdAt);
  repository.catalogue.setHead(reference);
  crashPoint('backups.head.recorded');
  // A rival that came between our look and our head must be noticed by us too.
  await state.claim.check();
  return { reference, head };
}
