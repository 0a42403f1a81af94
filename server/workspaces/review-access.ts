/** What reviews of access need of workspaces: who holds what in which, and the acts that change it. No content. */
import type { ReviewWorkspaces } from '../identity/index.ts';
import { listHolders, listManagers, listWorkspacesByIds } from './member-queries.ts';
import { removeMember, setRole, type MembershipDeps } from './membership.ts';
import { openWorkspaceNames } from './names.ts';
import type { WorkspaceRole } from './schema.ts';

export function reviewWorkspaces(deps: MembershipDeps): ReviewWorkspaces {
  return {
    listHolders: async (db, workspaceId) =>
      (await listHolders(db, workspaceId)).map((row) => ({
        ...{ workspaceId: row.workspace_id, userId: row.user_id, teamId: row.team_id },
        role: row.role as WorkspaceRole,
      })),
    listManagers: async (db, userId) =>
      (await listManagers(db, userId)).map((row) => ({ workspaceId: row.workspace_id, userId: row.user_id })),
    name: async (db, ids) => openWorkspaceNames(deps, await listWorkspacesByIds(db, ids)),
    setRole: async (tx, { workspaceId, holder, role }, person, actor) => {
      await setRole({ ...deps, db: tx }, workspaceId, holder, role, person, actor);
    },
    remove: async (tx, { workspaceId, holder }, person, actor) => {
      await removeMember({ ...deps, db: tx }, workspaceId, holder, person, actor);
    },
  };
}
