import { sql, type Kysely } from 'kysely';

/**
 * Workspaces and their files. Names are sealed under the workspace key; file content lies outside the database under
 * opaque ids, each version with a data key of its own, wrapped by the subject key named beside it.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table workspaces (
      id uuid primary key,
      kind text not null default 'production' check (kind in ('production', 'sandbox', 'trial')),
      name_sealed bytea not null,
      root_folder_id uuid not null unique,
      created_at timestamptz not null
    )`.execute(db);
  await sql`
    create table workspace_members (
      workspace_id uuid not null references workspaces (id) on delete cascade,
      user_id uuid not null references users (id) on delete cascade,
      role text not null check (role in ('manager', 'editor', 'viewer')),
      primary key (workspace_id, user_id)
    )`.execute(db);
  await sql`
    create table nodes (
      id uuid primary key,
      workspace_id uuid not null references workspaces (id) on delete cascade,
      parent_id uuid references nodes (id),
      kind text not null check (kind in ('folder', 'file')),
      name_sealed bytea not null,
      mode integer,
      mtime_ns bigint not null,
      created_at timestamptz not null,
      created_by uuid,
      current_version integer,
      version bigint not null default 1,
      check ((kind = 'file') = (current_version is not null))
    )`.execute(db);
  await sql`create index nodes_parent on nodes (parent_id, kind, id)`.execute(db);
  await sql`create index nodes_workspace on nodes (workspace_id)`.execute(db);
  await sql`
    create table file_versions (
      node_id uuid not null references nodes (id) on delete cascade,
      version integer not null,
      content_id uuid not null unique,
      subject_key_id uuid not null,
      wrapped_key bytea not null,
      size_bytes bigint not null,
      stored_bytes bigint not null,
      stored_sha256 bytea not null,
      media_type text not null,
      created_at timestamptz not null,
      created_by uuid,
      primary key (node_id, version)
    )`.execute(db);
  await sql`
    create table doomed_contents (
      content_id uuid primary key,
      doomed_at timestamptz not null
    )`.execute(db);
  await sql`
    create unlogged table node_name_index (
      parent_id uuid not null,
      name_hash bytea not null,
      node_id uuid not null unique,
      primary key (parent_id, name_hash)
    )`.execute(db);
}
