/** What the parts of a writer share, and the two objects that several of them publish: index and head. */
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryWriteKeys } from '../engine.ts';
import {
  encodeHead,
  type ExpiredParts,
  type KeyringState,
  type RepositoryHead,
} from '../objects/head-object.ts';
import { encodeIndex, type RepositoryIndex } from '../objects/index-object.ts';
import { numberedName, type ObjectReference, sha256Of } from '../objects/object-names.ts';
import type { LogKnowledge } from '../wal/log-needs.ts';
import type { Claim } from './claim.ts';
import type { ClockGuard } from './clock-guard.ts';
import { sameReference } from './listing.ts';
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
  /** What of them is kept no more. */
  expired: ExpiredParts[];
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
  /** What is known of shipping on this target. */
  readonly log: LogKnowledge | undefined;
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
  const { repository } = state;
  const { head, stored } = await signHead(state);
  const reference = { number: head.number, sha256: sha256Of(stored) };
  await publish(repository.target, numberedName('heads', reference), stored, 'backups.head');
  state.highestHead = head.number;
  state.lastHead = reference;
  state.guard.headMade(head.createdAt);
  repository.catalogue.setHead(reference);
  // Not before a head says so: until then its packs are needed.
  repository.catalogue.setExpired(head.expired ?? []);
  crashPoint('backups.head.recorded');
  // A rival that came between our look and our head must be noticed by us too.
  await state.claim.check();
  return { reference, head };
}

/** A number is signed once for all targets: one that work on another target took in this moment is stepped over. */
const MOST_STEPS = 20;

async function signHead(state: WriterState): Promise<{ head: RepositoryHead; stored: Buffer }> {
  const { keys } = state;
  for (let step = 1; ; step++) {
    // A head that was signed and never arrived has used up its number.
    const signed = Number(await keys.lastHeadNumber());
    const head = headOf(state, Math.max(state.highestHead, signed) + 1);
    try {
      return { head, stored: await encodeHead(keys.repositoryId, head, keys) };
    } catch (error) {
      const taken = error instanceof HoldfastError && error.code === 'conflict';
      if (!taken || step >= MOST_STEPS) throw error;
    }
  }
}

function headOf(state: WriterState, number: number): RepositoryHead {
  const expired = state.expired.filter(({ snapshot }) =>
    state.snapshots.some((one) => sameReference(one, snapshot)),
  );
  return {
    number,
    writer: state.claim.number,
    createdAt: state.clock.now().toISOString(),
    generation: newestGeneration(state.keys).generation,
    previous: state.lastHead,
    snapshots: [...state.snapshots].sort((a, b) => a.number - b.number),
    ...(expired.length > 0 ? { expired: expired.sort((a, b) => a.snapshot.number - b.snapshot.number) } : {}),
    indexes: [...state.indexes].sort((a, b) => a.number - b.number),
    nextSnapshot: state.nextSnapshot,
    nextIndex: state.nextIndex,
    keyring: state.keyring,
    ledger: state.ledger,
    wal: state.wal,
    longestRunMs: state.longestRunMs,
  };
}
