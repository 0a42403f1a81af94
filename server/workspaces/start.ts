/** What this module puts in order before the server listens. */
import { messageOf } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { prepareFileStore } from './file-store.ts';
import { sweepStore } from './job.ts';
import { ensureNameIndex } from './name-index.ts';
import { listWorkspaceRoots } from './queries.ts';
import { withAdvisoryLock } from '../lib/lock.ts';

/**
 * Makes the file store, rebuilds the index of names when a crash or a restore emptied it, and starts to remove what
 * interrupted uploads left, which goes on behind the start.
 *
 * @returns `swept` resolves when that is done.
 */
export async function prepareWorkspaces(deps: WorkspaceDeps): Promise<{ swept: Promise<void> }> {
  await prepareFileStore(deps.dataDir);
  const entered = await ensureNameIndex(deps);
  if (entered !== undefined && entered > 0) deps.log.info({ names: entered }, 'Rebuilt the index of names');
  return { swept: sweepAtStart(deps) };
}

async function sweepAtStart(deps: WorkspaceDeps): Promise<void> {
  try {
    if ((await listWorkspaceRoots(deps.db)).length === 0) return;
    await withAdvisoryLock(deps.db, 'fileCollection', () => sweepStore(deps, { starting: true }), {
      tryOnly: true,
    });
  } catch (error) {
    deps.log.error(
      { err: error, detail: messageOf(error) },
      'The file store could not be swept; the collector tries again',
    );
  }
}
