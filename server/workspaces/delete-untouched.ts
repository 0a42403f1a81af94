/** Deletes what the appliance was making in a workspace and did not finish, unless a person has begun to use it. */
import type { Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import type { WorkspaceDeps } from './deps.ts';
import { stopDownloads } from './download-watch.ts';
import { findNode, listMadeBelow, lockFolderMoves } from './queries.ts';
import { deleteHeld } from './service.ts';

export type Untouched = 'deleted' | 'touched' | 'gone';

class Touched extends Error {}

/** Touched is what anybody made, renamed or changed in it, moved into it, or did to the folder itself. */
export async function deleteUntouched(
  deps: Pick<WorkspaceDeps, 'db' | 'clock'>,
  folderId: string,
  actor: Actor,
): Promise<Untouched> {
  try {
    const nodeIds = await writeTransaction(deps.db, async (tx) => {
      const node = await findNode(tx, folderId);
      if (node === undefined) return undefined;
      await lockFolderMoves(tx, node.workspace_id);
      const made = await listMadeBelow(tx, folderId);
      if (made.some(({ untouched }) => !untouched)) throw new Touched();
      const deleted = await deleteHeld(tx, deps, node, 'appliance', actor);
      // What was added between the two looks is somebody's.
      if (deleted.length !== made.length) throw new Touched();
      return deleted;
    });
    if (nodeIds === undefined) return 'gone';
    stopDownloads(deps.db, nodeIds);
    return 'deleted';
  } catch (error) {
    if (error instanceof Touched) return 'touched';
    throw error;
  }
}
