/**
 * Workspaces and who belongs to them. Guarantees: a workspace keeps somebody who manages it; who may change the members is asked again
 * inside the transaction; an administrator who adds themself is named as such in the audit log, everybody in the workspace sees it, and its
 * managers are told by mail.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import {
  findPersonByEmail,
  hasRight,
  namePeople,
  nameTeams,
  type PeopleDeps,
  type Person,
} from '../identity/index.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { comparableName } from '../lib/shown-name.ts';
import type { WorkspaceDeps } from './deps.ts';
import {
  countManagers,
  deleteHolder,
  findHolderRole,
  findWorkspace,
  listGrantedWorkspaces,
  listManagers,
  listPeopleIn,
  listTeamPeopleIn,
  listTeamsIn,
  listWorkspaceRows,
  listWorkspacesOfTeam,
  lockWorkspace,
  putHolder,
  updateWorkspaceName,
  type Holder,
} from './member-queries.ts';
import { findEffectiveRole } from './members.ts';
import {
  checkWorkspaceName,
  nameKeyId,
  nodeNameContext,
  openWorkspaceNames,
  workspaceNameContext,
} from './names.ts';
import type { ManagedWorkspace, Workspace, WorkspaceMembers, WorkspaceRole } from './schema.ts';
import { tellManagers } from './tell-managers.ts';
import { insertWorkspace, listWorkspaces, prepareWorkspace } from './service.ts';

export type MembershipDeps = Pick<WorkspaceDeps, 'db' | 'clock'> & {
  keys: WorkspaceDeps['keys'] & PeopleDeps['keys'];
  sealer: WorkspaceDeps['sealer'] & PeopleDeps['sealer'];
};

/** Who acts: a signed-in person, or undefined for the console. */
type Acting = Pick<Person, 'userId' | 'role'> | undefined;

/** All workspaces, for administrators: their names, and how many belong to them. */
export async function listAllWorkspaces(deps: MembershipDeps): Promise<ManagedWorkspace[]> {
  const rows = await listWorkspaceRows(deps.db);
  const names = await openWorkspaceNames(deps, rows);
  const managers = Map.groupBy(await listManagers(deps.db), (one) => one.workspace_id);
  return rows.map((row) => ({
    ...{ id: row.id, name: names.get(row.id) ?? '', kind: row.kind },
    ...{ people: Number(row.people), teams: Number(row.teams) },
    managers: managers.get(row.id)?.length ?? 0,
    createdAt: row.created_at.toISOString(),
  }));
}

/** @throws HoldfastError `not_found` for the manager; `conflict` for a name that is taken; `invalid_input` for the name, and when the manager is an auditor. */
export async function createWorkspace(
  deps: MembershipDeps,
  request: { name: string; managerId: string },
  acting: Acting,
  actor: Actor,
): Promise<WorkspaceMembers> {
  await requireHolder(deps, { userId: request.managerId });
  await refuseTakenName(deps, checkWorkspaceName(request.name), acting);
  const workspace = await prepareWorkspace(deps, { name: request.name });
  const member = { userId: request.managerId, role: 'manager' as const };
  await writeTransaction(deps.db, (tx) => insertWorkspace(tx, deps, workspace, member, actor));
  return showMembers(deps, workspace.workspaceId, acting);
}

/** @throws as `setRole`; HoldfastError `conflict` for a name that is taken. */
export async function renameWorkspace(
  deps: MembershipDeps,
  id: string,
  wanted: string,
  acting: Acting,
  actor: Actor,
): Promise<WorkspaceMembers> {
  const name = checkWorkspaceName(wanted);
  const row = await requireManager(deps.db, id, acting);
  await refuseTakenName(deps, name, acting, id);
  const keyId = await nameKeyId(deps, id);
  const names = {
    workspace: await deps.sealer.sealName(keyId, workspaceNameContext(id), name),
    root: await deps.sealer.sealName(keyId, nodeNameContext(id, row.root_folder_id), name),
  };
  await writeTransaction(deps.db, async (tx) => {
    await requireManager(tx, id, acting);
    await updateWorkspaceName(tx, id, names);
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'workspaces.workspace.renamed', objectType: 'workspace', objectId: id, workspaceId: id },
    });
  });
  return showMembers(deps, id, acting);
}

/**
 * A manager who is no administrator is refused the names of their own workspaces only: what they may not see does not exist for them.
 */
async function refuseTakenName(
  deps: MembershipDeps,
  name: string,
  acting: Acting,
  except?: string,
): Promise<void> {
  const seen =
    acting === undefined || administers(acting)
      ? await listWorkspaceRows(deps.db)
      : await listGrantedWorkspaces(deps.db, acting.userId);
  const others = seen.filter((row) => row.id !== except);
  const wanted = comparableName(name).toLowerCase();
  for (const taken of (await openWorkspaceNames(deps, others)).values())
    if (comparableName(taken).toLowerCase() === wanted)
      throw new HoldfastError('conflict', 'A workspace has this name already', {
        hint: 'Choose another name.',
      });
}

/** Who belongs to a workspace, for those who do and for administrators. @throws HoldfastError `not_found` */
export async function showMembers(
  deps: MembershipDeps,
  id: string,
  acting: Acting,
): Promise<WorkspaceMembers> {
  const row = await findWorkspace(deps.db, id);
  const role = acting === undefined ? undefined : await findEffectiveRole(deps.db, id, acting.userId);
  if (row === undefined || (role === undefined && !administers(acting))) throw noSuchWorkspace();
  const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name, 'en');
  const [people, teams] = [await listPeopleIn(deps.db, id), await listTeamsIn(deps.db, id)];
  const byTeam = await listTeamPeopleIn(deps.db, id);
  const persons = await namePeople(deps, [
    ...new Set([...people, ...byTeam].map((member) => member.user_id)),
  ]);
  const membersOf = (teamId: string) =>
    byTeam
      .flatMap(({ team_id: team, user_id: userId }) => {
        const person = team === teamId ? persons.get(userId) : undefined;
        return person === undefined || person.disabled ? [] : [{ id: userId, name: person.name }];
      })
      .sort(byName);
  const teamNames = await nameTeams(
    deps,
    teams.map((team) => team.team_id),
  );
  return {
    ...{ id, name: await openName(deps, row), createdAt: row.created_at.toISOString() },
    magicLinks: row.magic_links,
    mayManage: role === 'manager' || administers(acting),
    people: people
      .flatMap((member) => {
        const person = persons.get(member.user_id);
        if (person === undefined) return [];
        const { name, email, disabled } = person;
        const state = disabled ? ('deactivated' as const) : ('active' as const);
        return [{ id: member.user_id, name, email, state, role: member.role as WorkspaceRole }];
      })
      .sort(byName),
    teams: teams
      .map((team) => ({
        ...{ id: team.team_id, name: teamNames.get(team.team_id) ?? '', people: Number(team.people) },
        role: team.role as WorkspaceRole,
        members: membersOf(team.team_id),
      }))
      .sort(byName),
  };
}

/**
 * Gives a person or a team a role in a workspace.
 *
 * @throws HoldfastError `not_found` for what the caller may not know of; `forbidden` for members who do not manage it; `wrong_state`
 *   when nobody would manage it any more; `invalid_input` for an auditor.
 */
export async function setRole(
  deps: MembershipDeps,
  id: string,
  holder: Holder,
  role: WorkspaceRole,
  acting: Acting,
  actor: Actor,
): Promise<WorkspaceMembers> {
  await requireManager(deps.db, id, acting);
  await requireHolder(deps, holder);
  await writeTransaction(deps.db, async (tx) => {
    await lockWorkspace(tx, id);
    await requireManager(tx, id, acting);
    const before = await findHolderRole(tx, id, holder);
    if (before === role) return;
    await putHolder(tx, id, holder, role);
    await requireSomeManager(tx, id, before);
    const self = acting !== undefined && 'userId' in holder && holder.userId === acting.userId;
    if (self && before === undefined) await tellManagers(tx, deps, holder.userId, { workspaceId: id });
    await recordMember(tx, deps, actor, {
      id,
      holder,
      what: 'set',
      detail: { from: before ?? null, to: role },
    });
  });
  return showMembers(deps, id, acting);
}

/** The person with this address, for managers who see no list of people. @throws as `setRole` */
export async function addByEmail(
  deps: MembershipDeps,
  id: string,
  request: { email: string; role: WorkspaceRole },
  acting: Acting,
  actor: Actor,
): Promise<WorkspaceMembers> {
  await requireManager(deps.db, id, acting);
  const userId = await findPersonByEmail(deps, request.email);
  if (userId === undefined)
    throw new HoldfastError('not_found', 'Nobody here has this e-mail address', {
      hint: 'An owner of the appliance can invite them.',
    });
  return setRole(deps, id, { userId }, request.role, acting, actor);
}

/** @throws as `setRole` */
export async function removeMember(
  deps: MembershipDeps,
  id: string,
  holder: Holder,
  acting: Acting,
  actor: Actor,
): Promise<WorkspaceMembers> {
  await writeTransaction(deps.db, async (tx) => {
    await lockWorkspace(tx, id);
    await requireManager(tx, id, acting);
    const before = await findHolderRole(tx, id, holder);
    if (before === undefined)
      throw new HoldfastError('not_found', 'This person or team does not belong to the workspace');
    await deleteHolder(tx, id, holder);
    await requireSomeManager(tx, id, before);
    await recordMember(tx, deps, actor, { id, holder, what: 'removed', detail: { from: before } });
  });
  return showMembersOrLeft(deps, id, acting);
}

/** The workspaces of somebody, as administrators and auditors see them. */
export async function listWorkspacesOfPerson(deps: MembershipDeps, userId: string): Promise<Workspace[]> {
  if (!(await namePeople(deps, [userId])).has(userId))
    throw new HoldfastError('not_found', 'There is no such person');
  return listWorkspaces(deps, { userId });
}

/** Workspaces in which a team has a role. */
export async function listTeamWorkspaces(deps: MembershipDeps, teamId: string): Promise<Workspace[]> {
  if (!(await nameTeams(deps, [teamId])).has(teamId))
    throw new HoldfastError('not_found', 'There is no such team');
  const rows = await listWorkspacesOfTeam(deps.db, teamId);
  const names = await openWorkspaceNames(deps, rows);
  return rows.map((row) => ({
    ...{ id: row.id, name: names.get(row.id) ?? '', kind: row.kind },
    ...{ rootFolderId: row.root_folder_id, role: row.role as WorkspaceRole },
  }));
}

/** Who took themself out sees it no more: they get the last that they could. */
async function showMembersOrLeft(
  deps: MembershipDeps,
  id: string,
  acting: Acting,
): Promise<WorkspaceMembers> {
  const self = acting === undefined || administers(acting);
  if (self || (await findEffectiveRole(deps.db, id, acting.userId)) !== undefined)
    return showMembers(deps, id, acting);
  const row = await findWorkspace(deps.db, id);
  if (row === undefined) throw noSuchWorkspace();
  const createdAt = row.created_at.toISOString();
  const { magic_links: magicLinks } = row;
  return {
    id,
    name: await openName(deps, row),
    createdAt,
    magicLinks,
    mayManage: false,
    people: [],
    teams: [],
  };
}

async function requireManager(db: Database, id: string, acting: Acting) {
  const row = await findWorkspace(db, id);
  if (row === undefined) throw noSuchWorkspace();
  if (administers(acting)) return row;
  const role = await findEffectiveRole(db, id, acting?.userId ?? '');
  if (role === undefined) throw noSuchWorkspace();
  if (role !== 'manager')
    throw new HoldfastError('forbidden', 'You may see the members of this workspace, not change them', {
      hint: 'Ask a manager of the workspace.',
    });
  return row;
}

function administers(acting: Acting): boolean {
  return acting === undefined || hasRight(acting.role, 'workspaces.manage');
}

async function requireHolder(deps: MembershipDeps, holder: Holder): Promise<void> {
  if ('teamId' in holder) {
    if ((await nameTeams(deps, [holder.teamId])).size > 0) return;
    throw new HoldfastError('not_found', 'There is no such team');
  }
  const person = (await namePeople(deps, [holder.userId])).get(holder.userId);
  if (person === undefined) throw new HoldfastError('not_found', 'There is no such person');
  if (!hasRight(person.role, 'files.read'))
    throw new HoldfastError('invalid_input', 'An auditor sees no content and belongs to no workspace', {
      hint: 'An owner can give the person another role.',
    });
}

/** Only who was a manager can have been the last one. */
async function requireSomeManager(tx: Database, id: string, before: string | undefined): Promise<void> {
  if (before !== 'manager' || (await countManagers(tx, id)) > 0) return;
  throw new HoldfastError('wrong_state', 'Nobody would manage this workspace any more', {
    hint: 'Make somebody else a manager first.',
  });
}

async function recordMember(
  tx: WriteTransaction,
  deps: Pick<MembershipDeps, 'clock'>,
  actor: Actor,
  act: { id: string; holder: Holder; what: string; detail: Record<string, string | null> },
): Promise<void> {
  const { id, holder, what, detail } = act;
  const self = 'userId' in holder && holder.userId === actor.id;
  await recordAudit(tx, deps.clock, actor, {
    action: `workspaces.${'userId' in holder ? 'member' : 'team'}.${what}`,
    ...{ objectType: 'workspace', objectId: id, workspaceId: id },
    detail: { ...holder, ...detail, ...(self ? { self } : {}) },
  });
}

async function openName(deps: MembershipDeps, row: { id: string; name_sealed: Buffer }): Promise<string> {
  return deps.sealer.openName(await nameKeyId(deps, row.id), workspaceNameContext(row.id), row.name_sealed);
}

function noSuchWorkspace(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such workspace');
}
