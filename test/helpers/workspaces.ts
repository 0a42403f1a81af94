import type { Deps } from '../../server/deps.ts';
import { systemActor } from '../../server/audit/index.ts';
import { writeTransaction } from '../../server/lib/db.ts';

/** A workspace of which one person is the manager, also where no route would make one. */
export async function createTestWorkspace(
  deps: Deps,
  userId: string,
  name = 'Own',
): Promise<{ id: string; rootFolderId: string }> {
  const { insertWorkspace, prepareWorkspace } = await import('../../server/workspaces/index.ts');
  const workspace = await prepareWorkspace(deps, { name });
  const member = { userId, role: 'manager' as const };
  await writeTransaction(deps.db, (tx) => insertWorkspace(tx, deps, workspace, member, systemActor('test')));
  return { id: workspace.workspaceId, rootFolderId: workspace.rootFolderId };
}
