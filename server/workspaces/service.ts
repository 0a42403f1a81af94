/** The verbs of workspaces and folders. Each act and its audit entry are one transaction. */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction, sqlState, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { stopDownloads } from './download-watch.ts';
import { listGrantedWorkspaces } from './member-queries.ts';
import {
  highestRole,
  makerOf,
  noSuchNode,
  requireFolder,
  requireNode,
  requireRole,
  type Visitor,
} from './members.ts';
import { nameHashes, namingTransaction } from './name-index.ts';
import {
  checkWorkspaceName,
  nameKeyId,
  nodeNameContext,
  openNodeNames,
  requireName,
  workspaceNameContext,
} from './names.ts';
import { instantToNs, toNode } from './node-shape.ts';
import {
  deleteName,
  deleteTree,
  findNode,
  holdFolder,
  insertMember,
  insertNames,
  insertNodes,
  insertWorkspaceRow,
  listAncestors,
  lockFolderMoves,
  lockNode,
  updateNode,
  type NodeRow,
} from './queries.ts';
import type { Node, Workspace, WorkspaceRole } from './schema.ts';

/** Folders within folders, at most. */
export const MAX_DEPTH = 256;
const FOREIGN_KEY_VIOLATION = '23503';
const DEADLOCK = '40P01';

/** A workspace whose key exists and whose name is sealed, ready to be inserted. */
export interface PreparedWorkspace {
  workspaceId: string;
  rootFolderId: string;
  nameSealed: Buffer;
  rootNameSealed: Buffer;
}

/** Everything about a new workspace that needs the keyring, so that the transaction does not wait for it. */
export async function prepareWorkspace(
  deps: Pick<WorkspaceDeps, 'keys' | 'sealer'>,
  request: { name: string },
): Promise<PreparedWorkspace> {
  const name = checkWorkspaceName(request.name);
  const [workspaceId, rootFolderId] = [randomUUID(), randomUUID()];
  const key = await deps.keys.createWorkspaceKey(workspaceId);
  const seal = (context: ReturnType<typeof nodeNameContext>) => deps.sealer.sealName(key.id, context, name);
  return {
    workspaceId,
    rootFolderId,
    nameSealed: await seal(workspaceNameContext(workspaceId)),
    rootNameSealed: await seal(nodeNameContext(workspaceId, rootFolderId)),
  };
}

/** Inserts a prepared workspace with its root folder and first member. */
export async function insertWorkspace(
  tx: WriteTransaction,
  deps: Pick<WorkspaceDeps, 'clock'>,
  workspace: PreparedWorkspace,
  member: { userId: string; role: WorkspaceRole },
  actor: Actor,
): Promise<void> {
  const { workspaceId, rootFolderId } = workspace;
  const now = deps.clock.now();
  await insertWorkspaceRow(tx, {
    id: workspaceId,
    name_sealed: workspace.nameSealed,
    root_folder_id: rootFolderId,
    created_at: now,
  });
  await insertNodes(tx, [
    {
      id: rootFolderId,
      workspace_id: workspaceId,
      parent_id: null,
      kind: 'folder',
      name_sealed: workspace.rootNameSealed,
      mtime_ns: instantToNs(now),
      created_at: now,
      created_by: member.userId,
    },
  ]);
  await insertMember(tx, { workspace_id: workspaceId, user_id: member.userId, role: member.role });
  await recordAudit(tx, deps.clock, actor, {
    action: 'workspaces.workspace.created',
    objectType: 'workspace',
    objectId: workspaceId,
    workspaceId,
    detail: { managerId: member.userId },
  });
}

/** The workspaces of a person, the oldest first, each with the highest role that they hold in it. */
export async function listWorkspaces(
  deps: Pick<WorkspaceDeps, 'db' | 'keys' | 'sealer'>,
  visitor: Exclude<Visitor, 'appliance'>,
): Promise<Workspace[]> {
  const { userId, onlyWorkspaceId: only } = visitor;
  const all = await listGrantedWorkspaces(deps.db, userId);
  const seen = only === undefined ? all : all.filter((row) => row.id === only);
  const grants = Map.groupBy(seen, (row) => row.id);
  return Promise.all(
    [...grants].map(async ([id, rows]) => ({
      id,
      name: await deps.sealer.openName(
        await nameKeyId(deps, id),
        workspaceNameContext(id),
        rows[0]?.name_sealed ?? Buffer.alloc(0),
      ),
      kind: rows[0]?.kind ?? '',
      rootFolderId: rows[0]?.root_folder_id ?? '',
      role: highestRole(rows.map((row) => row.role)) ?? 'viewer',
    })),
  );
}

export async function getNode(deps: WorkspaceDeps, id: string, visitor: Visitor): Promise<Node> {
  return describeNode(deps, await requireNode(deps.db, id, visitor, 'viewer'));
}

/** A row as the API shows it. */
export async function describeNode(deps: WorkspaceDeps, row: NodeRow): Promise<Node> {
  const names = await openNodeNames(deps, await nameKeyId(deps, row.workspace_id), [row]);
  return toNode(row, names[0] ?? '');
}

/** @throws not_found, forbidden, invalid_input, conflict when the name is taken */
export async function createFolder(
  deps: WorkspaceDeps,
  request: { parentId: string; name: string },
  visitor: Visitor,
  actor: Actor,
): Promise<Node> {
  requireName(request.name);
  const parent = await requireFolder(deps.db, request.parentId, visitor, 'editor');
  if ((await listAncestors(deps.db, parent.id)).length >= MAX_DEPTH) throw tooDeep();
  const id = randomUUID();
  const workspaceId = parent.workspace_id;
  const now = deps.clock.now();
  const name_sealed = await sealNodeName(deps, workspaceId, id, request.name);
  const [name_hash] = await nameHashes(deps, workspaceId, parent.id, [request.name]);
  await namingTransaction(deps, async (tx) => {
    await requireRole(tx, workspaceId, visitor, 'editor');
    if ((await holdFolder(tx, parent.id)) === undefined) throw noSuchNode();
    await insertNodes(tx, [
      {
        id,
        workspace_id: workspaceId,
        parent_id: parent.id,
        kind: 'folder',
        name_sealed,
        mtime_ns: instantToNs(now),
        created_at: now,
        created_by: makerOf(visitor),
      },
    ]);
    await giveName(tx, parent.id, id, name_hash);
    await recordAudit(tx, deps.clock, actor, {
      action: 'workspaces.folder.created',
      objectType: 'folder',
      objectId: id,
      workspaceId,
    });
  });
  return getNode(deps, id, visitor);
}

/**
 * Renames and moves.
 *
 * @throws not_found, forbidden; wrong_state for a root folder; invalid_input for a folder into itself or for another
 * workspace; conflict when the name is taken there.
 */
export async function changeNode(
  deps: WorkspaceDeps,
  id: string,
  change: { name?: string; parentId?: string },
  visitor: Visitor,
  actor: Actor,
): Promise<Node> {
  if (change.name !== undefined) requireName(change.name);
  const node = await requireNode(deps.db, id, visitor, 'editor');
  if (node.parent_id === null) throw rootStays();
  const parentId = change.parentId ?? node.parent_id;
  const parent = await requireFolder(deps.db, parentId, visitor, 'editor');
  if (parent.workspace_id !== node.workspace_id) {
    throw new HoldfastError('invalid_input', 'A file or folder cannot move to another workspace', {
      hint: 'Download it there and upload it here.',
    });
  }
  const name = change.name ?? (await describeNode(deps, node)).name;
  const name_sealed = await sealNodeName(deps, node.workspace_id, id, name);
  const [name_hash] = await nameHashes(deps, node.workspace_id, parentId, [name]);
  await namingTransaction(deps, async (tx) => {
    if (node.kind === 'folder' && parentId !== node.parent_id) await lockFolderMoves(tx, node.workspace_id);
    await requireRole(tx, node.workspace_id, visitor, 'editor');
    if ((await lockNode(tx, id)) === undefined) throw noSuchNode();
    const chain = await listAncestors(tx, parentId);
    if (chain.length === 0) throw noSuchNode();
    if (chain.some((folder) => folder.id === id)) throw intoItself();
    if (chain.length >= MAX_DEPTH) throw tooDeep();
    await updateNode(tx, id, { name_sealed, parent_id: parentId });
    await deleteName(tx, id);
    await giveName(tx, parentId, id, name_hash);
    await recordAudit(tx, deps.clock, actor, {
      action: `workspaces.${node.kind}.${parentId === node.parent_id ? 'renamed' : 'moved'}`,
      objectType: node.kind,
      objectId: id,
      workspaceId: node.workspace_id,
      ...(parentId === node.parent_id ? {} : { detail: { from: node.parent_id, to: parentId } }),
    });
  });
  return getNode(deps, id, visitor);
}

/**
 * Deletes a file, or a folder with all that is in it. It is gone for everybody when this returns; downloads under way
 * stop within a second. The bytes are removed by the collector.
 *
 * @throws not_found, forbidden; wrong_state for a root folder
 */
export async function deleteNode(
  deps: WorkspaceDeps,
  id: string,
  visitor: Visitor,
  actor: Actor,
): Promise<void> {
  const node = await requireNode(deps.db, id, visitor, 'editor');
  if (node.parent_id === null) throw rootStays();
  for (let attempt = 1; ; attempt += 1) {
    try {
      const nodeIds = await writeTransaction(deps.db, (tx) => deleteHeld(tx, deps, node, visitor, actor));
      stopDownloads(deps.db, nodeIds);
      return;
    } catch (error) {
      // Something was added below or moved meanwhile; it goes too.
      const state = sqlState(error);
      if ((state !== FOREIGN_KEY_VIOLATION && state !== DEADLOCK) || attempt === 5) throw error;
    }
  }
}

/** @returns the ids of all that was deleted. */
export async function deleteHeld(
  tx: WriteTransaction,
  deps: Pick<WorkspaceDeps, 'clock'>,
  node: NodeRow,
  visitor: Visitor,
  actor: Actor,
): Promise<string[]> {
  await requireRole(tx, node.workspace_id, visitor, 'editor');
  await lockFolderMoves(tx, node.workspace_id);
  if ((await lockNode(tx, node.id)) === undefined || (await findNode(tx, node.id)) === undefined) {
    throw noSuchNode();
  }
  const { nodeIds, files, folders, sizeBytes } = await deleteTree(tx, node.id, deps.clock.now());
  await recordAudit(tx, deps.clock, actor, {
    action: `workspaces.${node.kind}.deleted`,
    objectType: node.kind,
    objectId: node.id,
    workspaceId: node.workspace_id,
    detail: { files, folders, sizeBytes },
  });
  return nodeIds;
}

export async function sealNodeName(
  deps: Pick<WorkspaceDeps, 'keys' | 'sealer'>,
  workspaceId: string,
  nodeId: string,
  name: string,
): Promise<Buffer> {
  const keyId = await nameKeyId(deps, workspaceId);
  return deps.sealer.sealName(keyId, nodeNameContext(workspaceId, nodeId), name);
}

/** @throws conflict when the name is taken */
export async function giveName(
  tx: WriteTransaction,
  parentId: string,
  nodeId: string,
  hash: Buffer | undefined,
): Promise<void> {
  if (hash === undefined) throw new HoldfastError('internal', 'A name has no index value');
  const given = await insertNames(tx, [{ parent_id: parentId, name_hash: hash, node_id: nodeId }]);
  if (!given.has(nodeId)) throw nameTaken();
}

export function nameTaken(): HoldfastError {
  return new HoldfastError('conflict', 'Something of this name is in this folder already', {
    hint: 'Choose another name.',
  });
}

export function rootStays(): HoldfastError {
  return new HoldfastError('wrong_state', 'The top folder of a workspace stays where it is');
}

function intoItself(): HoldfastError {
  return new HoldfastError('invalid_input', 'A folder cannot be moved into itself');
}

function tooDeep(): HoldfastError {
  return new HoldfastError('invalid_input', `Folders go ${MAX_DEPTH} deep at most`, {
    hint: 'Choose a folder nearer to the top.',
  });
}
