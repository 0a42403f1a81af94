/**
 * What groups of the provider give: a role, and places in teams. Owners keep theirs whatever the provider says, and nobody becomes one
 * by it: whoever administers the provider must not thereby own what is kept here.
 */
import type { Actor } from '../../audit/index.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { giveRole, type PersonLifeDeps } from '../people/person-life.ts';
import type { UserRow } from '../people/queries.ts';
import type { Role } from '../schema.ts';
import { followTeams } from '../teams/teams.ts';
import type { ProviderRow } from './queries.ts';
import { SingleSignOnRefusal } from './refusal.ts';
import type { GivenRole, SingleSignOnChange } from './schema.ts';

const HIGHEST_FIRST: readonly GivenRole[] = ['admin', 'auditor', 'member'];

type Mapping = Pick<ProviderRow, 'role_groups' | 'team_groups' | 'other_role'>;

/** The role that these groups give; null: they may not come in; undefined: the settings leave roles alone. Pure. */
export function roleFrom(
  mapping: Mapping,
  groups: readonly string[] | undefined,
): GivenRole | null | undefined {
  const rules = mapping.role_groups as SingleSignOnChange['roleGroups'];
  if (groups === undefined || rules.length === 0) return undefined;
  const given = rules.filter(({ group }) => groups.includes(group)).map(({ role }) => role);
  return HIGHEST_FIRST.find((role) => given.includes(role)) ?? (mapping.other_role as GivenRole | null);
}

/** The teams that follow the provider, and those of them in which a person with these groups is. Pure. */
export function teamsFrom(
  mapping: Mapping,
  groups: readonly string[] | undefined,
): { followed: string[]; member: string[] } | undefined {
  const rules = mapping.team_groups as SingleSignOnChange['teamGroups'];
  if (groups === undefined || rules.length === 0) return undefined;
  const member = rules.filter(({ group }) => groups.includes(group)).map(({ teamId }) => teamId);
  return { followed: [...new Set(rules.map(({ teamId }) => teamId))], member: [...new Set(member)] };
}

/**
 * Applies both to somebody who is about to come in. A changed role ends their other sessions.
 *
 * @param user held by the transaction. @returns the role they come in with. @throws SingleSignOnRefusal
 */
export async function applyGroups(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  user: UserRow,
  { row, groups }: { row: ProviderRow; groups: readonly string[] | undefined },
  actor: Actor,
): Promise<Role> {
  const role = roleFrom(row, groups);
  const isOwner = user.role === 'owner';
  if (role === null && !isOwner) throw new SingleSignOnRefusal('no-mapped-group', { userId: user.id });
  if (role != null && !isOwner) await giveRole(tx, deps, user, role, actor);
  const teams = teamsFrom(row, groups);
  if (teams !== undefined) await followTeams(tx, deps, user.id, teams, actor);
  return isOwner || role == null ? (user.role as Role) : role;
}
