import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * What people ask of a restored database, with every version; objectives for recovery time and loss; how the copy of a test was chosen,
 * and whether it was the newest. `newest` is null for tests from before it was noted.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table restore_assertions (
      id uuid primary key,
      position integer not null,
      version integer not null check (version > 0),
      name text not null check (length(name) between 1 and 120),
      statement text not null check (length(statement) between 1 and 4000),
      expected jsonb not null,
      runs_in text not null check (runs_in in ('every', 'full', 'kit')),
      enabled boolean not null,
      changed_at timestamptz not null,
      changed_by uuid
    )`.execute(db);
  await sql`
    create table restore_assertion_versions (
      assertion_id uuid not null,
      version integer not null,
      name text not null,
      statement text not null,
      expected jsonb not null,
      runs_in text not null,
      enabled boolean not null,
      removed boolean not null default false,
      changed_at timestamptz not null,
      changed_by uuid,
      primary key (assertion_id, version)
    )`.execute(db);
  await sql`
    create table restore_test_settings (
      singleton boolean primary key default true check (singleton),
      rto_minutes integer check (rto_minutes between 1 and 43200),
      rpo_minutes integer check (rpo_minutes between 1 and 43200),
      assertion_seconds integer not null default 10 check (assertion_seconds between 1 and 60)
    )`.execute(db);
  await sql`insert into restore_test_settings default values`.execute(db);
  await sql`
    alter table restore_tests
      add column choice text not null default 'certain' check (choice in ('latest', 'certain', 'random')),
      add column drawn_from integer check (drawn_from > 0),
      add column newest boolean,
      add column drill boolean not null default false,
      add column reminded_at timestamptz,
      add column rto_objective_ms bigint,
      add column rpo_objective_ms bigint`.execute(db);
}
