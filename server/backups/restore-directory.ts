/** Restoring the files of a snapshot into a directory of this machine, asked for at the console. */
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Run } from '../lib/run-schema.ts';
import { enqueueRun, getRun, type RunContext, type RunOutcome } from '../lib/runs.ts';
import type { WorkspaceDeps } from '../workspaces/index.ts';
import { getSnapshot, getTarget } from './queries.ts';
import { requireUsablePlace } from './restore-place.ts';
import { restoreTree, type RestoreTreeOptions } from './restore-tree.ts';
import { withSnapshot, type RepositoryRunDeps } from './target-repository.ts';

export interface DirectoryRestore {
  snapshotId: string;
  targetId: string;
  /** Absolute path. */
  to: string;
  paths?: string[];
  existing: RestoreTreeOptions['existing'];
}

/**
 * Queues the run.
 *
 * @throws HoldfastError `not_found`, `wrong_state` for a forgotten snapshot, `conflict` for a directory that may not be filled.
 */
export async function requestDirectoryRestore(
  deps: { db: Database; clock: Clock },
  actor: Actor,
  restore: DirectoryRestore,
): Promise<Run> {
  if (actor.kind !== 'console')
    throw new HoldfastError('forbidden', 'A directory is restored at the console only');
  const snapshot = await getSnapshot(deps.db, restore.snapshotId);
  if (snapshot.state === 'forgotten') throw new HoldfastError('wrong_state', 'This snapshot was forgotten');
  const target = await getTarget(deps.db, restore.targetId);
  await refuseKnownPlace(restore);
  const runId = await writeTransaction(deps.db, async (tx) => {
    const id = await enqueueRun(tx, deps.clock, {
      kind: 'restore-directory',
      input: { ...restore, targetId: target.id },
      cause: 'console',
    });
    // Paths are people's file names: the log says how many, not which.
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.directory.restore-requested',
      objectType: 'snapshot',
      objectId: snapshot.id,
      detail: { run: id, to: restore.to, paths: restore.paths?.length ?? null, existing: restore.existing },
    });
    return id;
  });
  return getRun(deps.db, runId);
}

/** A refusal now leaves no failed run behind. The run looks again, as an account that may see what this one may not. */
async function refuseKnownPlace({ to, existing }: DirectoryRestore): Promise<void> {
  try {
    await requireUsablePlace(to, existing);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'conflict') throw error;
  }
}

/** The run of kind `restore-directory`. */
export async function runRestoreDirectory(
  deps: RepositoryRunDeps & WorkspaceDeps,
  run: RunContext,
): Promise<RunOutcome> {
  const wanted = run.input as unknown as DirectoryRestore;
  await run.step('Opening the snapshot');
  return withSnapshot(deps, run, wanted, async ({ reader, snapshot }) => {
    await run.step('Restoring the files');
    const report = await restoreTree(
      { reader, snapshot, keys: deps.keys, sealer: deps.sealer },
      {
        to: wanted.to,
        existing: wanted.existing,
        signal: run.signal,
        ...(wanted.paths === undefined ? {} : { paths: wanted.paths }),
        progress: ({ files, totalFiles, bytes, totalBytes }) =>
          run.report({ filesDone: files, filesTotal: totalFiles, bytesDone: bytes, bytesTotal: totalBytes }),
      },
    );
    for (const problem of report.problems) await run.log('error', `${problem.path}: ${problem.reason}`);
    await writeTransaction(deps.db, (tx) =>
      recordAudit(tx, deps.clock, systemActor('restore'), {
        action: 'backups.directory.restored',
        objectType: 'snapshot',
        objectId: snapshot.id,
        detail: { run: run.runId, files: report.files, problems: report.problemCount },
      }),
    );
    return { state: report.problemCount === 0 ? 'succeeded' : 'partial', result: { ...report } };
  });
}
