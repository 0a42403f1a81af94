/** The runs of this module apart from the snapshot itself: reading back, forgetting and pruning, one file back. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { applyPolicy, noteBehind, notePruned } from './apply-retention.ts';
import { followTargets } from './follow-targets.ts';
import { finishForgetting, forgetSnapshots } from './forget-snapshots.ts';
import { heldSnapshot } from './holds.ts';
import { listHolders } from './copy-queries.ts';
import { problemOf } from './copy-problems.ts';
import { joinOutcomes, type EndedOnTarget } from './join-outcomes.ts';
import { requireTargets } from './manage-targets.ts';
import { tellLocked } from './repository/prune.ts';
import {
  withTargetRepository,
  type OpenTargetRepository,
  type RepositoryRunDeps,
} from './target-repository.ts';
import type { TargetRow } from './queries.ts';
import { withRepositoryTurn } from './repository-turn.ts';
import { verifyAndRepair } from './verify-target.ts';

/**
 * The run of kind `prune`, on the target in `input.targetId`, or on each: forgets the snapshot in `input.forget` when there is one, carries
 * out the policy of the target with `input.policy`, then reclaims what may go.
 */
export async function runPrune(deps: RepositoryRunDeps, run: RunContext): Promise<RunOutcome> {
  const { forget } = run.input;
  const targets = await targetsOf(deps.db, run.input);
  const holding = typeof forget === 'string' ? await holdersAmong(deps.db, forget, targets) : targets;
  return onEachTarget(deps, run, holding, (target, on) =>
    withTargetRepository(deps, target, on, (open) => pruneOne(deps, on, target, open)),
  );
}

async function holdersAmong(db: Database, snapshotId: string, targets: readonly TargetRow[]) {
  const holders = new Set((await listHolders(db, snapshotId)).map((one) => one.id));
  const holding = targets.filter((target) => holders.has(target.id));
  // One whose rows say otherwise is asked all the same: its head is the truth.
  return holding.length === 0 ? targets : holding;
}

async function pruneOne(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
): Promise<RunOutcome> {
  const { forget, policy } = run.input;
  if (typeof forget === 'string') await forgetOne(deps, run, target, open, forget);
  const applied = policy === true ? await applyPolicy(deps, run, target, open) : {};
  run.signal.throwIfAborted();
  await run.step('Reclaiming what no snapshot needs');
  const report = await open.writer.prune({
    signal: run.signal,
    progress: (filesDone, filesTotal) => run.report({ filesDone, filesTotal }),
  });
  if (report.lockedObjects > 0) await run.log('info', tellLocked(report));
  await notePruned(deps, target.id, report);
  const { lockedUntil = null, nextAt = null } = report;
  const result = { ...report, ...applied, nextAt, lockedUntil, targetId: target.id };
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, systemActor('prune'), {
      action: 'backups.repository.pruned',
      objectType: 'target',
      objectId: target.id,
      detail: {
        ...{ deletedObjects: report.deletedObjects, deletedBytes: report.deletedBytes },
        ...{ lockedObjects: report.lockedObjects, run: run.runId },
      },
    }),
  );
  run.signal.throwIfAborted();
  return { state: report.missingChunks === 0 ? 'succeeded' : 'partial', result };
}

async function forgetOne(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
  id: string,
): Promise<void> {
  await run.step('Forgetting the snapshot');
  const listed = open.repository.snapshotReferences.map((one) => one.sha256);
  await finishForgetting(deps, target.id, { retained: listed, expired: open.writer.expired() });
  const gone = await forgetSnapshots(deps, run, open.writer, {
    ...{ targetId: target.id, by: 'prune', listed },
    snapshots: [{ id, reason: 'forgotten by hand' }],
  });
  if (gone.length === 0) throw heldSnapshot();
  await run.log('info', 'The snapshot is forgotten; its bytes go with a prune after the waiting time');
}

/** The run of kind `verify`, on a target or on each. */
export async function runVerify(deps: RepositoryRunDeps, run: RunContext): Promise<RunOutcome> {
  const targets = await targetsOf(deps.db, run.input);
  return onEachTarget(deps, run, targets, (target, on) => verifyAndRepair(deps, on, target));
}

/** The target that the run names; else all that are in use. @throws HoldfastError `wrong_state` when there is none. */
async function targetsOf(db: Database, input: RunContext['input']): Promise<readonly TargetRow[]> {
  const targets = await requireTargets(db);
  if (typeof input.targetId !== 'string') return targets;
  const wanted = targets.find((one) => one.id === input.targetId);
  if (wanted === undefined) throw new HoldfastError('wrong_state', 'This target is retired');
  return [wanted];
}

/** Is given the run as far as it concerns that target. */
type ActOnTarget = (target: TargetRow, run: RunContext) => Promise<RunOutcome>;

/** One such run at a time, and none beside a snapshot. A target that fails keeps no other from its turn. */
async function onEachTarget(
  deps: RepositoryRunDeps,
  run: RunContext,
  targets: readonly TargetRow[],
  act: ActOnTarget,
): Promise<RunOutcome> {
  const ended: EndedOnTarget[] = [];
  const steps = followTargets(run, deps.clock, targets);
  return withRepositoryTurn(deps.db, run, async () => {
    for (const [at, target] of targets.entries()) {
      run.signal.throwIfAborted();
      const on = steps.begin(at);
      const one = await onOneTarget(deps, on, target, { act, alone: targets.length === 1 });
      steps.end(at, one.outcome);
      ended.push(one);
    }
    return joinOutcomes(ended);
  });
}

async function onOneTarget(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  { act, alone }: { act: ActOnTarget; alone: boolean },
): Promise<EndedOnTarget> {
  try {
    return { target, outcome: await act(target, run) };
  } catch (error) {
    run.signal.throwIfAborted();
    if (run.input.policy === true) await noteBehind(deps, target.id, error);
    if (alone) throw error;
    const problem = problemOf(error, 'It failed inside the appliance');
    await run.log('error', `${target.name}: ${problem.message}`);
    return { target, outcome: { state: 'failed', result: {}, error: problem } };
  }
}
