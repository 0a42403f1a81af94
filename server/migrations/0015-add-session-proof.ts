import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * When and by what a person proved who they are, and what tells a stolen token: the secret half of the token is renewed while it is
 * used, and the one before is known until the new one has been used. Limits per role, what counts as reason to sign out, and signs of
 * theft that a person is told of.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table sessions
      add column authenticated_at timestamptz not null default now(),
      add column methods text[] not null default '{password}',
      add column secret_hash bytea check (octet_length(secret_hash) = 32),
      add column previous_secret_hash bytea check (octet_length(previous_secret_hash) = 32),
      add column renewal_nonce bytea check (octet_length(renewal_nonce) = 32),
      add column renewed_at timestamptz not null default now(),
      add column renewal_used_at timestamptz,
      add column seen_address inet`.execute(db);
  await sql`
    create table session_limits (
      role text primary key check (role in ('owner', 'admin', 'auditor', 'member')),
      idle_minutes integer not null check (idle_minutes between 5 and 480),
      absolute_hours integer not null check (absolute_hours between 1 and 168)
    )`.execute(db);
  await sql`
    insert into session_limits (role, idle_minutes, absolute_hours)
    values ('owner', 15, 12), ('admin', 15, 12), ('auditor', 30, 12), ('member', 30, 12)`.execute(db);
  await sql`
    create table session_settings (
      singleton boolean primary key default true check (singleton),
      proof_minutes integer not null default 10 check (proof_minutes between 1 and 60),
      likely_theft_ends boolean not null default false
    )`.execute(db);
  await sql`insert into session_settings default values`.execute(db);
  await sql`
    create table session_alerts (
      id uuid primary key,
      user_id uuid not null references users (id) on delete cascade,
      session_id uuid,
      kind text not null,
      at timestamptz not null,
      address inet,
      user_agent text,
      ended boolean not null,
      dismissed_at timestamptz
    )`.execute(db);
  await sql`create index session_alerts_user on session_alerts (user_id, at)`.execute(db);
}
