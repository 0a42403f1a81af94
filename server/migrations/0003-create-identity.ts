import { sql, type Kysely } from 'kysely';

/** People and their sessions. Names and e-mails are sealed under each person's subject key; look-up is by blind index. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table users (
      id uuid primary key,
      role text not null check (role in ('owner', 'admin', 'auditor', 'member')),
      subject_key_id uuid not null,
      name_sealed bytea not null,
      email_sealed bytea not null,
      password_hash text,
      created_at timestamptz not null,
      password_changed_at timestamptz,
      disabled_at timestamptz,
      version bigint not null default 1
    )`.execute(db);
  await sql`
    create unlogged table user_email_index (
      email_hash bytea primary key,
      user_id uuid not null unique
    )`.execute(db);
  await sql`
    create table sessions (
      id uuid primary key,
      token_hash bytea not null unique,
      user_id uuid not null references users (id) on delete cascade,
      created_at timestamptz not null,
      last_seen_at timestamptz not null,
      idle_expires_at timestamptz not null,
      absolute_expires_at timestamptz not null,
      ended_at timestamptz,
      end_reason text,
      address inet,
      user_agent text
    )`.execute(db);
  await sql`create index sessions_user on sessions (user_id)`.execute(db);
  await sql`
    create table sign_in_failures (
      bucket text primary key,
      failures integer not null,
      first_at timestamptz not null,
      last_at timestamptz not null
    )`.execute(db);
}
