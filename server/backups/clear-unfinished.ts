/**
 * Folders that a restore was filling when its process was killed. A restore that fails deletes its folder itself; here the same is done for
 * one that could not, at the next start or minute.
 *
 * Guarantees: a folder in which anybody has made, renamed, moved or changed something is left, and the log of the run says so.
 */
import { systemActor } from '../audit/index.ts';
import { appendRunLog } from '../lib/runs.ts';
import { deleteUntouched, type WorkspaceDeps } from '../workspaces/index.ts';
import { forgetUnfinished, listUnfinished } from './unfinished-queries.ts';

const WORDS = {
  deleted: 'The folder that was not whole yet is deleted again',
  touched: 'The folder that is not whole yet is left: somebody has changed something in it since',
} as const;

export async function clearUnfinished(deps: Pick<WorkspaceDeps, 'db' | 'clock' | 'log'>): Promise<void> {
  for (const { runId, folderId } of await listUnfinished(deps.db)) {
    const outcome = await deleteUntouched(deps, folderId, systemActor('restore'));
    await forgetUnfinished(deps.db, runId);
    if (outcome === 'gone') continue;
    await appendRunLog(deps.db, deps.clock, runId, { level: 'warn', message: WORDS[outcome] });
    deps.log.info({ run: runId, folder: folderId, outcome }, 'The folder of a restore that was cut off');
  }
}
