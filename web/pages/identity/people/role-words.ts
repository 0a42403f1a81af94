/** Roles as people read them. */
import type { WorkspaceRole } from '../../../api/people.ts';
import type { Role } from '../../../api/shapes.ts';

export const ROLES: readonly { value: Role; label: string; text: string }[] = [
  { value: 'member', label: 'Member', text: 'Works in the workspaces they belong to.' },
  { value: 'auditor', label: 'Auditor', text: 'Reads evidence, audit log and settings. Never sees content.' },
  {
    value: 'admin',
    label: 'Administrator',
    text: 'Runs operations, teams and members of workspaces. No people, settings or keys.',
  },
  { value: 'owner', label: 'Owner', text: 'Everything, people, settings and keys included.' },
];

export const roleLabel = (role: Role): string => ROLES.find(({ value }) => value === role)?.label ?? role;

export const WORKSPACE_ROLES: readonly { value: WorkspaceRole; label: string; text: string }[] = [
  { value: 'viewer', label: 'Viewer', text: 'Reads.' },
  { value: 'editor', label: 'Editor', text: 'Reads and changes.' },
  { value: 'manager', label: 'Manager', text: 'Reads, changes, and says who belongs to it.' },
];

export const workspaceRoleLabel = (role: WorkspaceRole): string =>
  WORKSPACE_ROLES.find(({ value }) => value === role)?.label ?? role;
