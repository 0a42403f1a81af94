/**
 * Who may touch what. Every object is reached through its workspace, and what a person may not see does not exist for
 * them: foreign and unknown ids get the same answer.
 */
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { listRolesIn } from './member-queries.ts';
import { findNode, type NodeRow } from './queries.ts';
import type { WorkspaceRole } from './schema.ts';

/** Who acts on a workspace. The console and Holdfast itself may act on all of them; every such act is audited. */
export type Visitor =
  | {
      userId: string;
      /** With an API key of one workspace: the others are not there. */
      onlyWorkspaceId?: string;
    }
  | 'appliance';

const RANK: Record<WorkspaceRole, number> = { viewer: 0, editor: 1, manager: 2 };

/** @throws not_found for nodes that are unknown or in a foreign workspace; forbidden when the role is too low. */
export async function requireNode(
  db: Database,
  id: string,
  visitor: Visitor,
  needed: WorkspaceRole,
): Promise<NodeRow> {
  const node = await findNode(db, id);
  if (node === undefined) throw noSuchNode();
  await requireRole(db, node.workspace_id, visitor, needed);
  return node;
}

/** @throws as `requireNode`; invalid_input for a file. */
export async function requireFolder(
  db: Database,
  id: string,
  visitor: Visitor,
  needed: WorkspaceRole,
): Promise<NodeRow> {
  const node = await requireNode(db, id, visitor, needed);
  if (node.kind === 'folder') return node;
  throw new HoldfastError('invalid_input', 'This is a file, not a folder');
}

/** @throws as `requireNode`; invalid_input for a folder. */
export async function requireFile(
  db: Database,
  id: string,
  visitor: Visitor,
  needed: WorkspaceRole,
): Promise<NodeRow> {
  const node = await requireNode(db, id, visitor, needed);
  if (node.kind === 'file') return node;
  throw new HoldfastError('invalid_input', 'This is a folder, not a file');
}

/** Called again inside each writing transaction, so that a right that was taken away meanwhile counts. */
export async function requireRole(
  db: Database,
  workspaceId: string,
  visitor: Visitor,
  needed: WorkspaceRole,
): Promise<void> {
  if (visitor === 'appliance') return;
  if (visitor.onlyWorkspaceId !== undefined && visitor.onlyWorkspaceId !== workspaceId) throw noSuchNode();
  const role = await findEffectiveRole(db, workspaceId, visitor.userId);
  if (role === undefined) throw noSuchNode();
  if (RANK[role] < RANK[needed]) {
    throw new HoldfastError('forbidden', 'You may look at this workspace, not change it', {
      hint: 'Ask a manager of the workspace.',
    });
  }
}

/** The highest role that a person holds in a workspace, by themself or by teams; undefined without any. */
export async function findEffectiveRole(
  db: Database,
  workspaceId: string,
  userId: string,
): Promise<WorkspaceRole | undefined> {
  return highestRole(await listRolesIn(db, workspaceId, userId));
}

export function highestRole(roles: readonly string[]): WorkspaceRole | undefined {
  const known = roles as WorkspaceRole[];
  return known.toSorted((a, b) => RANK[b] - RANK[a])[0];
}

/** Id of the person to record as the maker; null for the appliance. */
export function makerOf(visitor: Visitor): string | null {
  return visitor === 'appliance' ? null : visitor.userId;
}

export function noSuchNode(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such file or folder', {
    hint: 'It may have been deleted.',
  });
}
