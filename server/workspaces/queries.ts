import { sql, type Insertable, type Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { FileVersions, NodeNameIndex, Nodes, Workspaces } from '../lib/tables.ts';

/** A node with the present version of its content, when it is a file. */
export interface NodeRow {
  id: string;
  workspace_id: string;
  parent_id: string | null;
  kind: string;
  name_sealed: Buffer;
  mode: number | null;
  mtime_ns: string;
  created_at: Date;
  current_version: number | null;
  version: string;
  size_bytes: string | null;
  media_type: string | null;
}

export interface ContentRow {
  workspace_id: string;
  version: number;
  content_id: string;
  subject_key_id: string;
  wrapped_key: Buffer;
  size_bytes: string;
  media_type: string;
}

/** Row that tells a whole name index from one that a crash of the database emptied. */
const SENTINEL = '00000000-0000-0000-0000-000000000000';

export async function insertWorkspaceRow(db: Database, row: Insertable<Workspaces>): Promise<void> {
  await db.insertInto('workspaces').values(row).execute();
}

export async function insertMember(
  db: Database,
  member: { workspace_id: string; user_id: string; role: string },
): Promise<void> {
  await db.insertInto('workspace_members').values(member).execute();
}

export async function listWorkspaceRoots(db: Database) {
  return db.selectFrom('workspaces').select(['id', 'root_folder_id']).orderBy('created_at').execute();
}

export async function findNode(db: Database, id: string): Promise<NodeRow | undefined> {
  return selectNodes(db).where('nodes.id', '=', id).executeTakeFirst();
}

/** Children of a folder by id, after the one given. */
export async function listChildren(
  db: Database,
  parentId: string,
  afterId: string | undefined,
  limit: number,
): Promise<NodeRow[]> {
  let query = selectNodes(db).where('nodes.parent_id', '=', parentId);
  if (afterId !== undefined) query = query.where('nodes.id', '>', afterId);
  return query.orderBy('nodes.id').limit(limit).execute();
}

/** The chain from a node up to its root, root first, the node itself last. */
export async function listAncestors(
  db: Database,
  id: string,
): Promise<{ id: string; workspace_id: string; name_sealed: Buffer }[]> {
  const result = await sql<{ id: string; workspace_id: string; name_sealed: Buffer }>`
    with recursive chain as (
      select id, parent_id, workspace_id, name_sealed, 0 as depth from nodes where id = ${id}
      union all
      select up.id, up.parent_id, up.workspace_id, up.name_sealed, depth + 1
      from nodes up join chain on up.id = chain.parent_id
    ) select id, workspace_id, name_sealed from chain order by depth desc`.execute(db);
  return result.rows;
}

export async function insertNodes(db: Database, rows: Insertable<Nodes>[]): Promise<void> {
  await db.insertInto('nodes').values(rows).execute();
}

export async function insertVersions(db: Database, rows: Insertable<FileVersions>[]): Promise<void> {
  await db.insertInto('file_versions').values(rows).execute();
}

export async function updateNode(
  db: Database,
  id: string,
  change: Partial<
    Pick<Insertable<Nodes>, 'name_sealed' | 'parent_id' | 'mode' | 'mtime_ns' | 'current_version'>
  >,
): Promise<void> {
  await db
    .updateTable('nodes')
    .set({ ...change, version: sql`version + 1` })
    .where('id', '=', id)
    .execute();
}

/** Holds a node against other changes of it until the transaction ends. */
export async function lockNode(db: Database, id: string): Promise<Selectable<Nodes> | undefined> {
  return db.selectFrom('nodes').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

/** Holds a folder against deletion until the transaction ends, and lets others add to it. */
export async function holdFolder(db: Database, id: string): Promise<Selectable<Nodes> | undefined> {
  return db.selectFrom('nodes').selectAll().where('id', '=', id).forKeyShare().executeTakeFirst();
}

/** One move of a folder at a time in a workspace, so that two of them cannot close a circle. */
export async function lockFolderMoves(db: Database, workspaceId: string): Promise<void> {
  await db.selectFrom('workspaces').select('id').where('id', '=', workspaceId).forNoKeyUpdate().execute();
}

/** A node and all below it, and whether each is as the appliance made it. */
export async function listMadeBelow(db: Database, id: string): Promise<{ id: string; untouched: boolean }[]> {
  const { rows } = await sql<{ id: string; untouched: boolean }>`
    with recursive tree as (
      select id, created_by, version from nodes where id = ${id}
      union all
      select below.id, below.created_by, below.version from nodes below join tree on below.parent_id = tree.id
    ) select id, (created_by is null and version = 1) as untouched from tree`.execute(db);
  return rows;
}

/** Takes the contents of nodes and everything below them out of reach, then the nodes. @returns what was deleted. */
export async function deleteTree(
  db: Database,
  id: string,
  at: Date,
): Promise<{ nodeIds: string[]; files: number; folders: number; sizeBytes: number }> {
  const tree = sql`
    with recursive tree as (
      select id, kind from nodes where id = ${id}
      union all
      select below.id, below.kind from nodes below join tree on below.parent_id = tree.id
    )`;
  await sql`
    ${tree} insert into doomed_contents (content_id, doomed_at)
    select content_id, ${at} from file_versions join tree on tree.id = file_versions.node_id`.execute(db);
  const sizes = await sql<{ total: string }>`
    ${tree} select coalesce(sum(size_bytes), 0)::text as total
    from file_versions join tree on tree.id = file_versions.node_id`.execute(db);
  const deleted = await sql<{ id: string; kind: string }>`
    ${tree} delete from nodes where id in (select id from tree) returning id, kind`.execute(db);
  const nodeIds = deleted.rows.map((row) => row.id);
  await sql`delete from node_name_index where node_id = any(${nodeIds}::uuid[])`.execute(db);
  const files = deleted.rows.filter((row) => row.kind === 'file').length;
  return {
    nodeIds,
    files,
    folders: nodeIds.length - files,
    sizeBytes: Number(sizes.rows[0]?.total ?? 0),
  };
}

/** Takes every version of a file but the given one out of reach. */
export async function doomOtherVersions(db: Database, nodeId: string, kept: number, at: Date): Promise<void> {
  await sql`
    with gone as (
      delete from file_versions where node_id = ${nodeId} and version <> ${kept} returning content_id
    ) insert into doomed_contents (content_id, doomed_at) select content_id, ${at} from gone`.execute(db);
}

export async function findContent(db: Database, nodeId: string): Promise<ContentRow | undefined> {
  return db
    .selectFrom('nodes')
    .innerJoin('file_versions', (join) =>
      join
        .onRef('file_versions.node_id', '=', 'nodes.id')
        .onRef('file_versions.version', '=', 'nodes.current_version'),
    )
    .select([
      'workspace_id',
      'file_versions.version',
      'content_id',
      'subject_key_id',
      'wrapped_key',
      'size_bytes',
      'media_type',
    ])
    .where('nodes.id', '=', nodeId)
    .executeTakeFirst();
}

export async function listExistingNodes(db: Database, ids: readonly string[]): Promise<string[]> {
  const result = await sql<{ id: string }>`select id from nodes where id = any(${ids}::uuid[])`.execute(db);
  return result.rows.map((row) => row.id);
}

export async function listKnownContents(db: Database, contentIds: readonly string[]): Promise<string[]> {
  const result = await sql<{ content_id: string }>`
    select content_id from file_versions where content_id = any(${contentIds}::uuid[])`.execute(db);
  return result.rows.map((row) => row.content_id);
}

/** @param before only what was doomed before this instant */
export async function listDoomedContents(db: Database, limit: number, before: Date): Promise<string[]> {
  const result = await sql<{ content_id: string }>`
    select content_id from doomed_contents
    where doomed_at <= ${before}
      and not exists (select from file_versions where file_versions.content_id = doomed_contents.content_id)
    order by content_id limit ${limit}`.execute(db);
  return result.rows.map((row) => row.content_id);
}

export async function deleteDoomedContents(db: Database, contentIds: readonly string[]): Promise<void> {
  await sql`delete from doomed_contents where content_id = any(${contentIds}::uuid[])`.execute(db);
}

/** @returns ids of the nodes that got their name; the others met one that is taken. */
export async function insertNames(db: Database, rows: Insertable<NodeNameIndex>[]): Promise<Set<string>> {
  const inserted = await db
    .insertInto('node_name_index')
    .values(rows)
    .onConflict((conflict) => conflict.doNothing())
    .returning('node_id')
    .execute();
  return new Set(inserted.map((row) => row.node_id));
}

export async function deleteName(db: Database, nodeId: string): Promise<void> {
  await db.deleteFrom('node_name_index').where('node_id', '=', nodeId).execute();
}

/** Nodes of a folder by the blind index of their names. */
export async function listNodesByName(
  db: Database,
  parentId: string,
  hashes: readonly Buffer[],
): Promise<(NodeRow & { name_hash: Buffer })[]> {
  return selectNodes(db)
    .innerJoin('node_name_index', 'node_name_index.node_id', 'nodes.id')
    .select('node_name_index.name_hash')
    .where('node_name_index.parent_id', '=', parentId)
    .where(sql<boolean>`node_name_index.name_hash = any(${hashes}::bytea[])`)
    .execute();
}

/** As `listNodesByName`, for many folders at once: a node counts when its name is among those of its own folder. */
export async function listNodesByPlace(
  db: Database,
  places: readonly { parentId: string; hash: Buffer }[],
): Promise<(NodeRow & { name_hash: Buffer })[]> {
  const parentIds = places.map(({ parentId }) => parentId);
  const hashes = places.map(({ hash }) => hash);
  return selectNodes(db)
    .innerJoin('node_name_index', 'node_name_index.node_id', 'nodes.id')
    .select('node_name_index.name_hash')
    .where(
      sql<boolean>`(node_name_index.parent_id, node_name_index.name_hash) in (
        select * from unnest(${parentIds}::uuid[], ${hashes}::bytea[]))`,
    )
    .execute();
}

/** The folder that a node lies in now; of one that was deleted, the first of the folders above that is there. */
export async function findLivePlace(
  db: Database,
  workspaceId: string,
  { nodeId, above }: { nodeId: string; above: readonly string[] },
): Promise<{ folderId: string; present: boolean } | undefined> {
  const node = await findNode(db, nodeId);
  if (node?.workspace_id === workspaceId && node.parent_id !== null)
    return { folderId: node.parent_id, present: true };
  const live = new Set(await listFolderIds(db, workspaceId, above));
  const nearest = above.find((id) => live.has(id));
  return nearest === undefined ? undefined : { folderId: nearest, present: false };
}

/** Ids among the given that are folders of a workspace. */
export async function listFolderIds(
  db: Database,
  workspaceId: string,
  ids: readonly string[],
): Promise<string[]> {
  const rows = await db
    .selectFrom('nodes')
    .select('id')
    .where('workspace_id', '=', workspaceId)
    .where('kind', '=', 'folder')
    .where(sql<boolean>`id = any(${ids}::uuid[])`)
    .execute();
  return rows.map((row) => row.id);
}

export async function isNameIndexWhole(db: Database): Promise<boolean> {
  const row = await db
    .selectFrom('node_name_index')
    .select('node_id')
    .where('parent_id', '=', SENTINEL)
    .executeTakeFirst();
  return row !== undefined;
}

/** Empties the index for whoever rebuilds it; everybody else waits. */
export async function startNameIndex(db: Database): Promise<void> {
  await sql`lock table node_name_index in exclusive mode`.execute(db);
}

export async function clearNameIndex(db: Database): Promise<void> {
  await db.deleteFrom('node_name_index').execute();
}

export async function completeNameIndex(db: Database): Promise<void> {
  await db
    .insertInto('node_name_index')
    .values({ parent_id: SENTINEL, name_hash: Buffer.from([0]), node_id: SENTINEL })
    .execute();
}

/** All nodes but roots, by id, for the rebuild of the index. */
export async function listNodesForIndex(db: Database, afterId: string | undefined, limit: number) {
  let query = db
    .selectFrom('nodes')
    .select(['id', 'workspace_id', 'parent_id', 'name_sealed'])
    .where('parent_id', 'is not', null);
  if (afterId !== undefined) query = query.where('id', '>', afterId);
  return query.orderBy('id').limit(limit).execute();
}

/** Content id of each node that exists, '' for folders. */
export async function listLiveVersions(db: Database, ids: readonly string[]): Promise<Map<string, string>> {
  const result = await sql<{ id: string; content_id: string | null }>`
    select nodes.id, content_id from nodes
    left join file_versions on file_versions.node_id = nodes.id and file_versions.version = current_version
    where nodes.id = any(${ids}::uuid[])`.execute(db);
  return new Map(result.rows.map((row) => [row.id, row.content_id ?? '']));
}

function selectNodes(db: Database) {
  return db
    .selectFrom('nodes')
    .leftJoin('file_versions', (join) =>
      join
        .onRef('file_versions.node_id', '=', 'nodes.id')
        .onRef('file_versions.version', '=', 'nodes.current_version'),
    )
    .select([
      'nodes.id',
      'nodes.workspace_id',
      'nodes.parent_id',
      'nodes.kind',
      'nodes.name_sealed',
      'nodes.mode',
      'nodes.mtime_ns',
      'nodes.created_at',
      'nodes.current_version',
      'nodes.version',
      'file_versions.size_bytes',
      'file_versions.media_type',
    ]);
}
