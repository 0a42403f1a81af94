import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Invitations (the address sealed under the subject key that the person will have), teams, and what a team may do in a workspace.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table invitations (
      id uuid primary key,
      person_id uuid not null unique,
      subject_key_id uuid not null,
      email_sealed bytea not null,
      role text not null check (role in ('owner', 'admin', 'auditor', 'member')),
      token_hash bytea not null unique check (octet_length(token_hash) = 32),
      team_ids uuid[] not null default '{}',
      invited_by uuid,
      invited_at timestamptz not null,
      expires_at timestamptz not null,
      ended_at timestamptz,
      outcome text check (outcome in ('accepted', 'withdrawn')),
      check ((ended_at is null) = (outcome is null))
    )`.execute(db);
  await sql`create index invitations_invited_at on invitations (invited_at desc, id)`.execute(db);
  await sql`
    create table people_settings (
      singleton boolean primary key default true check (singleton),
      admins_advised integer not null default 5 check (admins_advised between 1 and 1000)
    )`.execute(db);
  await sql`insert into people_settings default values`.execute(db);
  await sql`
    create table teams (
      id uuid primary key,
      name_sealed bytea not null,
      created_at timestamptz not null,
      version bigint not null default 1
    )`.execute(db);
  await sql`
    create table team_members (
      team_id uuid not null references teams (id) on delete cascade,
      user_id uuid not null references users (id) on delete cascade,
      added_at timestamptz not null,
      primary key (team_id, user_id)
    )`.execute(db);
  await sql`create index team_members_user on team_members (user_id)`.execute(db);
  await sql`
    create table workspace_teams (
      workspace_id uuid not null references workspaces (id) on delete cascade,
      team_id uuid not null references teams (id) on delete cascade,
      role text not null check (role in ('manager', 'editor', 'viewer')),
      primary key (workspace_id, team_id)
    )`.execute(db);
  await sql`create index workspace_teams_team on workspace_teams (team_id)`.execute(db);
  await sql`create index workspace_members_user on workspace_members (user_id)`.execute(db);
}
