import { sql, type Kysely } from 'kysely';

/** An older version cancels nothing and marks no snapshot; its retention does not wait for a person's word. */
export const worksWith = '0007-create-restore-tests';

/**
 * When a run last moved, and why it was stopped; limits of runs and of the size of snapshots; what is unusual about a snapshot, and who said
 * that it is right; room on disks and targets over time.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table runs
      add column progressed_at timestamptz,
      add column stopped_because text check (length(stopped_because) <= 500)`.execute(db);
  await sql`
    create table run_limits (
      kind text primary key,
      stall_minutes integer check (stall_minutes between 5 and 1440),
      limit_minutes integer check (limit_minutes between 5 and 43200),
      stops boolean not null default false,
      check (not stops or limit_minutes is not null)
    )`.execute(db);
  await sql`
    create table snapshot_limits (
      singleton boolean primary key default true check (singleton),
      shrink_percent integer default 30 check (shrink_percent between 1 and 100),
      growth_percent integer default 100 check (growth_percent between 1 and 10000),
      least_files bigint not null default 50 check (least_files >= 1),
      least_bytes bigint not null default 33554432 check (least_bytes >= 1)
    )`.execute(db);
  await sql`insert into snapshot_limits default values`.execute(db);
  await sql`
    alter table snapshots
      add column judged_at timestamptz,
      add column unusual jsonb,
      add column accepted_at timestamptz,
      add column accepted_by uuid,
      add column accepted_note text check (length(accepted_note) <= 500)`.execute(db);
  // What was there before nobody judged: it is what later ones are compared with.
  await sql`update snapshots set judged_at = stored_at`.execute(db);
  await sql`create index snapshots_unjudged on snapshots (number) where judged_at is null`.execute(db);
  await sql`
    create index snapshots_doubted on snapshots (number) where unusual is not null and accepted_at is null`.execute(
    db,
  );
  await sql`
    create table target_space (
      target_id uuid primary key references targets (id) on delete cascade,
      free_bytes bigint,
      measured_at timestamptz,
      quota_bytes bigint check (quota_bytes > 0)
    )`.execute(db);
  await sql`
    create table capacity_points (
      thing text not null,
      at timestamptz not null,
      used_bytes bigint not null,
      free_bytes bigint,
      primary key (thing, at)
    )`.execute(db);
  await sql`
    create table capacity_levels (
      thing text primary key,
      level integer not null default 0,
      forecast_level integer not null default 0
    )`.execute(db);
}
