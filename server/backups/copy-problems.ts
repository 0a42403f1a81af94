/** Why a target did not get what it lacks: shown with it, once in the audit log, and tried again after a while. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import type { Problem } from '../lib/shapes.ts';
import { noteCopyProblem } from './copy-queries.ts';
import { updateTarget, type TargetRow } from './queries.ts';
import type { RepositoryRunDeps } from './target-repository.ts';

export function problemOf(error: unknown, otherwise = 'Copying failed inside the appliance'): Problem {
  const known = error instanceof HoldfastError ? error : undefined;
  return {
    code: known?.code ?? 'internal',
    message: known?.message ?? otherwise,
    ...(known?.hint === undefined ? {} : { hint: known.hint }),
  };
}

export async function noteNotCopied(
  deps: Pick<RepositoryRunDeps, 'db' | 'clock'>,
  run: RunContext,
  target: Pick<TargetRow, 'id'>,
  error: unknown,
): Promise<void> {
  const problem = problemOf(error);
  await writeTransaction(deps.db, async (tx) => {
    const failures = await noteCopyProblem(tx, target.id, { problem, now: deps.clock.now() });
    await updateTarget(tx, target.id, { lastError: problem });
    // Once, not at every further try.
    if (failures > 1) return;
    await recordAudit(tx, deps.clock, systemActor(run.kind), {
      action: 'backups.copy.failed',
      objectType: 'target',
      objectId: target.id,
      result: 'failed',
      detail: { code: problem.code, run: run.runId },
    });
  });
}
