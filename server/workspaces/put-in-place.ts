/** Puts what was restored in the place of what is there now, which stays beside it under another name: nothing is lost. */
import { recordAudit, type Actor } from '../audit/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { noSuchNode, requireNode } from './members.ts';
import { nameHashes, namingTransaction } from './name-index.ts';
import { deleteName, lockNode, updateNode } from './queries.ts';
import { describeNode, giveName, rootStays, sealNodeName } from './service.ts';
import { findFreeName } from './upload-file.ts';

interface Exchange {
  /** What comes in; it lies in the same folder. */
  newId: string;
  /** What makes room. */
  presentId: string;
  /** From the present name to the one under which it is kept; numbered when that is taken. */
  keptName: (name: string) => string;
}

/**
 * One transaction: whoever looks sees the one or the other under the name, never neither.
 *
 * @returns the name, and the one that what was there before has now.
 * @throws HoldfastError `not_found` when one of the two is gone, `conflict` when they do not lie in one folder any more,
 * `wrong_state` for the top folder.
 */
export async function putInPlace(
  deps: WorkspaceDeps,
  { newId, presentId, keptName }: Exchange,
  actor: Actor,
): Promise<{ name: string; keptName: string }> {
  const present = await requireNode(deps.db, presentId, 'appliance', 'editor');
  const { parent_id: parentId, workspace_id: workspaceId } = present;
  if (parentId === null) throw rootStays();
  const { name } = await describeNode(deps, present);
  const kept = await findFreeName(deps, { id: parentId, workspace_id: workspaceId }, keptName(name));
  const [nameSealed, keptSealed] = await Promise.all([
    sealNodeName(deps, workspaceId, newId, name),
    sealNodeName(deps, workspaceId, presentId, kept),
  ]);
  const [nameHash, keptHash] = await nameHashes(deps, workspaceId, parentId, [name, kept]);
  await namingTransaction(deps, async (tx) => {
    const inOrder = [newId, presentId].sort();
    for (const id of inOrder) {
      const row = await lockNode(tx, id);
      if (row === undefined) throw noSuchNode();
      if (row.parent_id !== parentId) throw movedAway();
      await deleteName(tx, id);
    }
    await updateNode(tx, presentId, { name_sealed: keptSealed });
    await giveName(tx, parentId, presentId, keptHash);
    await updateNode(tx, newId, { name_sealed: nameSealed });
    await giveName(tx, parentId, newId, nameHash);
    await recordAudit(tx, deps.clock, actor, {
      action: `workspaces.${present.kind}.put-in-place`,
      objectType: present.kind,
      objectId: newId,
      workspaceId,
      detail: { kept: presentId },
    });
  });
  return { name, keptName: kept };
}

function movedAway(): HoldfastError {
  return new HoldfastError('conflict', 'It was moved to another folder meanwhile', {
    hint: 'What was restored lies beside where it was; nothing was exchanged.',
  });
}
