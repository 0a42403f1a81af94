/**
 * Forgetting, of whole snapshots or of parts of them, so that a kill at any instant leaves it done or not begun: what is to go, and why, is noted on the rows (`forgetting`); the
 * head that leaves it out is published; the rows follow, with an audit entry each. The next run finishes by the head what was cut off.
 * A hold and a forgetting of one snapshot wait for each other at its row.
 */
import { recordAudit, systemActor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import type { ExpiredParts } from './objects/head-object.ts';
import {
  clearForgetting,
  listForgetting,
  listHolds,
  lockSnapshots,
  noteForgetting,
  setForgotten,
  setReduced,
  type Forgetting,
} from './retention-queries.ts';
import { isSmallPart } from './retention/parts.ts';
import type { RepositoryWriter } from './repository/writer.ts';
import type { RepositoryRunDeps } from './target-repository.ts';

export interface ToForget {
  id: string;
  /** In plain words: it is shown, and goes into the audit log. */
  reason: string;
  /** Only these parts of it go; the others stay. */
  sections?: readonly string[];
}

interface Order {
  targetId: string;
  /** Ids of all that the newest head lists. */
  listed: readonly string[];
  /** Part that does it, for the audit log: `retention`, `prune`. */
  by: string;
  snapshots: readonly ToForget[];
}

/**
 * Leaves out what is held by now.
 *
 * @returns those that were forgotten.
 */
export async function forgetSnapshots(
  deps: Pick<RepositoryRunDeps, 'db' | 'clock'>,
  run: RunContext,
  writer: Pick<RepositoryWriter, 'forget' | 'expired'>,
  { targetId, listed, by, snapshots }: Order,
): Promise<ToForget[]> {
  const going = await writeTransaction(deps.db, async (tx) => {
    const ids = snapshots.map((one) => one.id);
    await lockSnapshots(tx, ids);
    const held = new Set((await listHolds(tx, ids)).map((hold) => hold.snapshot_id));
    const free = snapshots.filter((one) => !held.has(one.id));
    for (const { id, ...note } of free)
      await noteForgetting(tx, { snapshotId: id, targetId }, { ...note, by, runId: run.runId });
    return free;
  });
  if (going.length === 0) return going;
  crashPoint('backups.forget.noted');
  const ids = going.map((one) => one.id);
  const gone = new Set(going.filter((one) => one.sections === undefined).map((one) => one.id));
  const parts = going.flatMap(({ id, reason, sections }) =>
    sections === undefined ? [] : [{ snapshotId: id, sections, because: oneLine(reason) }],
  );
  try {
    await writer.forget([...gone], parts);
  } catch (error) {
    // Refused before anything was published; where that is not sure, the next run looks at the head.
    if (error instanceof HoldfastError && (error.code === 'wrong_state' || error.code === 'not_found'))
      await writeTransaction(deps.db, (tx) => clearForgetting(tx, targetId, ids));
    throw error;
  }
  crashPoint('backups.forget.published');
  const retained = listed.filter((id) => !gone.has(id));
  await finishForgetting(deps, targetId, { retained, expired: writer.expired() });
  return going;
}

/** As a head takes it. */
const oneLine = (reason: string): string => reason.replace(/[\u0000-\u001f\u007f]+/g, ' ').slice(0, 200);

/** What a head says of the snapshots of its target. */
export interface HeadSays {
  /** Ids of all that it lists. */
  retained: readonly string[];
  expired: readonly ExpiredParts[];
}

/**
 * Makes the rows say what the head of a target says of snapshots whose forgetting there was noted. Safe to repeat.
 *
 * @param says of the newest head there.
 */
export async function finishForgetting(
  deps: Pick<RepositoryRunDeps, 'db' | 'clock'>,
  targetId: string,
  { retained, expired }: HeadSays,
): Promise<void> {
  const noted = await listForgetting(deps.db, targetId);
  if (noted.length === 0) return;
  const kept = new Set(retained);
  await writeTransaction(deps.db, async (tx) => {
    await lockSnapshots(
      tx,
      noted.map((one) => one.id),
    );
    await clearForgetting(
      tx,
      targetId,
      noted.filter((one) => kept.has(one.id)).map((one) => one.id),
    );
    for (const { id, note } of noted) {
      const place = { snapshotId: id, targetId };
      if (kept.has(id)) {
        const lost = expired.filter((one) => one.snapshot.sha256 === id);
        await finishReducing(deps, tx, place, { note, lost });
        continue;
      }
      await setForgotten(tx, place, { at: deps.clock.now(), because: note.reason });
      await recordAudit(tx, deps.clock, systemActor(note.by), {
        action: 'backups.snapshot.forgotten',
        objectType: 'snapshot',
        objectId: id,
        detail: { run: note.runId, targetId, reason: note.reason },
      });
    }
  });
  crashPoint('backups.forget.recorded');
}

/** Only where the head says that all these parts are gone: a note without that was cut off before it. */
async function finishReducing(
  deps: Pick<RepositoryRunDeps, 'clock'>,
  tx: WriteTransaction,
  place: { snapshotId: string; targetId: string },
  { note, lost }: { note: Forgetting; lost: readonly ExpiredParts[] },
): Promise<void> {
  const { sections } = note;
  const gone = new Set(lost.flatMap((one) => one.sections));
  if (sections?.every((name) => gone.has(name)) !== true) return;
  await setReduced(tx, place, {
    ...{ at: deps.clock.now(), because: note.reason },
    expired: lost.map(({ sections, at, because }) => ({ sections, at, because })),
    restoresNothing: ![...gone].every(isSmallPart),
  });
  await recordAudit(tx, deps.clock, systemActor(note.by), {
    action: 'backups.snapshot.reduced',
    objectType: 'snapshot',
    objectId: place.snapshotId,
    detail: { run: note.runId, targetId: place.targetId, parts: sections.join(', '), reason: note.reason },
  });
}
