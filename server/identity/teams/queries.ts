import { sql, type Insertable, type Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { TeamMembers, Teams } from '../../lib/tables.ts';

export type TeamRow = Selectable<Teams>;

export async function insertTeam(db: Database, row: Insertable<Teams>): Promise<void> {
  await db.insertInto('teams').values(row).execute();
}

export async function findTeam(db: Database, id: string): Promise<TeamRow | undefined> {
  return db.selectFrom('teams').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Held until the transaction ends, so that what is named in it stays. */
export async function holdTeams(db: Database, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const rows = await db
    .selectFrom('teams')
    .select('id')
    .where('id', 'in', [...ids])
    .orderBy('id')
    .forShare()
    .execute();
  return rows.map((row) => row.id);
}

export async function listTeamRows(db: Database): Promise<(TeamRow & { people: number })[]> {
  const rows = await db
    .selectFrom('teams')
    .leftJoin('team_members', 'team_members.team_id', 'teams.id')
    .selectAll('teams')
    .select(sql<string>`count(team_members.user_id)`.as('people'))
    .groupBy('teams.id')
    .orderBy('teams.created_at')
    .orderBy('teams.id')
    .execute();
  return rows.map((row) => ({ ...row, people: Number(row.people) }));
}

export async function listTeamsByIds(db: Database, ids: readonly string[]): Promise<TeamRow[]> {
  if (ids.length === 0) return [];
  return db
    .selectFrom('teams')
    .selectAll()
    .where('id', 'in', [...ids])
    .execute();
}

export async function updateTeamName(db: Database, id: string, nameSealed: Buffer): Promise<boolean> {
  const result = await db
    .updateTable('teams')
    .set((eb) => ({ name_sealed: nameSealed, version: eb('version', '+', '1') }))
    .where('id', '=', id)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export async function listMembers(db: Database, teamId: string): Promise<Selectable<TeamMembers>[]> {
  return db.selectFrom('team_members').selectAll().where('team_id', '=', teamId).execute();
}

/** Teams of each of these people. */
export async function listMemberships(
  db: Database,
  userIds: readonly string[],
): Promise<{ user_id: string; team_id: string }[]> {
  if (userIds.length === 0) return [];
  return db
    .selectFrom('team_members')
    .select(['user_id', 'team_id'])
    .where('user_id', 'in', [...userIds])
    .execute();
}

/** @returns false when the person is in it already. */
export async function insertTeamMember(db: Database, row: Insertable<TeamMembers>): Promise<boolean> {
  const result = await db
    .insertInto('team_members')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function deleteTeamMember(db: Database, teamId: string, userId: string): Promise<boolean> {
  const result = await db
    .deleteFrom('team_members')
    .where('team_id', '=', teamId)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return result.numDeletedRows === 1n;
}
