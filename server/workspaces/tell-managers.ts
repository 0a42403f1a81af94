/** An administrator who gives themself access to content is told to those who manage it, in the transaction of the act. */
import { namePeople, nameTeams } from '../identity/index.ts';
import type { WriteTransaction } from '../lib/db.ts';
import { queueMail } from '../mail/index.ts';
import { listManagers, listWorkspacesByIds, listWorkspacesOfTeam } from './member-queries.ts';
import type { MembershipDeps } from './membership.ts';
import { openWorkspaceNames } from './names.ts';

/** @param userId the administrator, who joins a team or a workspace. */
export async function tellManagers(
  tx: WriteTransaction,
  deps: MembershipDeps,
  userId: string,
  where: { teamId: string } | { workspaceId: string },
): Promise<void> {
  const inside = { ...deps, db: tx };
  const rows =
    'teamId' in where
      ? await listWorkspacesOfTeam(tx, where.teamId)
      : await listWorkspacesByIds(tx, [where.workspaceId]);
  const names = await openWorkspaceNames(deps, rows);
  const managers = (await listManagers(tx)).filter(
    (one) => one.user_id !== userId && names.has(one.workspace_id),
  );
  if (managers.length === 0) return;
  const person = (await namePeople(inside, [userId])).get(userId)?.name ?? 'Somebody';
  const team = 'teamId' in where ? (await nameTeams(inside, [where.teamId])).get(where.teamId) : undefined;
  for (const [manager, theirs] of Map.groupBy(managers, (one) => one.user_id)) {
    await queueMail(tx, deps, {
      ...{ to: { userId: manager }, template: 'administrator-joined' },
      data: {
        ...{ person, at: deps.clock.now().toISOString(), ...(team === undefined ? {} : { team }) },
        workspaces: theirs.map((one) => names.get(one.workspace_id) ?? '').sort(),
      },
    });
  }
}
