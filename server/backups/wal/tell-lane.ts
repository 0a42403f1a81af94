/** What people are told of the log of a target: how far it is, what keeps it, and what is lost between two stretches. */
import { recordAudit, systemActor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { formatLsn } from '../../lib/postgres/index.ts';
import { goesOn, isStrange, type Lane, type Scene } from './lane.ts';
import { deleteGapsBefore, insertGap, listGaps } from './point-in-time-queries.ts';
import { noAnswer } from './round.ts';
import type { ShipPosition, ShipReport } from './ship-state.ts';
import type { LogSource } from './ship-target.ts';
import { onTimeMs } from './time-off.ts';

/** What people are shown may be so old while nothing happens. */
export const REPORT_EVERY_MS = 30_000;
/** What is older is in the audit log. */
const GAPS_KEPT_MS = 90 * 86_400_000;
/** Pieces, in the audit log. */
const MOST_NAMED = 20;
const actor = systemActor('log shipping');

/**
 * What was committed so long ago may not be there yet. By the database's clock; a look without anything new counts as now, and time in
 * which the database was off does not count.
 */
export function measureLag({ state }: Scene, lane: Lane, { now }: LogSource): void {
  const at = state.find(lane.row.id);
  if (at === undefined) return;
  if (goesOn(state, at) && at.position >= now.flushed) lane.wholeAt = now.at;
  const since = new Date(Math.max(at.completeAt.getTime(), lane.wholeAt?.getTime() ?? 0));
  lane.worstMs = Math.max(lane.worstMs, onTimeMs(state.offs(), since, now.at));
}

/** The process may have ended between beginning and telling. */
export async function lacksGap({ deps }: Scene, at: ShipPosition | undefined): Promise<boolean> {
  if (at?.lastGap == null) return false;
  const told = await listGaps(deps.db, at.startAt);
  return !told.some((gap) => gap.target_id === at.targetId && gap.until.getTime() === at.startAt.getTime());
}

/** A new stretch, and the gap before it: told once, in the table and in the audit log. */
export async function tellBegun({ deps, state, adminDeps }: Scene, lane: Lane): Promise<void> {
  const at = state.find(lane.row.id);
  if (at === undefined) return;
  const gap = at.lastGap;
  const foreign = lane.shipper.foreign();
  await writeTransaction(deps.db, async (tx) => {
    await deleteGapsBefore(tx, new Date(deps.clock.now().getTime() - GAPS_KEPT_MS));
    if (gap !== null) {
      await insertGap(tx, {
        ...{ targetId: lane.row.id, reason: gap.reason, since: gap.since },
        ...{
          fromLsn: gap.from === null ? null : formatLsn(gap.from),
          until: at.startAt,
          declaredAt: deps.clock.now(),
        },
      });
    }
    await recordAudit(tx, deps.clock, actor, {
      action: gap === null ? 'backups.wal.begun' : 'backups.wal.gap',
      objectType: 'target',
      objectId: lane.row.id,
      detail: {
        from: formatLsn(at.start),
        ...(gap === null ? {} : { reason: gap.reason }),
        ...(foreign.length === 0 ? {} : { foreign: foreign.length, first: foreign.slice(0, MOST_NAMED) }),
      },
    });
  });
  if (foreign.length === 0) return;
  adminDeps.log.warn(
    { target: lane.row.id, pieces: foreign.length, first: foreign.slice(0, MOST_NAMED) },
    'A target holds pieces of the log that this appliance did not write; they are left alone',
  );
}

export function reportQuiet(scene: Scene, lane: Lane, source: LogSource): void {
  if (scene.deps.clock.monotonicMs() - lane.reportedMs < REPORT_EVERY_MS) return;
  if (isStrange(lane)) return tell(scene, lane, source, 'waiting', null);
  if (lane.failures === 0) tell(scene, lane, source, 'shipping', null);
  // Its round was left and is not over.
  else if (lane.round !== undefined) tell(scene, lane, source, 'away', problemOf(noAnswer()));
}

export function tell(
  scene: Scene,
  lane: Lane,
  { now }: LogSource,
  state: ShipReport['state'],
  problem: ShipReport['problem'],
): void {
  const at = scene.state.find(lane.row.id);
  const lookedAt = scene.deps.clock.now().toISOString();
  const isWhole = goesOn(scene.state, at) && at.position >= now.flushed;
  if (isWhole && now.at > at.completeAt) scene.state.setComplete(lane.row.id, now.at);
  const completeAt = isWhole ? now.at : at?.completeAt;
  lane.reportedMs = scene.deps.clock.monotonicMs();
  lane.report = {
    state,
    since: lane.report?.state === state ? lane.report.since : lookedAt,
    completeAt: completeAt?.toISOString() ?? null,
    pendingBytes: goesOn(scene.state, at) ? Number(now.flushed - at.position) : 0,
    lookedAt,
    problem,
  };
  scene.state.report(lane.row.id, lane.report);
  if (at === undefined) return;
  scene.state.noteLag(lane.row.id, now.at, lane.worstMs / 1000);
  lane.worstMs = 0;
}

export function problemOf(error: unknown): NonNullable<ShipReport['problem']> {
  if (!(error instanceof HoldfastError)) return { code: 'internal', message: messageOf(error).slice(0, 500) };
  const { code, message, hint } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}
