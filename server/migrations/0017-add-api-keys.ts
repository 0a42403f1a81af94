import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Keys with which programs call the API for a person, and the log of what they asked. A key is of one workspace, or of the appliance's
 * operations (`workspace_id` null). Scopes of the log are named by the workspace's id, or `appliance`.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table api_keys (
      id uuid primary key,
      user_id uuid not null references users (id) on delete cascade,
      workspace_id uuid references workspaces (id) on delete cascade,
      name text not null check (length(name) between 1 and 60),
      prefix text not null unique,
      secret_hash bytea not null check (octet_length(secret_hash) = 32),
      previous_secret_hash bytea check (octet_length(previous_secret_hash) = 32),
      previous_until timestamptz,
      rights text[] not null,
      networks text[] not null default '{}',
      created_at timestamptz not null,
      rotated_at timestamptz,
      expires_at timestamptz not null,
      revoked_at timestamptz,
      revoked_because text,
      last_used_at timestamptz,
      last_used_address text,
      told_at timestamptz,
      check ((previous_secret_hash is null) = (previous_until is null))
    )`.execute(db);
  await sql`create index api_keys_user on api_keys (user_id, created_at desc)`.execute(db);
  await sql`create index api_keys_ending on api_keys (expires_at) where revoked_at is null`.execute(db);
  await sql`
    create table api_log (
      number bigint generated always as identity primary key,
      at timestamptz not null,
      scope text not null,
      key_id uuid not null,
      user_id uuid not null,
      method text not null,
      route text not null,
      object_id text,
      status integer not null,
      ms integer not null,
      bytes bigint not null,
      address text not null
    )`.execute(db);
  await sql`create index api_log_scope on api_log (scope, number desc)`.execute(db);
  await sql`create index api_log_person on api_log (scope, user_id, number desc)`.execute(db);
  await sql`create index api_log_key on api_log (key_id, number desc)`.execute(db);
  await sql`create index api_log_at on api_log (at)`.execute(db);
  await sql`
    create table api_log_settings (
      scope text primary key,
      enabled boolean not null,
      days integer not null check (days between 1 and 365),
      reason text check (length(reason) between 1 and 500),
      changed_at timestamptz not null,
      check (days <= 14 or reason is not null)
    )`.execute(db);
  await sql`
    create table api_log_drops (
      scope text not null,
      day date not null,
      count bigint not null,
      primary key (scope, day)
    )`.execute(db);
}
