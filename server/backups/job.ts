/** The runs of this module apart from the snapshot itself: reading back, forgetting and pruning, one file back. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { applyPolicy, noteBehind, notePruned } from './apply-retention.ts';
import { finishForgetting, forgetSnapshots } from './forget-snapshots.ts';
import { heldSnapshot } from './holds.ts';
import { listHolders } from './copy-queries.ts';
import { problemOf } from './copy-problems.ts';
import { joinOutcomes, type EndedOnTarget } from './join-outcomes.ts';
import { requireTargets } from './manage-targets.ts';
import { reconcileSnapshots } from './record-snapshots.ts';
import { tellLocked } from './repository/prune.ts';
import { verifyRepository } from './repository/verify-repository.ts';
import { toRunProgress } from './run-progress.ts';
import {
  withTargetRepository,
  type OpenTargetRepository,
  type RepositoryRunDeps,
} from './target-repository.ts';
import { updateTarget, type TargetRow } from './queries.ts';

/**
 * The run of kind `prune`, on the target in `input.targetId`, or on each: forgets the snapshot in `input.forget` when there is one, carries
 * out the policy of the target with `input.policy`, then reclaims what may go.
 */
export async function runPrune(deps: RepositoryRunDeps, run: RunContext): Promise<RunOutcome> {
  const { forget } = run.input;
  const targets = await targetsOf(deps.db, run.input);
  const holding = typeof forget === 'string' ? await holdersAmong(deps.db, forget, targets) : targets;
  return onEachTarget(deps, run, holding, (target, open) => pruneOne(deps, run, target, open));
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
  await finishForgetting(deps, target.id, listed);
  const gone = await forgetSnapshots(deps, run, open.writer, {
    ...{ targetId: target.id, by: 'prune', listed },
    snapshots: [{ id, reason: 'forgotten by hand' }],
  });
  if (gone.length === 0) throw heldSnapshot();
  await run.log('info', 'The snapshot is forgotten; its bytes go with a prune after the waiting time');
}

/** The run of kind `verify`, on a target or on each: every object is read back, every chunk compared with its id. */
export async function runVerify(deps: RepositoryRunDeps, run: RunContext): Promise<RunOutcome> {
  return onEachTarget(deps, run, await targetsOf(deps.db, run.input), async (target, open) => {
    await run.step('Reading everything back');
    const report = await verifyRepository(open.repository, {
      everyByte: true,
      signal: run.signal,
      progress: (progress) => run.report(toRunProgress(progress)),
    });
    for (const problem of report.problems) await run.log('error', `${problem.object}: ${problem.message}`);
    const { snapshots } = await open.repository.snapshots();
    await writeTransaction(deps.db, async (tx) => {
      await reconcileSnapshots(tx, deps.clock, {
        repositoryId: open.repository.id,
        targetId: target.id,
        records: snapshots,
        retained: snapshots.map((one) => one.id),
      });
      await recordAudit(tx, deps.clock, systemActor('verify'), {
        action: 'backups.repository.verified',
        objectType: 'target',
        objectId: target.id,
        result: report.ok ? 'done' : 'failed',
        detail: { problems: report.problemCount, run: run.runId },
      });
      await updateTarget(tx, target.id, {
        verified: { at: deps.clock.now(), problems: report.problemCount },
      });
    });
    const result = { problems: report.problemCount, targetId: target.id };
    if (report.ok) return { state: 'succeeded', result };
    return {
      state: 'failed',
      result,
      error: {
        code: 'integrity_failure',
        message: `${String(report.problemCount)} problems were found in what is stored`,
        hint: verifyHint(report.problems.map((problem) => problem.object)),
      },
    };
  });
}

/** A lost snapshot cannot be stored again; what it is made of can, as long as its sources hold it. */
function verifyHint(objects: readonly string[]): string {
  const lost = objects.filter((name) => name.startsWith('snapshots/')).length;
  const again = 'Take a snapshot now: it stores again what is damaged.';
  const forget = `Forget ${lost === 1 ? 'the snapshot that' : 'the snapshots that'} cannot be read; others are not touched by that.`;
  const what = lost === 0 ? again : lost === objects.length ? forget : `${again} ${forget}`;
  return `${what} The log of this run names each object.`;
}

/** The target that the run names; else all that are in use. @throws HoldfastError `wrong_state` when there is none. */
async function targetsOf(db: Database, input: RunContext['input']): Promise<readonly TargetRow[]> {
  const targets = await requireTargets(db);
  if (typeof input.targetId !== 'string') return targets;
  const wanted = targets.find((one) => one.id === input.targetId);
  if (wanted === undefined) throw new HoldfastError('wrong_state', 'This target is retired');
  return [wanted];
}

type ActOnTarget = (target: TargetRow, open: OpenTargetRepository) => Promise<RunOutcome>;

/** One such run at a time, and none beside a snapshot. A target that fails keeps no other from its turn. */
async function onEachTarget(
  deps: RepositoryRunDeps,
  run: RunContext,
  targets: readonly TargetRow[],
  act: ActOnTarget,
): Promise<RunOutcome> {
  const ended: EndedOnTarget[] = [];
  const outcome = await withAdvisoryLock(
    deps.db,
    'repositoryWork',
    async () => {
      for (const target of targets) {
        run.signal.throwIfAborted();
        ended.push(await onOneTarget(deps, run, target, { act, alone: targets.length === 1 }));
      }
      return joinOutcomes(ended);
    },
    { tryOnly: true },
  );
  if (outcome !== undefined) return outcome;
  const error = new HoldfastError('locked', 'Other work on the repository is under way', {
    hint: 'Wait for it to end, then try again.',
  });
  throw error;
}

async function onOneTarget(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  { act, alone }: { act: ActOnTarget; alone: boolean },
): Promise<EndedOnTarget> {
  try {
    return { target, outcome: await withTargetRepository(deps, target, run, (open) => act(target, open)) };
  } catch (error) {
    run.signal.throwIfAborted();
    if (run.input.policy === true) await noteBehind(deps, target.id, error);
    if (alone) throw error;
    const problem = problemOf(error, 'It failed inside the appliance');
    await run.log('error', `${target.name}: ${problem.message}`);
    return { target, outcome: { state: 'failed', result: {}, error: problem } };
  }
}
