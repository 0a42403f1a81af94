/**
 * Ends downloads of files that were deleted, and of those that their reader may no longer see: at once when this process
 * deleted them, else within some half a second. Guarantees: no more bytes are handed to the connection after the end; what
 * lay in its buffers may arrive.
 */
import { mayRunOn, type Person } from '../identity/index.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { findEffectiveRole } from './members.ts';
import { listExistingNodes } from './queries.ts';

const CHECK_EVERY_MS = 500;

type WatchDeps = Pick<WorkspaceDeps, 'db' | 'clock' | 'log'>;

interface Download {
  nodeId: string;
  workspaceId: string;
  person: Person;
  controller: AbortController;
}

/** Downloads under way on one database. */
interface Watch {
  downloads: Set<Download>;
  timer: NodeJS.Timeout;
}

const watches = new Map<Database, Watch>();

/** @returns a signal that aborts when the file is gone or closed to the reader, and what ends the watch. */
export function watchDownload(
  deps: WatchDeps,
  node: { id: string; workspaceId: string },
  person: Person,
): { gone: AbortSignal; end(): void } {
  const watch = watches.get(deps.db) ?? startWatch(deps);
  const controller = new AbortController();
  const download = { nodeId: node.id, workspaceId: node.workspaceId, person, controller };
  watch.downloads.add(download);
  return {
    gone: controller.signal,
    end: () => {
      watch.downloads.delete(download);
      if (watch.downloads.size > 0 || watches.get(deps.db) !== watch) return;
      clearInterval(watch.timer);
      watches.delete(deps.db);
    },
  };
}

/** Ends the downloads of nodes that were just deleted. */
export function stopDownloads(db: Database, nodeIds: readonly string[]): void {
  const gone = new Set(nodeIds);
  stop(db, ({ nodeId }) => gone.has(nodeId), 'This file was deleted while it was read');
}

function stop(db: Database, which: (download: Download) => boolean, why: string): void {
  const downloads = watches.get(db)?.downloads ?? new Set();
  for (const download of [...downloads].filter(which)) {
    downloads.delete(download);
    download.controller.abort(new HoldfastError('not_found', why));
  }
}

function startWatch(deps: WatchDeps): Watch {
  const downloads = new Set<Download>();
  let checking = false;
  const timer = setInterval(() => {
    if (checking) return;
    checking = true;
    void check(deps, downloads).finally(() => {
      checking = false;
    });
  }, CHECK_EVERY_MS).unref();
  const watch = { downloads, timer };
  watches.set(deps.db, watch);
  return watch;
}

async function check(deps: WatchDeps, downloads: ReadonlySet<Download>): Promise<void> {
  const present = [...downloads];
  try {
    const ids = [...new Set(present.map(({ nodeId }) => nodeId))];
    const existing = new Set(await listExistingNodes(deps.db, ids));
    stopDownloads(
      deps.db,
      ids.filter((id) => !existing.has(id)),
    );
    for (const group of Map.groupBy(present, readerKey).values()) {
      const [first] = group;
      if (first === undefined || (await mayStillRead(deps, first))) continue;
      stop(deps.db, (download) => group.includes(download), 'You may no longer read this file');
    }
  } catch (error) {
    // Without the database nobody can know, so nobody reads on.
    deps.log.warn(
      { detail: messageOf(error) },
      'Downloads end: the database cannot say whether their files exist and who may read them',
    );
    stop(deps.db, (download) => present.includes(download), 'The database cannot be asked who may read this');
  }
}

/** The same session or key reads the same workspace: one question for all of its downloads. */
function readerKey({ person, workspaceId }: Download): string {
  return `${person.sessionId} ${person.apiKey?.id ?? ''} ${workspaceId}`;
}

async function mayStillRead(deps: WatchDeps, { person, workspaceId }: Download): Promise<boolean> {
  if ((await findEffectiveRole(deps.db, workspaceId, person.userId)) === undefined) return false;
  return mayRunOn(deps, person);
}
