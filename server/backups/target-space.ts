/** How much room a target has, as those who write to it found, and how much of it is ours. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Target } from './engine.ts';
import { findTarget, saveSpace } from './target-space-queries.ts';

export { listTargetSpace, type TargetSpaceRow } from './target-space-queries.ts';

interface SpaceDeps {
  db: Database;
  clock: Clock;
}

/** At the end of a run that wrote there. Never an error: the work itself is done. */
export async function noteSpace(deps: SpaceDeps, targetId: string, target: Target): Promise<void> {
  try {
    const freeBytes = await target.freeBytes();
    if (freeBytes === undefined) return;
    await writeTransaction(deps.db, (tx) =>
      saveSpace(tx, targetId, { free_bytes: freeBytes, measured_at: deps.clock.now() }),
    );
  } catch {
    // Measured again after the next run.
  }
}

/** The room that a target has for us, where it does not say so itself. @throws HoldfastError `not_found` */
export async function setQuota(
  deps: SpaceDeps,
  actor: Actor,
  targetId: string,
  quotaBytes: number | null,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const target = await findTarget(tx, targetId);
    if (target === undefined) throw new HoldfastError('not_found', 'There is no such target');
    await saveSpace(tx, targetId, { quota_bytes: quotaBytes });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.quota-changed',
      objectType: 'target',
      objectId: targetId,
      detail: { from: target.quota_bytes === null ? null : Number(target.quota_bytes), to: quotaBytes },
    });
  });
}
