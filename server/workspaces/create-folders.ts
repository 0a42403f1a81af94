/**
 * Makes the folders that a tree needs, whatever of it is there already: it can be repeated, and two at once come to the same.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import type { WorkspaceDeps } from './deps.ts';
import { makerOf, requireFolder, requireRole, type Visitor } from './members.ts';
import { findNodesByPlace, namingTransaction } from './name-index.ts';
import { nameKeyId, nameProblem, nodeNameContext } from './names.ts';
import { instantToNs } from './node-shape.ts';
import { insertNames, insertNodes, listAncestors, type NodeRow } from './queries.ts';
import type { CreateFoldersReply } from './schema.ts';
import { MAX_DEPTH } from './service.ts';

type Place = CreateFoldersReply['items'][number];

/** A folder that is wanted: a name below another one. Paths start with a slash here; the top is the empty path. */
interface Wanted {
  path: string;
  above: string;
  name: string;
}

const TOO_DEEP = `folders go ${MAX_DEPTH} deep at most`;

/**
 * @param paths names joined by slashes, relative to the folder.
 * @returns for each path in order its folder, or why there can be none.
 * @throws not_found, forbidden for the folder
 */
export async function createFolders(
  deps: WorkspaceDeps,
  folderId: string,
  paths: readonly string[],
  visitor: Visitor,
  actor: Actor,
): Promise<CreateFoldersReply> {
  const top = await requireFolder(deps.db, folderId, visitor, 'editor');
  const depth = (await listAncestors(deps.db, top.id)).length;
  const places = new Map<string, Place>([['', { folderId: top.id }]]);
  for (const [index, level] of levelsOf(paths).entries()) {
    const possible: (Wanted & { parentId: string })[] = [];
    for (const wanted of level) {
      const above = places.get(wanted.above);
      const problem = nameProblem(wanted.name) ?? (depth + index >= MAX_DEPTH ? TOO_DEEP : undefined);
      if (above === undefined || 'reason' in above) places.set(wanted.path, above ?? { reason: TOO_DEEP });
      else if (problem !== undefined) places.set(wanted.path, { reason: problem });
      else possible.push({ ...wanted, parentId: above.folderId });
    }
    for (const [path, place] of await createLevel(deps, top, possible, visitor, actor))
      places.set(path, place);
  }
  return { items: paths.map((path) => places.get(`/${path}`) ?? { reason: TOO_DEEP }) };
}

/** Every folder on the way to the paths, those nearest to the top first. */
function levelsOf(paths: readonly string[]): Wanted[][] {
  const levels: Map<string, Wanted>[] = [];
  for (const path of paths) {
    let above = '';
    for (const [index, name] of path.split('/').entries()) {
      if (index > MAX_DEPTH) break;
      const here = `${above}/${name}`;
      (levels[index] ??= new Map()).set(here, { path: here, above, name });
      above = here;
    }
  }
  return levels.map((level) => [...level.values()]);
}

async function createLevel(
  deps: WorkspaceDeps,
  top: NodeRow,
  wanted: readonly (Wanted & { parentId: string })[],
  visitor: Visitor,
  actor: Actor,
): Promise<Map<string, Place>> {
  const workspaceId = top.workspace_id;
  const look = () =>
    findNodesByPlace(
      deps,
      workspaceId,
      wanted.map(({ parentId, name }) => ({ folderId: parentId, name })),
    );
  let found = await look();
  const missing = wanted.flatMap((one, index) => {
    const place = found[index];
    return place === undefined || place.node !== undefined
      ? []
      : [{ ...one, id: randomUUID(), hash: place.hash }];
  });
  if (missing.length > 0) {
    await insertFolders(deps, top, missing, visitor, actor);
    found = await look();
  }
  return new Map(wanted.map(({ path }, index) => [path, placeOf(found[index]?.node)]));
}

function placeOf(node: NodeRow | undefined): Place {
  if (node?.kind === 'folder') return { folderId: node.id };
  return { reason: node ? 'a file of this name is there' : 'it was deleted meanwhile' };
}

/** Inserts those whose name is still free, with one audit entry. */
async function insertFolders(
  deps: WorkspaceDeps,
  top: NodeRow,
  missing: readonly { id: string; parentId: string; name: string; hash: Buffer }[],
  visitor: Visitor,
  actor: Actor,
): Promise<void> {
  const workspaceId = top.workspace_id;
  const keyId = await nameKeyId(deps, workspaceId);
  const sealed = await deps.sealer.seal(
    missing.map(({ id, name }) => ({
      keyId,
      purpose: 'names' as const,
      context: nodeNameContext(workspaceId, id),
      value: name,
    })),
  );
  const now = deps.clock.now();
  await namingTransaction(deps, async (tx) => {
    await requireRole(tx, workspaceId, visitor, 'editor');
    const given = await insertNames(
      tx,
      missing.map(({ id, parentId, hash }) => ({ parent_id: parentId, name_hash: hash, node_id: id })),
    );
    const rows = missing.flatMap(({ id, parentId }, index) =>
      given.has(id)
        ? [
            {
              id,
              workspace_id: workspaceId,
              parent_id: parentId,
              kind: 'folder',
              name_sealed: sealed[index] ?? Buffer.alloc(0),
              mtime_ns: instantToNs(now),
              created_at: now,
              created_by: makerOf(visitor),
            },
          ]
        : [],
    );
    if (rows.length === 0) return;
    await insertNodes(tx, rows);
    await recordAudit(tx, deps.clock, actor, {
      action: 'workspaces.folders.created',
      objectType: 'folder',
      objectId: top.id,
      workspaceId,
      detail: { folders: rows.length },
    });
  });
}
