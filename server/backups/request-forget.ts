/** Forgetting one snapshot by hand. Held ones stay; the last proven one, the only one, and half of all in small steps need a second person. */
import { recordAudit, type Actor } from '../audit/index.ts';
import { requestApproval } from '../identity/index.ts';
import { writeTransaction, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Run } from '../lib/run-schema.ts';
import { enqueueRun, findOpenRun, getRun } from '../lib/runs.ts';
import type { AskedApproval } from '../lib/shapes.ts';
import type { JsonObject } from '../lib/tables.ts';
import type { Clock } from '../lib/clock.ts';
import { heldSnapshot } from './holds.ts';
import { baselineOf } from './apply-retention.ts';
import type { RetentionDeps } from './keep-policy.ts';
import { requireTargets } from './manage-targets.ts';
import {
  findProven,
  getSnapshot,
  listActiveTargets,
  listSnapshotTargets,
  type SnapshotTargetRow,
} from './queries.ts';
import {
  findHold,
  findRetention,
  listRetained,
  lockSnapshots,
  updateRetention,
} from './retention-queries.ts';
import { isLeftover } from './retention/decide-parts.ts';
import { snapshotCan, type SnapshotState } from './schema.ts';

export const FORGET_PROTECTED = 'Forget a snapshot that protects the rest';

export interface ForgetRequest {
  reason?: string | undefined;
  /** Only there; else on every target in use that has it. */
  targetId?: string | undefined;
}

/**
 * Queues the forgetting of one snapshot: it leaves the head at once, its bytes go with a later prune. Asks for approval where it needs
 * one and the person said why.
 *
 * @throws HoldfastError `not_found`; `wrong_state` when it is forgotten or held, and without a reason when it needs a second person.
 */
export async function requestForget(
  deps: RetentionDeps,
  actor: Actor,
  id: string,
  { reason, targetId }: ForgetRequest = {},
): Promise<Run | AskedApproval> {
  const row = await getSnapshot(deps.db, id);
  await requireTargets(deps.db);
  if (!snapshotCan[row.state as SnapshotState].forget) {
    throw new HoldfastError('wrong_state', 'This snapshot is forgotten already');
  }
  const queued = await writeTransaction(deps.db, async (tx) => {
    await lockSnapshots(tx, [id]);
    if ((await findHold(tx, id)) !== undefined) throw heldSnapshot();
    const places = await placesToForget(tx, id, targetId);
    const why = await whyAskToForget(tx, deps, id, places);
    const only = targetId === undefined ? {} : { targetId };
    if (why === undefined) return queueForget(tx, deps, actor, { snapshotId: id, ...only });
    const { id: personId } = actor;
    if (personId === undefined || reason === undefined) {
      throw new HoldfastError('wrong_state', why, {
        hint: 'Take another snapshot and prove it by a restore test first, or ask a second person on the page of the snapshot.',
      });
    }
    return requestApproval(
      tx,
      deps,
      {
        ...{ act: 'backups.snapshot.forget', title: FORGET_PROTECTED },
        payload: { snapshotId: id, ...only },
        ...{
          object: { type: 'snapshot', id },
          reason: reason.trim(),
          seen: await lookAtSnapshot(tx, { snapshotId: id }),
        },
        consequence: `${why}. Snapshot ${row.number} of ${row.taken_at.toISOString().slice(0, 10)} can be restored no more${targetId === undefined ? '' : ` from ${places.map((place) => place.target_name).join(', ')}`}.`,
      },
      { ...actor, id: personId },
    );
  });
  return typeof queued === 'string' ? getRun(deps.db, queued) : queued;
}

/** Targets in use from which it goes. @throws HoldfastError `not_found` when the one that was named has it not. */
async function placesToForget(
  tx: WriteTransaction,
  id: string,
  targetId: string | undefined,
): Promise<SnapshotTargetRow[]> {
  const places = (await listSnapshotTargets(tx, [id])).filter(
    (place) => place.state === 'stored' && place.target_state === 'active',
  );
  if (targetId === undefined) return places;
  const there = places.filter((place) => place.target_id === targetId);
  if (there.length > 0) return there;
  throw new HoldfastError('not_found', 'This snapshot is not on that target', {
    hint: 'Its page says where it lies.',
  });
}

/** The first reason that one of the targets gives; each keeps a past of its own. */
async function whyAskToForget(
  tx: WriteTransaction,
  deps: { clock: Clock },
  id: string,
  places: readonly SnapshotTargetRow[],
): Promise<string | undefined> {
  const several = (await listActiveTargets(tx)).length > 1;
  const retention = [];
  for (const { target_id: targetId, target_name } of places) {
    const where = several ? ` on ${target_name}` : '';
    const retained = (await listRetained(tx, targetId)).filter((one) => !isLeftover(one));
    if (retained.length <= 1) return `This is the only snapshot there is${where}`;
    const proven = await findProven(
      tx,
      retained.map((one) => one.id),
    );
    if (proven.has(id) && proven.size === 1)
      return `This is the only snapshot${where} that a restore test has proven`;
    const row = await findRetention(tx, targetId);
    const baseline = baselineOf(row, retained.length, deps.clock.now());
    if ((retained.length - 1) * 2 < baseline.count) {
      return `It would leave ${retained.length - 1} of the ${baseline.count} snapshots of the last days${where}`;
    }
    if (row !== undefined) retention.push({ targetId, baseline });
  }
  for (const { targetId, baseline } of retention) await updateRetention(tx, targetId, { baseline });
  return undefined;
}

/** State and hold of it, held until the transaction ends. */
export async function lookAtSnapshot(tx: WriteTransaction, payload: JsonObject): Promise<JsonObject> {
  const id = payload.snapshotId as string;
  const [row] = await lockSnapshots(tx, [id]);
  return { state: row?.state ?? 'unknown', held: (await findHold(tx, id)) !== undefined };
}

/** What approval does. @throws HoldfastError `unavailable` while other such work is under way: it is tried again. */
export async function forgetAsApproved(
  tx: WriteTransaction,
  deps: { clock: Clock },
  payload: JsonObject,
  actor: Actor,
): Promise<void> {
  if ((await findOpenRun(tx, 'prune')) !== undefined) {
    throw new HoldfastError('unavailable', 'A prune is under way', {
      hint: 'Approve it when that has ended.',
    });
  }
  const { snapshotId, targetId } = payload as { snapshotId: string; targetId?: string };
  await queueForget(tx, deps, actor, { snapshotId, ...(targetId === undefined ? {} : { targetId }) });
}

async function queueForget(
  tx: WriteTransaction,
  deps: { clock: Clock },
  actor: Actor,
  { snapshotId, ...only }: { snapshotId: string; targetId?: string },
): Promise<string> {
  const runId = await enqueueRun(tx, deps.clock, {
    ...{ kind: 'prune', input: { forget: snapshotId, ...only }, requestedBy: actor.id },
    cause: actor.kind === 'console' ? 'console' : 'person',
  });
  await recordAudit(tx, deps.clock, actor, {
    action: 'backups.prune.requested',
    objectType: 'run',
    objectId: runId,
    detail: { forget: snapshotId, ...only },
  });
  return runId;
}
