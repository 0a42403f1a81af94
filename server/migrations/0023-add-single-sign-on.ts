import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Signing in at a provider outside: its settings, who is linked with whom there, what a browser has begun, logout messages that have
 * been seen. A sign-in that waits for its second step remembers by what it began and which of the provider's sessions it belongs to;
 * a session remembers the latter too, so that the provider can end it.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table single_sign_on (
      singleton boolean primary key default true check (singleton),
      enabled boolean not null,
      name text not null,
      issuer text not null,
      client_id text not null,
      client_secret_sealed bytea not null,
      ca_certificates text,
      scopes text[] not null,
      groups_claim text,
      role_groups jsonb not null,
      team_groups jsonb not null,
      other_role text check (other_role in ('admin', 'auditor', 'member')),
      makes_accounts boolean not null,
      strong_acr text[] not null,
      strong_amr text[] not null,
      logout_ends_keys boolean not null,
      only_since timestamptz,
      changed_at timestamptz not null,
      version bigint not null default 1
    )`.execute(db);
  await sql`
    create table linked_identities (
      user_id uuid primary key references users (id) on delete cascade,
      subject_hash bytea not null unique check (octet_length(subject_hash) = 32),
      subject_sealed bytea not null,
      label_sealed bytea not null,
      issuer text not null,
      linked_at timestamptz not null,
      last_used_at timestamptz
    )`.execute(db);
  await sql`
    create table single_sign_on_attempts (
      token_hash bytea primary key check (octet_length(token_hash) = 32),
      purpose text not null check (purpose in ('sign-in', 'invitation', 'link', 'proof')),
      user_id uuid references users (id) on delete cascade,
      session_id uuid,
      invitation_hash bytea,
      origin text not null,
      settings_version bigint not null,
      created_at timestamptz not null,
      expires_at timestamptz not null
    )`.execute(db);
  await sql`
    create index single_sign_on_attempts_expiry on single_sign_on_attempts (expires_at)`.execute(db);
  await sql`create index single_sign_on_attempts_user on single_sign_on_attempts (user_id)`.execute(db);
  await sql`
    create table single_sign_on_logouts (
      token_id_hash bytea primary key check (octet_length(token_id_hash) = 32),
      expires_at timestamptz not null
    )`.execute(db);
  await sql`create index single_sign_on_logouts_expiry on single_sign_on_logouts (expires_at)`.execute(db);
  await sql`
    alter table sessions
      add column provider_session_hash bytea check (octet_length(provider_session_hash) = 32)`.execute(db);
  await sql`
    create index sessions_provider on sessions (provider_session_hash)
    where provider_session_hash is not null and ended_at is null`.execute(db);
  await sql`
    alter table pending_sign_ins
      add column if not exists methods text[] not null default '{password}',
      add column provider_session_hash bytea check (octet_length(provider_session_hash) = 32)`.execute(db);
}
