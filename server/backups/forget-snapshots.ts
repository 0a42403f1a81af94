/**
 * Forgetting, so that a kill at any instant leaves it done or not begun: what is to go, and why, is noted on the rows (`forgetting`); the
 * head that leaves it out is published; the rows follow, with an audit entry each. The next run finishes by the head what was cut off.
 * A hold and a forgetting of one snapshot wait for each other at its row.
 */
import { recordAudit, systemActor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import {
  clearForgetting,
  listForgetting,
  listHolds,
  lockSnapshots,
  noteForgetting,
  setForgotten,
} from './retention-queries.ts';
import type { RepositoryWriter } from './repository/writer.ts';
import type { RepositoryRunDeps } from './target-repository.ts';

export interface ToForget {
  id: string;
  /** In plain words: it is shown, and goes into the audit log. */
  reason: string;
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
  writer: Pick<RepositoryWriter, 'forget'>,
  { targetId, listed, by, snapshots }: Order,
): Promise<ToForget[]> {
  const going = await writeTransaction(deps.db, async (tx) => {
    const ids = snapshots.map((one) => one.id);
    await lockSnapshots(tx, ids);
    const held = new Set((await listHolds(tx, ids)).map((hold) => hold.snapshot_id));
    const free = snapshots.filter((one) => !held.has(one.id));
    for (const { id, reason } of free)
      await noteForgetting(tx, { snapshotId: id, targetId }, { reason, by, runId: run.runId });
    return free;
  });
  if (going.length === 0) return going;
  crashPoint('backups.forget.noted');
  const ids = going.map((one) => one.id);
  try {
    await writer.forget(ids);
  } catch (error) {
    // Refused before anything was published; where that is not sure, the next run looks at the head.
    if (error instanceof HoldfastError && (error.code === 'wrong_state' || error.code === 'not_found'))
      await writeTransaction(deps.db, (tx) => clearForgetting(tx, targetId, ids));
    throw error;
  }
  crashPoint('backups.forget.published');
  const gone = new Set(ids);
  await finishForgetting(
    deps,
    targetId,
    listed.filter((id) => !gone.has(id)),
  );
  return going;
}

/**
 * Makes the rows say what the head of a target says of snapshots whose forgetting there was noted. Safe to repeat.
 *
 * @param retained ids that the newest head there lists.
 */
export async function finishForgetting(
  deps: Pick<RepositoryRunDeps, 'db' | 'clock'>,
  targetId: string,
  retained: readonly string[],
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
      if (kept.has(id)) continue;
      const place = { snapshotId: id, targetId };
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
