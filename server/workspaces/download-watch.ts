/**
 * Ends downloads of files that were deleted: at once when this process deleted them, within half a second when another
 * one did. Guarantees: no more bytes are handed to the connection after the end; what lay in its buffers may arrive.
 */
import type { Database } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { listExistingNodes } from './queries.ts';

const CHECK_EVERY_MS = 500;

/** Downloads under way on one database, by node. */
interface Watch {
  downloads: Map<string, Set<AbortController>>;
  timer: NodeJS.Timeout;
}

const watches = new Map<Database, Watch>();

/** @returns a signal that aborts when the file is gone, and what ends the watch. */
export function watchDownload(
  deps: Pick<WorkspaceDeps, 'db' | 'log'>,
  nodeId: string,
): { gone: AbortSignal; end(): void } {
  const watch = watches.get(deps.db) ?? startWatch(deps);
  const controller = new AbortController();
  const group = watch.downloads.get(nodeId) ?? new Set();
  group.add(controller);
  watch.downloads.set(nodeId, group);
  return {
    gone: controller.signal,
    end: () => {
      group.delete(controller);
      if (group.size === 0 && watch.downloads.get(nodeId) === group) watch.downloads.delete(nodeId);
      if (watch.downloads.size > 0 || watches.get(deps.db) !== watch) return;
      clearInterval(watch.timer);
      watches.delete(deps.db);
    },
  };
}

/** Ends the downloads of nodes that were just deleted. */
export function stopDownloads(db: Database, nodeIds: readonly string[]): void {
  const downloads = watches.get(db)?.downloads;
  if (downloads === undefined) return;
  for (const nodeId of nodeIds) {
    const group = downloads.get(nodeId);
    downloads.delete(nodeId);
    for (const controller of group ?? []) {
      controller.abort(new HoldfastError('not_found', 'This file was deleted while it was read'));
    }
  }
}

function startWatch(deps: Pick<WorkspaceDeps, 'db' | 'log'>): Watch {
  const downloads = new Map<string, Set<AbortController>>();
  const timer = setInterval(() => void check(deps, downloads), CHECK_EVERY_MS).unref();
  const watch = { downloads, timer };
  watches.set(deps.db, watch);
  return watch;
}

async function check(deps: Pick<WorkspaceDeps, 'db' | 'log'>, downloads: Watch['downloads']): Promise<void> {
  const nodeIds = [...downloads.keys()];
  try {
    const existing = new Set(await listExistingNodes(deps.db, nodeIds));
    stopDownloads(
      deps.db,
      nodeIds.filter((id) => !existing.has(id)),
    );
  } catch (error) {
    // Without the database nobody can know, so nobody reads on.
    deps.log.warn(
      { detail: messageOf(error) },
      'Downloads end: the database cannot say whether their files exist',
    );
    stopDownloads(deps.db, nodeIds);
  }
}
