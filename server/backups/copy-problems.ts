/** Why a target did not get what it lacks: shown with it, once in the audit log, and tried again after a while. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import type { Problem } from '../lib/shapes.ts';
import { noteCopyProblem } from './copy-queries.ts';
import { updateTarget, type TargetRow } from './queries.ts';
import { SourceFailed } from './repository/source-failed.ts';
import type { RepositoryRunDeps } from './target-repository.ts';

export function problemOf(error: unknown, otherwise = 'Copying failed inside the appliance'): Problem {
  const known = error instanceof HoldfastError ? error : undefined;
  return {
    code: known?.code ?? 'internal',
    message: known?.message ?? otherwise,
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
  };
}

/** Kept with the target that lacks it; one that says `source` is that other target's fault, whose id it is. */
export interface CopyProblem extends Problem {
  source?: string;
}

export async function noteNotCopied(
  deps: Pick<RepositoryRunDeps, 'db' | 'clock'>,
  run: RunContext,
  target: Pick<TargetRow, 'id'>,
  error: unknown,
): Promise<void> {
  const source = error instanceof SourceFailed ? { source: error.source.id } : {};
  const problem: CopyProblem = { ...problemOf(error), ...source };
  await writeTransaction(deps.db, async (tx) => {
    const failures = await noteCopyProblem(tx, target.id, { problem, now: deps.clock.now() });
    if (problem.source === undefined) await updateTarget(tx, target.id, { lastError: problem });
    // Once, not at every further try.
    if (failures > 1) return;
    await recordAudit(tx, deps.clock, systemActor(run.kind), {
      action: 'backups.copy.failed',
      objectType: 'target',
      objectId: target.id,
      result: 'failed',
      detail: { code: problem.code, ...source, run: run.runId },
    });
  });
}

/** What says that the target itself cannot be used; the rest is a matter of what was wanted of it. */
const OF_THE_TARGET: readonly string[] = ['unavailable', 'target_refused'];

/** The target that was read from has failed, and says so itself. */
export async function noteSourceFailed(
  deps: Pick<RepositoryRunDeps, 'db'>,
  failure: SourceFailed,
): Promise<void> {
  if (!OF_THE_TARGET.includes(failure.code)) return;
  const lastError = problemOf(failure.cause);
  await writeTransaction(deps.db, (tx) => updateTarget(tx, failure.source.id, { lastError }));
}
