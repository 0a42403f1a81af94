/** What a test asks the recovered database. Never the live one. */
import type { ClientBase } from 'pg';

/** A stored file as the database names it. */
export interface NamedFile {
  contentId: string;
  workspaceId: string;
  subjectKeyId: string;
  version: number;
  wrappedKey: Buffer;
  sizeBytes: number;
  storedBytes: number;
  /** Hex. */
  storedSha256: string;
}

const FETCH_ROWS = 1_000;

/** Every file version, by content id, a thousand at a time. */
export async function* listNamedFiles(client: ClientBase): AsyncGenerator<NamedFile> {
  await client.query('begin read only');
  await client.query(`
    declare named_files no scroll cursor for
    select v.content_id as "contentId", n.workspace_id as "workspaceId", v.subject_key_id as "subjectKeyId", v.version,
      v.wrapped_key as "wrappedKey", v.size_bytes::float8 as "sizeBytes", v.stored_bytes::float8 as "storedBytes",
      encode(v.stored_sha256, 'hex') as "storedSha256"
    from file_versions v join nodes n on n.id = v.node_id order by v.content_id`);
  for (;;) {
    const { rows } = await client.query<NamedFile>(`fetch ${FETCH_ROWS} from named_files`);
    if (rows.length === 0) break;
    yield* rows;
  }
  await client.query('rollback');
}

export interface SealedName {
  nodeId: string;
  workspaceId: string;
  nameSealed: Buffer;
}

/** Random nodes' names. */
export async function sampleNames(client: ClientBase, count: number): Promise<SealedName[]> {
  const { rows } = await client.query<SealedName>(
    `select id as "nodeId", workspace_id as "workspaceId", name_sealed as "nameSealed"
     from nodes where parent_id is not null order by random() limit $1`,
    [count],
  );
  return rows;
}

export interface SealedPerson {
  userId: string;
  subjectKeyId: string;
  nameSealed: Buffer;
  emailSealed: Buffer;
}

/** Random people's names and e-mails. */
export async function samplePeople(client: ClientBase, count: number): Promise<SealedPerson[]> {
  const { rows } = await client.query<SealedPerson>(
    `select id as "userId", subject_key_id as "subjectKeyId", name_sealed as "nameSealed", email_sealed as "emailSealed"
     from users order by random() limit $1`,
    [count],
  );
  return rows;
}

export interface AuditFacts {
  entries: number;
  /** Highest number given out; above `entries` where a transaction was rolled back. */
  highest: number;
  /** Enabled triggers that refuse changes. */
  triggers: string[];
  /** Entries whose time is before that of the entry one number below, by more than an hour. */
  outOfOrder: number;
}

export async function readAuditFacts(client: ClientBase): Promise<AuditFacts> {
  const { rows } = await client.query<AuditFacts>(`
    select (select count(*)::float8 from audit_entries) as entries,
      (select coalesce(max(number), 0)::float8 from audit_entries) as highest,
      (select count(*)::float8 from (
        select at, lag(at) over (order by number) as before from audit_entries) as pairs
        where at < before - interval '1 hour') as "outOfOrder",
      array(select tgname::text from pg_trigger
        where tgrelid = 'audit_entries'::regclass and tgenabled in ('O', 'A') and not tgisinternal order by 1) as triggers`);
  return rows[0] ?? { entries: 0, highest: 0, triggers: [], outOfOrder: 0 };
}
