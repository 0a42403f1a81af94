/** The log alone restores nothing: after each beginning a snapshot is needed, and never one older than what is kept of the log. */
import { recordAudit, systemActor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { parseLsn } from '../../lib/postgres/index.ts';
import { enqueueRun } from '../../lib/runs.ts';
import { findLacking } from '../lacking.ts';
import { listActiveTargets } from '../queries.ts';
import {
  hasOpenSnapshotRun,
  listBases,
  lockPointInTime,
  updatePointInTime,
  type BaseRow,
  type PointInTimeRow,
} from './point-in-time-queries.ts';
import type { ShipDeps } from './ship-target.ts';
import type { ShipPosition, ShipState } from './ship-state.ts';
import { sameChain } from './wal-names.ts';

const DAY_MS = 86_400_000;
/** A snapshot that failed is asked for again after this long. */
const ASK_AGAIN_MS = 30 * 60_000;
const LOOK_EVERY_MS = 15_000;
const lookedAt = new WeakMap<ShipState, number>();

/**
 * Queues a snapshot when a target's log has none to go on from, or only one that is about to be too old.
 *
 * @param untaken targets that are shipped to once a snapshot has taken them over.
 */
export async function askForBases(
  deps: Pick<ShipDeps, 'db' | 'clock'>,
  settings: PointInTimeRow,
  state: ShipState,
  untaken: readonly string[] = [],
): Promise<void> {
  const nowMs = deps.clock.monotonicMs();
  if (nowMs - (lookedAt.get(state) ?? -Infinity) < LOOK_EVERY_MS) return;
  lookedAt.set(state, nowMs);
  const now = deps.clock.now();
  const asked = settings.asked_base_at;
  if (asked !== null && Math.abs(now.getTime() - asked.getTime()) < ASK_AGAIN_MS) {
    const begun = state.list().some((at) => at.timeline !== 0 && at.startAt > asked);
    if (!begun) return;
  }
  const bases = await listBases(deps.db);
  const oldest = new Date(now.getTime() - Math.max(0.5, settings.window_days - 1) * DAY_MS);
  const without = state.list().filter((at) => at.timeline !== 0 && !hasBase(at, bases, oldest));
  const lacking = [...untaken];
  for (const at of without)
    if (!lacking.includes(at.targetId) && !(await isOnItsWay(deps, at, bases, oldest)))
      lacking.push(at.targetId);
  if (lacking.length === 0 || (await hasOpenSnapshotRun(deps.db))) return;
  await writeTransaction(deps.db, async (tx) => {
    await lockPointInTime(tx);
    const runId = await enqueueRun(tx, deps.clock, { kind: 'snapshot', cause: 'schedule' });
    await updatePointInTime(tx, { asked_base_at: now });
    await recordAudit(tx, deps.clock, systemActor('log shipping'), {
      action: 'backups.wal.snapshot-asked',
      objectType: 'run',
      objectId: runId,
      detail: { targets: lacking },
    });
  });
}

/** Another target has one, which is copied there by itself. */
async function isOnItsWay(
  deps: Pick<ShipDeps, 'db' | 'clock'>,
  at: ShipPosition,
  bases: readonly BaseRow[],
  oldest: Date,
): Promise<boolean> {
  const fitting = bases.filter((base) => isBase(at, base, oldest));
  if (fitting.length === 0) return false;
  const target = (await listActiveTargets(deps.db)).find((row) => row.id === at.targetId);
  const lacked = target === undefined ? [] : await findLacking(deps, target);
  return lacked.some((one) => fitting.some((base) => base.snapshotId === one.id));
}

/** On the target itself: what another one holds restores nothing there. Pure. */
export function hasBase(at: ShipPosition, bases: readonly BaseRow[], oldest: Date): boolean {
  return bases.some((base) => base.targetId === at.targetId && isBase(at, base, oldest));
}

/** A snapshot that the stretch goes on from: of the same history, its end in the stretch, and young enough. */
function isBase(at: ShipPosition, base: BaseRow, oldest: Date): boolean {
  return sameChain(base, at) && parseLsn(base.endLsn) >= at.start && base.takenAt >= oldest;
}
