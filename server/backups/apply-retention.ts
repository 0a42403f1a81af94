/**
 * Carrying out a target's policy: after each snapshot, daily, and when it changed. First the head without what goes, then prune in its own
 * time. Nothing here trusts that it ran before: each run decides anew from what the head lists and the rows say, so it may be cut off
 * anywhere and done again.
 */
import { recordAudit, systemActor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { enqueueRun, findOpenRun, type RunContext } from '../lib/runs.ts';
import { finishForgetting, forgetSnapshots } from './forget-snapshots.ts';
import { findDoubt, judgeSnapshots } from './unusual/judge-snapshots.ts';
import type { PruneReport } from './repository/prune.ts';
import {
  countSince,
  findRecoveredAt,
  findRetention,
  listRetained,
  listRetentionOfActive,
  policyOf,
  setPolicy,
  updateRetention,
  type RetentionRow,
} from './retention-queries.ts';
import { decide, type Decision } from './retention/decide.ts';
import { type RetentionPolicy } from './retention/policy.ts';
import { KEEP_EVERYTHING } from './retention/policy-words.ts';
import type { WaitingRemoval } from './retention/schema.ts';
import { notAgreed, weigh, whyAsk } from './retention/weigh.ts';
import type { TargetRow } from './queries.ts';
import { isOpen } from './target-hours.ts';
import type { OpenTargetRepository, RepositoryRunDeps } from './target-repository.ts';

type ApplyDeps = Pick<RepositoryRunDeps, 'db' | 'clock'>;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A target that was away is tried again after this long. */
const RETRY_MS = HOUR_MS;
/** Steps within so long count as one. */
const BASELINE_MS = 7 * DAY_MS;

export const agreedOf = (row: RetentionRow | undefined): ReadonlySet<string> =>
  new Set(row === undefined ? [] : (row.agreed as string[]));

/** Steps since then count as one. */
export const baselineStart = (now: Date): Date => new Date(now.getTime() - BASELINE_MS);

/** How many snapshots there were before the first of the steps that count as one. */
export function baselineOf(
  row: Pick<RetentionRow, 'baseline_at' | 'baseline_count'> | undefined,
  total: number,
  now: Date,
): { count: number; at: Date } {
  const { baseline_at: at = null, baseline_count: count = null } = row ?? {};
  if (at === null || count === null || Math.abs(now.getTime() - at.getTime()) > BASELINE_MS) {
    return { count: total, at: now };
  }
  return { count: Math.max(count, total), at };
}

/** Holds and agreements that came after the snapshot are not known to an appliance that was made again from it. */
export const AFTER_RECOVERY =
  'This appliance was recovered from a snapshot: legal holds that were set later are not known here';

/**
 * Forgets what the policy lets go. What is too much at once waits for people instead.
 *
 * @param newer snapshots that this run has published since it opened the repository.
 * @returns how many were forgotten, of how many others parts were, and why the rest waits.
 * @throws HoldfastError `wrong_state` when the clock cannot be believed.
 */
export async function applyPolicy(
  deps: ApplyDeps,
  run: RunContext,
  target: Pick<TargetRow, 'id' | 'name'>,
  open: Pick<OpenTargetRepository, 'repository' | 'writer'>,
  newer: readonly string[] = [],
): Promise<{ forgotten: number; reduced?: number; waits?: string }> {
  const listed = [...open.repository.snapshotReferences.map((one) => one.sha256), ...newer];
  await finishForgetting(deps, target.id, { retained: listed, expired: open.writer.expired() });
  await judgeSnapshots(deps);
  const row = await findRetention(deps.db, target.id);
  const policy = policyOf(row);
  if (row === undefined || policy.kind === 'keep-everything') return { forgotten: 0 };
  await run.step('Applying the retention policy');
  // One that the head lists and no row tells of is kept: nothing is known of it.
  const snapshots = await listRetained(deps.db, target.id, listed);
  const agreed = agreedOf(row);
  const decisions = decide(snapshots, policy, { now: deps.clock.now(), agreed });
  const going = decisions.filter((one) => !one.keep || one.expires !== undefined);
  const why = await whyWait(deps, row, decisions, agreed);
  if (why !== undefined && going.length > 0) {
    await noteWaiting(deps, run, row, { why, ...weigh(decisions) });
    return { forgotten: 0, waits: why };
  }
  const doubt = await findDoubt(deps.db, listed);
  if (doubt !== undefined && going.some(({ snapshot }) => snapshot.number < doubt.number)) {
    const smaller = `Snapshot ${doubt.number} holds much less than those before it`;
    const { id, number } = doubt;
    const waiting = { why: smaller, ...weigh(decisions), doubt: { id, number } };
    await noteWaiting(deps, run, row, waiting);
    return { forgotten: 0, waits: smaller };
  }
  run.signal.throwIfAborted();
  const gone = await forgetSnapshots(deps, run, open.writer, {
    ...{ targetId: target.id, by: 'retention', listed },
    snapshots: going.map(({ snapshot, keep, reasons, expires }) => ({
      id: snapshot.id,
      // Of one that stays, the last reason says why parts of it go; the others are not about that.
      reason: keep ? (reasons.at(-1) ?? '') : reasons.join('; '),
      ...(expires === undefined ? {} : { sections: expires }),
    })),
  });
  for (const { id, reason, sections } of gone) {
    const number = snapshots.find((one) => one.id === id)?.number;
    const what = sections === undefined ? 'is forgotten' : `loses ${sections.join(', ')}`;
    await run.log('info', `Snapshot ${String(number)} ${what} on ${target.name}: ${reason}`);
  }
  const now = deps.clock.now();
  await writeTransaction(deps.db, (tx) =>
    updateRetention(tx, target.id, {
      appliedAt: now,
      triedAt: now,
      problem: null,
      waiting: null,
      agreed: [],
    }),
  );
  const reduced = gone.filter((one) => one.sections !== undefined).length;
  return { forgotten: gone.length - reduced, ...(reduced > 0 ? { reduced } : {}) };
}

async function whyWait(
  deps: ApplyDeps,
  row: RetentionRow,
  decisions: readonly Decision[],
  agreed: ReadonlySet<string>,
): Promise<string | undefined> {
  const recoveredAt = await findRecoveredAt(deps.db);
  if (recoveredAt !== undefined && recoveredAt > row.changed_at) return AFTER_RECOVERY;
  const before = row.baseline_at === null ? 0 : baselineOf(row, 0, deps.clock.now()).count;
  return whyAsk(notAgreed(decisions, agreed), before);
}

/** The policy of a new target. A place that was retired and is added again begins with what it had, or that would be the way round. */
export async function beginRetention(
  tx: WriteTransaction,
  clock: Clock,
  { id: targetId, catalogue }: Pick<TargetRow, 'id' | 'catalogue'>,
  policy: RetentionPolicy | undefined,
): Promise<void> {
  const now = clock.now();
  const count = await countSince(tx, catalogue, new Date(now.getTime() - BASELINE_MS));
  if (policy === undefined && count === 0) return;
  await setPolicy(tx, targetId, { policy: policy ?? KEEP_EVERYTHING, agreed: [], now });
  await updateRetention(tx, targetId, { baseline: { count, at: now } });
}

/** Said once in the audit log, as long as the reason is the same. */
async function noteWaiting(
  deps: ApplyDeps,
  run: RunContext,
  row: RetentionRow,
  { why, removes, total, partsGo = 0, doubt }: Omit<WaitingRemoval, 'since'>,
): Promise<void> {
  const now = deps.clock.now();
  const before = row.waiting as WaitingRemoval | null;
  const same = before !== null && before.why === why;
  const since = same ? before.since : now.toISOString();
  const waiting = { why, removes, total, partsGo, since, ...(doubt === undefined ? {} : { doubt }) };
  await run.log('warn', `${why}. Nothing is removed until people agree, on the page of the target.`);
  await writeTransaction(deps.db, async (tx) => {
    await updateRetention(tx, row.target_id, { triedAt: now, waiting, problem: null });
    if (same) return;
    await recordAudit(tx, deps.clock, systemActor('retention'), {
      action: 'backups.retention.refused',
      objectType: 'target',
      objectId: row.target_id,
      result: 'refused',
      detail: { why, removes, total, partsGo, run: run.runId },
    });
  });
}

/** What a prune freed and what still waits, on the target's page. Targets without a policy have no such row. */
export async function notePruned(deps: ApplyDeps, targetId: string, report: PruneReport): Promise<void> {
  const row = await findRetention(deps.db, targetId);
  if (row === undefined) return;
  const waited = Math.max(0, Number(row.waiting_bytes) - report.deletedBytes);
  await writeTransaction(deps.db, (tx) =>
    updateRetention(tx, targetId, {
      reclaimedMore: report.deletedBytes,
      waitingBytes: report.waitingObjects === 0 ? 0 : waited + report.markedBytes,
      nextPruneAt: report.nextAt === undefined ? null : new Date(report.nextAt),
      lockedUntil: report.lockedUntil === undefined ? null : new Date(report.lockedUntil),
    }),
  );
}

/** A policy that could not be carried out is behind; it is tried again by itself. */
export async function noteBehind(deps: ApplyDeps, targetId: string, error: unknown): Promise<void> {
  const known = error instanceof HoldfastError ? error : undefined;
  const problem = {
    code: known?.code ?? 'internal',
    message: known?.message ?? 'Something went wrong inside the appliance; its log says what',
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
  };
  await writeTransaction(deps.db, (tx) =>
    updateRetention(tx, targetId, { triedAt: deps.clock.now(), problem }),
  );
}

/** Once a minute: queues the run that carries out a policy which changed, was not carried out for a day, or has bytes due. */
export async function applyRetentionWhenDue(deps: { db: Database; clock: Clock }): Promise<void> {
  const now = deps.clock.now();
  const due = (await listRetentionOfActive(deps.db))
    .filter((row) => isDue(row, now) && isOpen(row, now))
    // One that fails is tried last again, so that it keeps no other from its turn.
    .sort((a, b) => (a.tried_at?.getTime() ?? 0) - (b.tried_at?.getTime() ?? 0));
  const [first] = due;
  if (first === undefined) return;
  await writeTransaction(deps.db, async (tx) => {
    for (const kind of ['snapshot', 'verify', 'prune'] as const) {
      if ((await findOpenRun(tx, kind)) !== undefined) return;
    }
    await enqueueRun(tx, deps.clock, {
      ...{ kind: 'prune', cause: 'schedule' },
      input: { policy: true, targetId: first.target_id },
    });
  });
}

function isDue(row: RetentionRow, now: Date): boolean {
  // A clock that went back must not make anything wait for years.
  const since = (at: Date | null): number =>
    at === null ? Infinity : Math.abs(now.getTime() - at.getTime());
  const changed = row.tried_at === null || row.changed_at > row.tried_at;
  if (changed) return true;
  if (since(row.tried_at) < RETRY_MS) return false;
  return (
    row.problem !== null ||
    since(row.tried_at) >= DAY_MS ||
    (row.next_prune_at !== null && row.next_prune_at <= now)
  );
}
