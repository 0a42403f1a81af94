/** What is not kept any more, whole snapshots or parts of them: one head says all of it, so it is done or not begun. */
import { HoldfastError } from '../../lib/errors.ts';
import type { ObjectReference } from '../objects/object-names.ts';
import { publishHead, type WriterState } from './writer-state.ts';

/** Of a snapshot that stays. */
export interface PartsToExpire {
  snapshotId: string;
  /** Names of sections. */
  sections: readonly string[];
  /** What the policy says, in plain words; it stands in the head, which is not encrypted. */
  because: string;
}

/** @throws not_found when one is not retained; what stays is as it was then. */
export async function forget(
  state: WriterState,
  snapshotIds: readonly string[],
  parts: readonly PartsToExpire[],
): Promise<void> {
  const wanted = new Set(snapshotIds);
  const { snapshots, expired } = state;
  const dropped = snapshots.filter((one) => wanted.has(one.sha256));
  const kept = snapshots.filter((one) => !wanted.has(one.sha256));
  if (dropped.length !== wanted.size) throw notHere();
  const at = state.clock.now().toISOString();
  const more = parts.map(({ snapshotId, sections, because }) => {
    const snapshot = kept.find((one) => one.sha256 === snapshotId);
    if (snapshot === undefined || sections.length === 0) throw notHere();
    checkSomeLeft(state, snapshot, sections);
    return { snapshot, sections: [...sections], at, because };
  });
  const before = state.lastHead;
  state.snapshots = kept;
  state.expired = [...expired, ...more];
  try {
    await publishHead(state);
  } catch (error) {
    // What a head says that is there holds, also where something failed after it: the next one must not say otherwise.
    if (state.lastHead === before) {
      state.snapshots = snapshots;
      state.expired = expired;
    }
    throw error;
  }
  for (const reference of dropped) state.repository.catalogue.dropSnapshot(reference);
}

function notHere(): HoldfastError {
  return new HoldfastError('not_found', 'A snapshot to be forgotten is not in this repository', {
    hint: 'Nothing was forgotten. List the snapshots and try again.',
  });
}

/** A snapshot without any part is one that is forgotten, which is decided by other rules. */
function checkSomeLeft(state: WriterState, reference: ObjectReference, gone: readonly string[]): void {
  const known = state.repository.catalogue.findSnapshot(reference);
  if (known?.sections.every((section) => gone.includes(section.name)) !== true) return;
  throw new HoldfastError('wrong_state', `Nothing would be left of snapshot ${String(reference.number)}`, {
    hint: 'Nothing was forgotten.',
  });
}
