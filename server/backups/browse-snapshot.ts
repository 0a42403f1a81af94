/** A folder as it was, for members of its workspace; and the asking for a file or folder back. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Person } from '../identity/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { writeTransaction } from '../lib/db.ts';
import type { Run } from '../lib/run-schema.ts';
import { enqueueRun, getRun } from '../lib/runs.ts';
import {
  listGrantedWorkspaces,
  listLiveVersions,
  nameKeyId,
  openNodeNames,
  requireRole,
  type WorkspaceDeps,
} from '../workspaces/index.ts';
import type { FolderLine, NodeLine } from './appliance-queries.ts';
import type { SnapshotDeps } from './list-snapshots.ts';
import type { TargetDeps } from './manage-targets.ts';
import type { PlacedExpiry } from './copy-queries.ts';
import {
  getSnapshot,
  getTarget,
  listSnapshotTargets,
  type SnapshotRow,
  type SnapshotTargetRow,
  type TargetRow,
} from './queries.ts';
import { openTargetConfig } from './target-config.ts';
import { snapshotCan, type SnapshotEntry, type SnapshotFolder, type SnapshotState } from './schema.ts';
import type { SnapshotBrowser } from './snapshot-browser.ts';

export type BrowseDeps = SnapshotDeps & TargetDeps & WorkspaceDeps & { snapshotBrowser: SnapshotBrowser };

interface Asking {
  person: Person;
  actor: Actor;
}

interface BrowseQuery {
  folderId?: string;
  cursor?: string;
  limit?: number;
  search?: string;
  targetId?: string;
}

/** @throws HoldfastError `not_found` for a snapshot, folder or workspace that the person may not see. */
export async function browseSnapshot(
  deps: BrowseDeps,
  asking: Asking,
  snapshotId: string,
  query: BrowseQuery,
): Promise<SnapshotFolder> {
  const { target } = await findReadable(deps, snapshotId, 'browse', query.targetId);
  const folderId = query.folderId ?? (await firstRootFolder(deps, asking.person));
  const found = await deps.snapshotBrowser.list({
    target: await openTargetConfig(deps, target),
    snapshotId,
    folderId,
  });
  const folder = found.ancestors.at(-1);
  if (folder?.id !== folderId) throw noSuchFolder();
  await requireRole(deps.db, folder.workspaceId, asking.person, 'viewer');
  const keyId = await nameKeyId(deps, folder.workspaceId);
  const [names, ancestorNames] = await Promise.all([
    openNodeNames(deps, keyId, found.nodes.map(sealedName)),
    openNodeNames(deps, keyId, found.ancestors.map(sealedName)),
  ]);
  const entries = await compareWithLive(deps, found.nodes, names);
  const present = (await listLiveVersions(deps.db, [folderId])).has(folderId);
  return {
    ...{ folderId, present },
    ancestors: found.ancestors.map((line, index) => ({ id: line.id, name: ancestorNames[index] ?? '' })),
    ...pageOf(entries, query),
  };
}

function sealedName(line: FolderLine): { id: string; workspace_id: string; name_sealed: Buffer } {
  return { id: line.id, workspace_id: line.workspaceId, name_sealed: Buffer.from(line.nameSealed, 'base64') };
}

async function firstRootFolder(deps: BrowseDeps, person: Asking['person']): Promise<string> {
  const granted = await listGrantedWorkspaces(deps.db, person.userId);
  const only = person.onlyWorkspaceId;
  const row = granted.find(({ id }) => only === undefined || id === only);
  if (row === undefined) throw noSuchFolder();
  return row.root_folder_id;
}

/** Tells of each node whether the workspace has it still, and whether its content differs. */
async function compareWithLive(
  deps: BrowseDeps,
  nodes: readonly NodeLine[],
  names: readonly string[],
): Promise<SnapshotEntry[]> {
  const live = await listLiveVersions(
    deps.db,
    nodes.map((node) => node.id),
  );
  return nodes.map((node, index) => {
    const present = live.get(node.id);
    const same = present !== undefined && (node.kind === 'folder' || present === node.file?.contentId);
    return {
      nodeId: node.id,
      parentId: node.parentId,
      kind: node.kind,
      name: names[index] ?? '',
      sizeBytes: node.file ? Number(node.file.sizeBytes) : null,
      modifiedAt: new Date(Number(BigInt(node.mtimeNs) / 1_000_000n)).toISOString(),
      live: present === undefined ? 'deleted' : same ? 'same' : 'changed',
    };
  });
}

function pageOf(
  entries: SnapshotEntry[],
  query: BrowseQuery,
): { items: SnapshotEntry[]; nextCursor: string | null } {
  const wanted = query.search?.toLowerCase();
  const matching =
    wanted === undefined ? entries : entries.filter((one) => one.name.toLowerCase().includes(wanted));
  matching.sort((a, b) => (a.kind === b.kind ? a.name.localeCompare(b.name) : a.kind === 'folder' ? -1 : 1));
  const from = query.cursor === undefined ? 0 : readOffset(query.cursor);
  const limit = query.limit ?? 100;
  const next = from + limit < matching.length ? String(from + limit) : null;
  return { items: matching.slice(from, from + limit), nextCursor: next };
}

function readOffset(cursor: string): number {
  if (/^\d{1,9}$/.test(cursor)) return Number(cursor);
  throw new HoldfastError('invalid_input', 'This page address is not valid');
}

interface WantedRestore {
  folderId: string;
  nodeId: string;
  targetId?: string;
  inPlace?: boolean;
}

/** Queues the restore of a file or folder: beside the present one, under a name that says of when it is, or in its place. */
export async function requestRestore(
  deps: BrowseDeps,
  asking: Asking,
  snapshotId: string,
  { folderId, nodeId, targetId, inPlace = false }: WantedRestore,
): Promise<Run> {
  const { target } = await findReadable(deps, snapshotId, 'restore', targetId);
  const question = { target: await openTargetConfig(deps, target), snapshotId, folderId };
  const found = await deps.snapshotBrowser.list(question);
  const top = found.ancestors.at(-1);
  const node = nodeId === folderId ? top : found.nodes.find((one) => one.id === nodeId);
  if (node === undefined) throw noSuchFolder();
  await requireRole(deps.db, node.workspaceId, asking.person, 'editor');
  if (inPlace) await requirePresent(deps, node);
  const kind = 'kind' in node && node.kind === 'file' ? 'file' : 'folder';
  const runId = await writeTransaction(deps.db, async (tx) => {
    const id = await enqueueRun(tx, deps.clock, {
      kind: `restore-${kind}`,
      input: {
        ...{ snapshotId, targetId: target.id, folderId, nodeId: node.id, inPlace },
        // Sealed as in its row: who asked finds the restore again by its name, for as long as the key of the names is there.
        ...{ workspaceId: node.workspaceId, nameSealed: node.nameSealed },
      },
      cause: 'person',
      requestedBy: asking.person.userId,
    });
    await recordAudit(tx, deps.clock, asking.actor, {
      action: `backups.${kind}.restore-requested`,
      objectType: kind === 'file' ? 'node' : 'folder',
      objectId: node.id,
      workspaceId: node.workspaceId,
      detail: { snapshotId, run: id, inPlace },
    });
    return id;
  });
  return getRun(deps.db, runId);
}

async function requirePresent(deps: BrowseDeps, node: FolderLine): Promise<void> {
  if (node.parentId === null) {
    throw new HoldfastError('wrong_state', 'The top folder of a workspace stays where it is', {
      hint: 'Restore it beside, as a folder in it.',
    });
  }
  if ((await listLiveVersions(deps.db, [node.id])).has(node.id)) return;
  throw new HoldfastError('wrong_state', 'It is not there any more, so there is no place to take', {
    hint: 'Restore it beside: it comes back where it was.',
  });
}

async function findReadable(
  deps: BrowseDeps,
  snapshotId: string,
  act: 'browse' | 'restore',
  targetId?: string,
): Promise<{ snapshot: SnapshotRow; target: TargetRow }> {
  const snapshot = await getSnapshot(deps.db, snapshotId);
  const all = await listSnapshotTargets(deps.db, [snapshotId]);
  if (!snapshotCan[snapshot.state as SnapshotState][act]) {
    throw reducedOrGone(all);
  }
  const places = all.filter(
    (one) => one.state === 'stored' && (targetId === undefined || one.target_id === targetId),
  );
  const targets = await Promise.all(places.map((place) => getTarget(deps.db, place.target_id)));
  // One that could not be reached the last time is asked when there is no other.
  const target = targets.find((one) => one.last_error === null) ?? targets[0];
  if (target === undefined) {
    throw new HoldfastError(
      'unavailable',
      targetId === undefined ? 'No target holds this snapshot' : 'That target does not hold this snapshot',
    );
  }
  return { snapshot, target };
}

function reducedOrGone(places: readonly SnapshotTargetRow[]): HoldfastError {
  const reduced = places.find((one) => one.state === 'reduced');
  if (reduced === undefined)
    return new HoldfastError('wrong_state', 'This snapshot was forgotten; its content is gone');
  const [lost] = (reduced.expired ?? []) as unknown as PlacedExpiry[];
  const since = lost === undefined ? '' : ` since ${lost.at.slice(0, 10)}: ${lost.because}`;
  return new HoldfastError(
    'wrong_state',
    `Of this snapshot only logs and configuration are kept (${reduced.target_name})${since}`,
    {
      hint: 'Choose a newer snapshot. The command `holdfast restore --raw` with a recovery kit brings back what is left.',
    },
  );
}

function noSuchFolder(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such file or folder in this snapshot');
}
