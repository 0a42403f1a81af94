/** What the section `appliance` reads, over a connection inside an exported SQL snapshot. */
import type { ClientBase } from 'pg';

export interface FolderLine {
  id: string;
  workspaceId: string;
  parentId: string | null;
  /** Base64. */
  nameSealed: string;
}

export interface NodeLine extends FolderLine {
  parentId: string;
  kind: 'folder' | 'file';
  mtimeNs: string;
  mode: number | null;
  createdAt: string;
  /** Of files: their current version. Null of folders; snapshots made elsewhere may leave it out. */
  file?: {
    version: number;
    contentId: string;
    subjectKeyId: string;
    /** Base64. */
    wrappedKey: string;
    sizeBytes: string;
    storedBytes: string;
    /** Hex. */
    storedSha256: string;
    mediaType: string;
  } | null;
}

const ROWS = 2_000;

export async function readApplianceFacts(client: ClientBase): Promise<Record<string, unknown>> {
  const result = await client.query<Record<string, unknown>>(
    `select name, stage, region, allowed_regions as "allowedRegions" from appliance`,
  );
  return result.rows[0] ?? {};
}

export function streamWorkspaces(client: ClientBase): AsyncGenerator<object> {
  return stream<object>(
    client,
    `select id, kind, root_folder_id as "rootFolderId", translate(encode(name_sealed, 'base64'), E'\\n', '') as "nameSealed"
     from workspaces order by id`,
    [],
  );
}

export function streamFolders(client: ClientBase): AsyncGenerator<FolderLine> {
  return stream<FolderLine>(
    client,
    `select id, workspace_id as "workspaceId", parent_id as "parentId", translate(encode(name_sealed, 'base64'), E'\\n', '') as "nameSealed"
     from nodes where kind = 'folder' order by id`,
    [],
  );
}

/** Nodes whose folder's id starts with these two hex digits, by folder and id. */
export function streamNodes(client: ClientBase, prefix: string): AsyncGenerator<NodeLine> {
  const next = (Number.parseInt(prefix, 16) + 1).toString(16).padStart(2, '0');
  const upper =
    next.length > 2 ? 'ffffffff-ffff-ffff-ffff-ffffffffffff' : `${next}000000-0000-0000-0000-000000000000`;
  return stream<NodeLine>(
    client,
    `select n.id, n.workspace_id as "workspaceId", n.parent_id as "parentId", n.kind,
       translate(encode(n.name_sealed, 'base64'), E'\\n', '') as "nameSealed", n.mtime_ns::text as "mtimeNs", n.mode,
       to_char(n.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "createdAt",
       case when v.node_id is null then null else json_build_object(
         'version', v.version, 'contentId', v.content_id, 'subjectKeyId', v.subject_key_id,
         'wrappedKey', translate(encode(v.wrapped_key, 'base64'), E'\\n', ''), 'sizeBytes', v.size_bytes::text,
         'storedBytes', v.stored_bytes::text, 'storedSha256', encode(v.stored_sha256, 'hex'),
         'mediaType', v.media_type) end as file
     from nodes n left join file_versions v on v.node_id = n.id and v.version = n.current_version
     where n.parent_id >= $1 and (n.parent_id < $2 or ($3 and n.parent_id = $2))
     order by n.parent_id, n.id`,
    [`${prefix}000000-0000-0000-0000-000000000000`, upper, next.length > 2],
  );
}

/** Rows through a cursor, so that no more than a batch is in memory. The connection is in a transaction already. */
async function* stream<Row extends object>(
  client: ClientBase,
  text: string,
  values: unknown[],
): AsyncGenerator<Row> {
  const name = `appliance_${String((streams += 1))}`;
  await client.query(`declare ${name} no scroll cursor for ${text}`, values);
  try {
    for (;;) {
      const { rows } = await client.query<Row>(`fetch ${ROWS} from ${name}`);
      yield* rows;
      if (rows.length < ROWS) return;
    }
  } finally {
    await client.query(`close ${name}`);
  }
}

let streams = 0;
