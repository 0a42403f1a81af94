/**
 * Removes the bytes of what was deleted, and what crashes left in the store. Guarantees: nothing is removed while a
 * snapshot reads the store (it shares the lock that this takes alone), nor anything that a row names.
 */
import { recordAudit, systemActor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction } from '../lib/db.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import type { WorkspaceDeps } from './deps.ts';
import { removeContents, sweepFileStore } from './file-store.ts';
import { deleteDoomedContents, listDoomedContents, listKnownContents } from './queries.ts';

const BATCH = 500;
/** A content is renamed into the store moments before its row is committed; nothing takes this long. */
const ORPHAN_AGE_MS = 60 * 60 * 1000;
const SWEEP_EVERY_MS = 24 * 60 * 60 * 1000;

type CollectorDeps = Pick<WorkspaceDeps, 'dataDir' | 'db' | 'clock' | 'log'>;

/** Says up to when what was deleted may go; later ones may not be on every target yet that follows the log. */
export type HeldBack = (deps: CollectorDeps) => Promise<Date>;

export interface Collection {
  contents: number;
}

let nextSweepAt = 0;

/** @returns how many contents were removed; undefined when a snapshot holds the store, and it has to be tried later. */
export async function collectDoomedContents(
  deps: CollectorDeps,
  heldBack: HeldBack = async () => deps.clock.now(),
): Promise<Collection | undefined> {
  return withAdvisoryLock(
    deps.db,
    'fileCollection',
    async () => {
      let contents = 0;
      const before = await heldBack(deps);
      for (;;) {
        const doomed = await listDoomedContents(deps.db, BATCH, before);
        if (doomed.length > 0) await collectBatch(deps, doomed);
        contents += doomed.length;
        if (doomed.length < BATCH) break;
      }
      if (deps.clock.monotonicMs() >= nextSweepAt) {
        nextSweepAt = deps.clock.monotonicMs() + SWEEP_EVERY_MS;
        await sweepStore(deps);
      }
      return { contents };
    },
    { tryOnly: true },
  );
}

async function collectBatch(deps: CollectorDeps, contentIds: readonly string[]): Promise<void> {
  await removeContents(deps.dataDir, contentIds);
  crashPoint('workspaces.collection.removed');
  await writeTransaction(deps.db, async (tx) => {
    await deleteDoomedContents(tx, contentIds);
    await recordAudit(tx, deps.clock, systemActor('collector'), {
      action: 'workspaces.contents.removed',
      objectType: 'file-store',
      detail: { contents: contentIds.length },
    });
  });
}

/**
 * Removes temporaries whose writer is gone, and contents without a row. Hold the lock, or be the only process.
 *
 * @param options.starting nothing of this process is being written yet.
 */
export async function sweepStore(
  deps: CollectorDeps,
  options: { starting?: boolean; olderThanMs?: number } = {},
): Promise<{ temporaries: number; contents: number }> {
  const swept = await sweepFileStore(deps.dataDir, {
    keep: (contentIds) => listKnownContents(deps.db, contentIds),
    olderThanMs: options.olderThanMs ?? ORPHAN_AGE_MS,
    nowMs: deps.clock.now().getTime(),
    starting: options.starting ?? false,
  });
  if (swept.temporaries + swept.contents > 0) {
    deps.log.info(swept, 'Removed what interrupted uploads had left in the file store');
  }
  return swept;
}
