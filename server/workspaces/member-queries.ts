/** Who belongs to a workspace: people, and teams with all their people. */
import { sql } from 'kysely';
import type { Database } from '../lib/db.ts';

/**
 * Every role that a person holds, by themself and by teams. One query, because it is asked for each request: the membership of teams is
 * read where identity keeps it.
 */
function grantsOf(db: Database, userId: string) {
  return db
    .selectFrom('workspace_members')
    .select(['workspace_id', 'role'])
    .where('user_id', '=', userId)
    .unionAll(
      db
        .selectFrom('workspace_teams')
        .innerJoin('team_members', 'team_members.team_id', 'workspace_teams.team_id')
        .select(['workspace_teams.workspace_id', 'workspace_teams.role'])
        .where('team_members.user_id', '=', userId),
    );
}

/** Every role of a person in one workspace. */
export async function listRolesIn(db: Database, workspaceId: string, userId: string): Promise<string[]> {
  const rows = await db
    .selectFrom(grantsOf(db, userId).as('grants'))
    .select('role')
    .where('workspace_id', '=', workspaceId)
    // An upload that began before the account was shut ends here.
    .where(({ exists, selectFrom }) =>
      exists(selectFrom('users').select('id').where('id', '=', userId).where('disabled_at', 'is', null)),
    )
    .execute();
  return rows.map((row) => row.role);
}

/** The workspaces of a person, the oldest first; one row for each role. */
export async function listGrantedWorkspaces(db: Database, userId: string) {
  return db
    .selectFrom('workspaces')
    .innerJoin(grantsOf(db, userId).as('grants'), 'grants.workspace_id', 'workspaces.id')
    .select(['workspaces.id', 'kind', 'name_sealed', 'root_folder_id', 'grants.role'])
    .orderBy('workspaces.created_at')
    .orderBy('workspaces.id')
    .execute();
}

/** For each workspace of a person whether it allows links to sign in; once for each role. */
export async function listMagicLinksOf(db: Database, userId: string): Promise<boolean[]> {
  const rows = await db
    .selectFrom('workspaces')
    .innerJoin(grantsOf(db, userId).as('grants'), 'grants.workspace_id', 'workspaces.id')
    .select('magic_links')
    .execute();
  return rows.map((row) => row.magic_links);
}

export async function anyAllowsMagicLinks(db: Database): Promise<boolean> {
  const row = await db
    .selectFrom('workspaces')
    .select('id')
    .where('magic_links', '=', true)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

export async function updateMagicLinks(db: Database, id: string, allowed: boolean): Promise<void> {
  await db.updateTable('workspaces').set({ magic_links: allowed }).where('id', '=', id).execute();
}

export async function listWorkspaceRows(db: Database) {
  return db
    .selectFrom('workspaces')
    .select(['id', 'kind', 'name_sealed', 'created_at'])
    .select((eb) => [
      eb
        .selectFrom('workspace_members')
        .select(sql<string>`count(*)`.as('n'))
        .whereRef('workspace_id', '=', 'workspaces.id')
        .as('people'),
      eb
        .selectFrom('workspace_teams')
        .select(sql<string>`count(*)`.as('n'))
        .whereRef('workspace_id', '=', 'workspaces.id')
        .as('teams'),
    ])
    .orderBy('created_at')
    .orderBy('id')
    .execute();
}

export async function findWorkspace(db: Database, id: string) {
  return db.selectFrom('workspaces').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Held until the transaction ends: acts on the members of one workspace come one after another. */
export async function lockWorkspace(db: Database, id: string) {
  return db.selectFrom('workspaces').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function updateWorkspaceName(
  db: Database,
  id: string,
  names: { workspace: Buffer; root: Buffer },
): Promise<void> {
  await db.updateTable('workspaces').set({ name_sealed: names.workspace }).where('id', '=', id).execute();
  await db
    .updateTable('nodes')
    .set((eb) => ({ name_sealed: names.root, version: eb('version', '+', '1') }))
    .where('workspace_id', '=', id)
    .where('parent_id', 'is', null)
    .execute();
}

export async function listPeopleIn(db: Database, workspaceId: string) {
  return db
    .selectFrom('workspace_members')
    .select(['user_id', 'role'])
    .where('workspace_id', '=', workspaceId)
    .execute();
}

export async function listTeamsIn(db: Database, workspaceId: string) {
  return db
    .selectFrom('workspace_teams')
    .leftJoin('team_members', 'team_members.team_id', 'workspace_teams.team_id')
    .select(['workspace_teams.team_id', 'workspace_teams.role'])
    .select(sql<string>`count(team_members.user_id)`.as('people'))
    .where('workspace_id', '=', workspaceId)
    .groupBy(['workspace_teams.team_id', 'workspace_teams.role'])
    .execute();
}

/** Who is in a team that has a role in the workspace. */
export async function listTeamPeopleIn(
  db: Database,
  workspaceId: string,
): Promise<{ team_id: string; user_id: string }[]> {
  return db
    .selectFrom('workspace_teams')
    .innerJoin('team_members', 'team_members.team_id', 'workspace_teams.team_id')
    .select(['team_members.team_id', 'team_members.user_id'])
    .where('workspace_id', '=', workspaceId)
    .execute();
}

/** Workspaces in which a team has a role of its own. */
export async function listWorkspacesOfTeam(db: Database, teamId: string) {
  return db
    .selectFrom('workspaces')
    .innerJoin('workspace_teams', 'workspace_teams.workspace_id', 'workspaces.id')
    .select(['workspaces.id', 'kind', 'name_sealed', 'root_folder_id', 'role'])
    .where('team_id', '=', teamId)
    .orderBy('workspaces.created_at')
    .execute();
}

/** Who holds a role: a person, or a team. */
export type Holder = { userId: string } | { teamId: string };

export async function findHolderRole(
  db: Database,
  workspaceId: string,
  holder: Holder,
): Promise<string | undefined> {
  const row =
    'userId' in holder
      ? await db
          .selectFrom('workspace_members')
          .select('role')
          .where('workspace_id', '=', workspaceId)
          .where('user_id', '=', holder.userId)
          .executeTakeFirst()
      : await db
          .selectFrom('workspace_teams')
          .select('role')
          .where('workspace_id', '=', workspaceId)
          .where('team_id', '=', holder.teamId)
          .executeTakeFirst();
  return row?.role;
}

export async function putHolder(
  db: Database,
  workspaceId: string,
  holder: Holder,
  role: string,
): Promise<void> {
  if ('userId' in holder)
    await db
      .insertInto('workspace_members')
      .values({ workspace_id: workspaceId, user_id: holder.userId, role })
      .onConflict((conflict) => conflict.columns(['workspace_id', 'user_id']).doUpdateSet({ role }))
      .execute();
  else
    await db
      .insertInto('workspace_teams')
      .values({ workspace_id: workspaceId, team_id: holder.teamId, role })
      .onConflict((conflict) => conflict.columns(['workspace_id', 'team_id']).doUpdateSet({ role }))
      .execute();
}

export async function deleteHolder(db: Database, workspaceId: string, holder: Holder): Promise<void> {
  if ('userId' in holder)
    await db
      .deleteFrom('workspace_members')
      .where('workspace_id', '=', workspaceId)
      .where('user_id', '=', holder.userId)
      .execute();
  else
    await db
      .deleteFrom('workspace_teams')
      .where('workspace_id', '=', workspaceId)
      .where('team_id', '=', holder.teamId)
      .execute();
}

/** People who can sign in and are managers of a workspace, by themselves or by a team. Auditors are none: they see no content. */
function managersOf(db: Database) {
  return db
    .selectFrom(
      db
        .selectFrom('workspace_members')
        .select(['workspace_id', 'user_id'])
        .where('role', '=', 'manager')
        .union(
          db
            .selectFrom('workspace_teams')
            .innerJoin('team_members', 'team_members.team_id', 'workspace_teams.team_id')
            .select(['workspace_teams.workspace_id', 'team_members.user_id'])
            .where('workspace_teams.role', '=', 'manager'),
        )
        .as('managers'),
    )
    .innerJoin('users', 'users.id', 'managers.user_id')
    .where('users.disabled_at', 'is', null)
    .where('users.role', '<>', 'auditor');
}

export async function countManagers(db: Database, workspaceId: string): Promise<number> {
  const { count } = await managersOf(db)
    .select(sql<string>`count(*)`.as('count'))
    .where('workspace_id', '=', workspaceId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** How many workspaces have members and no manager who can sign in: nobody in them can let anybody in. */
export async function countUnmanaged(db: Database): Promise<number> {
  const row = await db
    .selectFrom(
      db
        .selectFrom('workspace_members')
        .select('workspace_id')
        .union(db.selectFrom('workspace_teams').select('workspace_id'))
        .as('used'),
    )
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .where('used.workspace_id', 'not in', managersOf(db).select('managers.workspace_id'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** Of all workspaces; of one person when one is given. */
export async function listManagers(
  db: Database,
  userId?: string,
): Promise<{ workspace_id: string; user_id: string }[]> {
  const query = managersOf(db).select(['managers.workspace_id', 'managers.user_id']);
  return (userId === undefined ? query : query.where('managers.user_id', '=', userId)).execute();
}

/** Everybody and every team that holds a role in a workspace; of one workspace when one is given. */
export async function listHolders(
  db: Database,
  workspaceId?: string,
): Promise<{ workspace_id: string; role: string; user_id: string | null; team_id: string | null }[]> {
  let people = db
    .selectFrom('workspace_members')
    .select(['workspace_id', 'role', 'user_id', sql<string | null>`null::uuid`.as('team_id')]);
  let teams = db
    .selectFrom('workspace_teams')
    .select(['workspace_id', 'role', sql<string | null>`null::uuid`.as('user_id'), 'team_id']);
  if (workspaceId !== undefined) {
    people = people.where('workspace_id', '=', workspaceId);
    teams = teams.where('workspace_id', '=', workspaceId);
  }
  return [...(await people.execute()), ...(await teams.execute())];
}

export async function listWorkspacesByIds(db: Database, ids: readonly string[]) {
  if (ids.length === 0) return [];
  return db
    .selectFrom('workspaces')
    .select(['id', 'name_sealed'])
    .where('id', 'in', [...ids])
    .execute();
}
