import type { Database } from '../lib/db.ts';
import type { Problem } from '../lib/shapes.ts';
import { listActiveTargets, type TargetRow } from './queries.ts';

/** How far a target got with its copies of the audit log's checkpoints. */
export interface TargetAnchor {
  target: TargetRow;
  /** The newest that lies there; undefined when none was written yet. */
  newest: { origin: string; size: number; at: Date } | undefined;
  anchoredAt: Date | undefined;
  triedAt: Date | undefined;
  /** In a row, since the last that was written. */
  failures: number;
  problem: Problem | undefined;
}

/** Of every target in use, the oldest first. */
export async function listTargetAnchors(db: Database): Promise<TargetAnchor[]> {
  const targets = await listActiveTargets(db);
  const rows = await db.selectFrom('target_anchors').selectAll().execute();
  return targets.map((target) => {
    const row = rows.find((candidate) => candidate.target_id === target.id);
    const { origin = null, size = null, checkpoint_at: at = null } = row ?? {};
    return {
      target,
      newest:
        origin === null || size === null || at === null ? undefined : { origin, size: Number(size), at },
      anchoredAt: row?.anchored_at ?? undefined,
      triedAt: row?.tried_at,
      failures: row?.failures ?? 0,
      problem: (row?.problem as Problem | null | undefined) ?? undefined,
    };
  });
}

export async function saveAnchored(
  tx: Database,
  targetId: string,
  anchor: { origin: string; size: number; at: Date; now: Date },
): Promise<void> {
  const values = {
    origin: anchor.origin,
    size: String(anchor.size),
    checkpoint_at: anchor.at,
    anchored_at: anchor.now,
    tried_at: anchor.now,
    failures: 0,
    problem: null,
  };
  await tx
    .insertInto('target_anchors')
    .values({ target_id: targetId, ...values })
    .onConflict((conflict) => conflict.column('target_id').doUpdateSet(values))
    .execute();
}

/** @returns how many tries in a row have failed now. */
export async function saveAnchorProblem(
  tx: Database,
  targetId: string,
  failure: { problem: Problem; now: Date },
): Promise<number> {
  const values = { tried_at: failure.now, problem: JSON.stringify(failure.problem) };
  const row = await tx
    .insertInto('target_anchors')
    .values({ target_id: targetId, ...values, failures: 1 })
    .onConflict((conflict) =>
      conflict
        .column('target_id')
        .doUpdateSet((eb) => ({ ...values, failures: eb('target_anchors.failures', '+', 1) })),
    )
    .returning('failures')
    .executeTakeFirstOrThrow();
  return row.failures;
}
