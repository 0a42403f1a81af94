/** People, invitations, teams, the members of workspaces, and the table of rights. */
import type { Static } from 'typebox';
import type {
  Invitation,
  InvitationLook,
  InviteRequest,
  SentInvitation,
} from '../../server/identity/invitations/schema.ts';
import type {
  PeoplePage,
  PeopleQuery,
  PeopleSettings,
  PersonChange,
  PersonEntry,
} from '../../server/identity/people/schema.ts';
import type { RightsTable as RightsTableSchema } from '../../server/identity/rights.ts';
import type { Team, TeamDetail } from '../../server/identity/teams/schema.ts';
import type {
  ManagedWorkspace,
  Workspace,
  WorkspaceMembers,
  WorkspaceRole,
} from '../../server/workspaces/schema.ts';
import type { AskedApproval } from '../../server/lib/shapes.ts';
import { request } from './client.ts';
import type { Role, Session } from './shapes.ts';

export type { Invitation, ManagedWorkspace, PersonEntry, Team, TeamDetail, WorkspaceMembers, WorkspaceRole };
type RightsTable = Static<typeof RightsTableSchema>;

const post = <T>(path: string, body: object = {}): Promise<T> => request<T>(path, { method: 'POST', body });
const put = <T>(path: string, body: object = {}): Promise<T> => request<T>(path, { method: 'PUT', body });
const patch = <T>(path: string, body: object): Promise<T> => request<T>(path, { method: 'PATCH', body });
const remove = <T>(path: string): Promise<T> => request<T>(path, { method: 'DELETE', body: {} });
const items = async <T>(path: string, signal?: AbortSignal): Promise<T[]> =>
  (await request<{ items: T[] }>(path, { signal })).items;

export const getPeopleSettings = (signal?: AbortSignal): Promise<PeopleSettings> =>
  request('/settings/people', { signal });
export const putPeopleSettings = (body: PeopleSettings): Promise<PeopleSettings> =>
  put('/settings/people', body);

export const getRights = (signal?: AbortSignal): Promise<RightsTable> => request('/rights', { signal });

export const listPeople = (query: PeopleQuery, signal?: AbortSignal): Promise<PeoplePage> =>
  request('/people', { query: { ...query }, signal });
export const getPerson = (id: string, signal?: AbortSignal): Promise<PersonEntry> =>
  request(`/people/${id}`, { signal });
export const getWorkspacesOf = (
  what: 'people' | 'teams',
  id: string,
  signal?: AbortSignal,
): Promise<Workspace[]> => items(`/${what}/${id}/workspaces`, signal);
export const changePerson = (id: string, change: PersonChange): Promise<PersonEntry> =>
  patch(`/people/${id}`, change);
export const changeRole = (id: string, role: Role): Promise<PersonEntry> =>
  put(`/people/${id}/role`, { role });
/** Done, or asked for when it is the third within an hour. */
export const deactivatePerson = (id: string): Promise<PersonEntry | AskedApproval> =>
  post(`/people/${id}/deactivate`);
export const reactivatePerson = (id: string): Promise<PersonEntry> => post(`/people/${id}/reactivate`);

/** Done, or asked for where the person is an administrator. */
export const removeSecondFactors = async (id: string, reason: string): Promise<AskedApproval | object> =>
  (await request<AskedApproval | undefined>(`/people/${id}/second-factors`, {
    method: 'DELETE',
    body: { reason },
  })) ?? {};

/** Asked for, not done. */
export const deactivateSeveral = (userIds: readonly string[], reason: string): Promise<AskedApproval> =>
  post('/people/deactivate-several', { userIds, reason });

export const listInvitations = (signal?: AbortSignal): Promise<Invitation[]> => items('/invitations', signal);
export const invite = (body: InviteRequest): Promise<SentInvitation> => post('/invitations', body);
export const inviteAgain = (id: string): Promise<SentInvitation> => post(`/invitations/${id}/resend`);
export const withdrawInvitation = (id: string): Promise<void> => remove(`/invitations/${id}`);
export const lookAtInvitation = (token: string): Promise<InvitationLook> =>
  post('/invitations/look', { token });
export const acceptInvitation = (body: { token: string; name: string; password: string }): Promise<Session> =>
  post('/invitations/accept', body);

export const listTeams = (signal?: AbortSignal): Promise<Team[]> => items('/teams', signal);
export const getTeam = (id: string, signal?: AbortSignal): Promise<TeamDetail> =>
  request(`/teams/${id}`, { signal });
export const createTeam = (name: string): Promise<TeamDetail> => post('/teams', { name });
export const renameTeam = (id: string, name: string): Promise<TeamDetail> => patch(`/teams/${id}`, { name });
export const addToTeam = (id: string, userId: string): Promise<TeamDetail> =>
  put(`/teams/${id}/members/${userId}`);
export const takeFromTeam = (id: string, userId: string): Promise<TeamDetail> =>
  remove(`/teams/${id}/members/${userId}`);

export const listAllWorkspaces = (signal?: AbortSignal): Promise<ManagedWorkspace[]> =>
  items('/workspaces/all', signal);
export const createWorkspace = (name: string, managerId: string): Promise<WorkspaceMembers> =>
  post('/workspaces', { name, managerId });
export const renameWorkspace = (id: string, name: string): Promise<WorkspaceMembers> =>
  patch(`/workspaces/${id}`, { name });
export const getMembers = (id: string, signal?: AbortSignal): Promise<WorkspaceMembers> =>
  request(`/workspaces/${id}/members`, { signal });
export const addMemberByEmail = (id: string, email: string, role: WorkspaceRole): Promise<WorkspaceMembers> =>
  post(`/workspaces/${id}/people`, { email, role });
export const setMember = (
  id: string,
  what: 'people' | 'teams',
  holderId: string,
  role: WorkspaceRole,
): Promise<WorkspaceMembers> => put(`/workspaces/${id}/${what}/${holderId}`, { role });
export const removeMember = (
  id: string,
  what: 'people' | 'teams',
  holderId: string,
): Promise<WorkspaceMembers> => remove(`/workspaces/${id}/${what}/${holderId}`);
