/** The anchors as the audit page shows them. */
import { readNewestCheckpoint, type TargetAnchorState } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { listTargetAnchors, type TargetAnchor } from './anchor-queries.ts';

/** An hour's checkpoint that is not there after this is late. */
const LATE_MS = 2 * 3_600_000;

export async function listAnchorStates({
  db,
  clock,
}: {
  db: Database;
  clock: Clock;
}): Promise<TargetAnchorState[]> {
  const checkpoint = (await readNewestCheckpoint(db))?.checkpoint;
  const now = clock.now();
  return (await listTargetAnchors(db)).map((anchor) => ({
    targetId: anchor.target.id,
    targetName: anchor.target.name,
    sameDisk: anchor.target.same_disk,
    state: stateOf(anchor, checkpoint, now),
    size: anchor.newest?.size ?? null,
    checkpointAt: anchor.newest?.at.toISOString() ?? null,
    anchoredAt: anchor.anchoredAt?.toISOString() ?? null,
    problem: anchor.problem ?? null,
  }));
}

/** Pure. */
export function stateOf(
  { target, newest, problem }: TargetAnchor,
  checkpoint: { origin: string; at: Date } | undefined,
  now: Date,
): TargetAnchorState['state'] {
  if (problem !== undefined) return 'failing';
  if (target.last_ok_at === null) return 'none';
  // Checkpoints were taken out of the database, or none was signed yet: what lies there is all there is.
  if (checkpoint === undefined) return newest === undefined ? 'none' : 'current';
  if (newest?.origin !== checkpoint.origin) return 'behind';
  const has = newest.at.getTime() >= checkpoint.at.getTime();
  return has || now.getTime() - checkpoint.at.getTime() < LATE_MS ? 'current' : 'behind';
}
