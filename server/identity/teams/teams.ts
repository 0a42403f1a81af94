/** Teams: named groups of people. What a team may do in a workspace is the workspace's matter (`../../workspaces/`). */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { namePeople, type PeopleDeps } from '../people/people.ts';
import { lockUser } from '../people/queries.ts';
import {
  deleteTeamMember,
  findTeam,
  holdTeams,
  insertTeam,
  insertTeamMember,
  listMembers,
  listMemberships,
  listTeamRows,
  listTeamsByIds,
  updateTeamName,
} from './queries.ts';
import type { Team, TeamDetail } from './schema.ts';

export interface TeamDeps extends PeopleDeps {
  /** Somebody has put themself into a team: what that opens to them is known to the right of this module. */
  whenSelfAdded?(tx: WriteTransaction, userId: string, teamId: string): Promise<void>;
}

export async function listTeams(deps: TeamDeps): Promise<Team[]> {
  const rows = await listTeamRows(deps.db);
  const names = await openTeamNames(deps, rows);
  return rows
    .map(({ id, people, created_at: at }) => ({
      ...{ id, people, createdAt: at.toISOString() },
      name: names.get(id) ?? '',
    }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en'));
}

/** @throws HoldfastError `not_found` */
export async function showTeam(deps: TeamDeps, id: string): Promise<TeamDetail> {
  const row = await findTeam(deps.db, id);
  if (row === undefined) throw noSuchTeam();
  const rows = await listMembers(deps.db, id);
  const people = await namePeople(
    deps,
    rows.map((member) => member.user_id),
  );
  const members = rows.flatMap(({ user_id: userId, added_at: at }) => {
    const person = people.get(userId);
    if (person === undefined) return [];
    const { name, email, role, disabled } = person;
    const state = disabled ? ('deactivated' as const) : ('active' as const);
    return [{ id: userId, name, email, role, state, addedAt: at.toISOString() }];
  });
  members.sort((a, b) => a.name.localeCompare(b.name, 'en'));
  const names = await openTeamNames(deps, [row]);
  return {
    ...{ id, name: names.get(id) ?? '', createdAt: row.created_at.toISOString() },
    ...{ people: members.length, members },
  };
}

/** @throws HoldfastError `conflict` when a team has this name; `invalid_input`. */
export async function createTeam(deps: TeamDeps, name: string, actor: Actor): Promise<TeamDetail> {
  const id = randomUUID();
  const sealed = await sealTeamName(deps, id, name);
  await writeTransaction(deps.db, async (tx) => {
    await insertTeam(tx, { id, name_sealed: sealed, created_at: deps.clock.now() });
    await recordTeam(tx, deps, actor, 'created', id);
  });
  return showTeam(deps, id);
}

/** @throws HoldfastError as `createTeam`; `not_found`. */
export async function renameTeam(
  deps: TeamDeps,
  id: string,
  name: string,
  actor: Actor,
): Promise<TeamDetail> {
  if ((await findTeam(deps.db, id)) === undefined) throw noSuchTeam();
  const sealed = await sealTeamName(deps, id, name);
  await writeTransaction(deps.db, async (tx) => {
    if (!(await updateTeamName(tx, id, sealed))) throw noSuchTeam();
    await recordTeam(tx, deps, actor, 'renamed', id);
  });
  return showTeam(deps, id);
}

/** Idempotent. That administrators add themselves is allowed, written into the entry, and told to whom it concerns. @throws HoldfastError `not_found` */
export async function addTeamMember(
  deps: TeamDeps,
  { teamId, userId }: { teamId: string; userId: string },
  actor: Actor,
): Promise<TeamDetail> {
  await writeTransaction(deps.db, async (tx) => {
    if ((await holdTeams(tx, [teamId])).length === 0) throw noSuchTeam();
    const user = await lockUser(tx, userId);
    if (user === undefined) throw new HoldfastError('not_found', 'There is no such person');
    const added = await insertTeamMember(tx, {
      ...{ team_id: teamId, user_id: userId },
      added_at: deps.clock.now(),
    });
    if (!added) return;
    const self = actor.id === userId;
    await recordTeam(tx, deps, actor, 'member-added', teamId, { userId, self });
    if (self) await deps.whenSelfAdded?.(tx, userId, teamId);
  });
  return showTeam(deps, teamId);
}

/** Idempotent. What they had through the team is gone with the transaction. @throws HoldfastError `not_found` */
export async function removeTeamMember(
  deps: TeamDeps,
  { teamId, userId }: { teamId: string; userId: string },
  actor: Actor,
): Promise<TeamDetail> {
  await writeTransaction(deps.db, async (tx) => {
    if ((await holdTeams(tx, [teamId])).length === 0) throw noSuchTeam();
    if (!(await deleteTeamMember(tx, teamId, userId)))
      throw new HoldfastError('not_found', 'This person is not in the team');
    await recordTeam(tx, deps, actor, 'member-removed', teamId, { userId, self: actor.id === userId });
  });
  return showTeam(deps, teamId);
}

/** Puts somebody who has just joined into teams; what is gone meanwhile is left out. */
export async function joinTeams(
  tx: WriteTransaction,
  deps: Pick<TeamDeps, 'clock'>,
  userId: string,
  teamIds: readonly string[],
  actor: Actor,
): Promise<void> {
  for (const teamId of await holdTeams(tx, teamIds)) {
    await insertTeamMember(tx, { team_id: teamId, user_id: userId, added_at: deps.clock.now() });
    await recordTeam(tx, deps, actor, 'member-added', teamId, { userId, byInvitation: true });
  }
}

/** Some teams follow the groups of a provider: of these a person is in those that are said, and in no other. */
export async function followTeams(
  tx: WriteTransaction,
  deps: Pick<TeamDeps, 'clock'>,
  userId: string,
  { followed, member }: { followed: readonly string[]; member: readonly string[] },
  actor: Actor,
): Promise<void> {
  const detail = { userId, bySingleSignOn: true };
  for (const teamId of await holdTeams(tx, followed)) {
    if (!member.includes(teamId)) {
      if (await deleteTeamMember(tx, teamId, userId))
        await recordTeam(tx, deps, actor, 'member-removed', teamId, detail);
    } else if (await insertTeamMember(tx, { team_id: teamId, user_id: userId, added_at: deps.clock.now() })) {
      await recordTeam(tx, deps, actor, 'member-added', teamId, detail);
    }
  }
}

/** The teams of each of these people, by name. */
export async function listTeamsOfPeople(
  deps: TeamDeps,
  userIds: readonly string[],
): Promise<Map<string, { id: string; name: string }[]>> {
  const rows = await listMemberships(deps.db, userIds);
  const names = await nameTeams(
    deps,
    rows.map((row) => row.team_id),
  );
  const teams = new Map<string, { id: string; name: string }[]>();
  for (const { user_id: userId, team_id: id } of rows) {
    const list = teams.get(userId) ?? [];
    list.push({ id, name: names.get(id) ?? '' });
    teams.set(userId, list);
  }
  return teams;
}

/** Names by id; unknown ids are left out. */
export async function nameTeams(deps: TeamDeps, ids: readonly string[]): Promise<Map<string, string>> {
  return openTeamNames(deps, await listTeamsByIds(deps.db, [...new Set(ids)]));
}

async function openTeamNames(
  deps: TeamDeps,
  rows: readonly { id: string; name_sealed: Buffer }[],
): Promise<Map<string, string>> {
  const { id: keyId } = await deps.keys.applianceKey();
  const opened = await deps.sealer.tryOpen(
    rows.map((row) => ({
      ...{ keyId, purpose: 'names' as const, sealed: row.name_sealed },
      context: teamNameContext(row.id),
    })),
  );
  return new Map(
    rows.map((row, index) => {
      const name = opened[index];
      return [row.id, Buffer.isBuffer(name) ? name.toString('utf8') : '(unreadable)'];
    }),
  );
}

async function sealTeamName(deps: TeamDeps, id: string, wanted: string): Promise<Buffer> {
  const name = checkShownName(wanted);
  const others = (await listTeams(deps)).filter((team) => team.id !== id);
  if (others.some((team) => team.name.toLowerCase() === name.toLowerCase()))
    throw new HoldfastError('conflict', 'A team has this name already', { hint: 'Choose another name.' });
  const { id: keyId } = await deps.keys.applianceKey();
  const [sealed] = await deps.sealer.seal([
    { keyId, purpose: 'names', context: teamNameContext(id), value: name },
  ]);
  if (sealed === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  return sealed;
}

function teamNameContext(id: string) {
  return { type: 'team-name', workspaceId: '', subjectId: '', objectId: id, version: '' };
}

async function recordTeam(
  tx: WriteTransaction,
  deps: Pick<TeamDeps, 'clock'>,
  actor: Actor,
  what: string,
  teamId: string,
  detail?: Record<string, string | boolean>,
): Promise<void> {
  await recordAudit(tx, deps.clock, actor, {
    ...{ action: `identity.team.${what}`, objectType: 'team', objectId: teamId },
    ...(detail === undefined ? {} : { detail }),
  });
}

export function noSuchTeam(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such team');
}
