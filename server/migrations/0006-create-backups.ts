import { sql, type Kysely } from 'kysely';

/** Targets and the snapshots known to lie on them. The repository is the truth about snapshots; these rows follow it. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table targets (
      id uuid primary key,
      name text not null,
      kind text not null check (kind in ('directory')),
      settings jsonb not null,
      region text not null,
      region_known_by text not null check (region_known_by in ('provider', 'declared')),
      same_disk boolean not null,
      probe jsonb,
      state text not null default 'active' check (state in ('active', 'retired')),
      created_at timestamptz not null,
      last_ok_at timestamptz,
      last_error jsonb,
      version bigint not null default 1
    )`.execute(db);
  await sql`create unique index targets_name on targets (name) where state = 'active'`.execute(db);
  await sql`
    create table snapshots (
      id text primary key,
      number bigint not null unique,
      repository_id text not null,
      run_id uuid references runs (id) on delete set null,
      state text not null check (state in ('stored', 'partial', 'forgotten')),
      taken_at timestamptz not null,
      stored_at timestamptz,
      restore_point text,
      end_lsn text,
      keyring_epoch text not null,
      file_count bigint not null,
      size_bytes bigint not null,
      added_bytes bigint not null,
      stored_bytes bigint not null,
      duration_ms bigint not null,
      problems jsonb not null default '[]',
      sources jsonb not null default '[]'
    )`.execute(db);
  await sql`create index snapshots_taken on snapshots (taken_at desc)`.execute(db);
  await sql`
    create table snapshot_targets (
      snapshot_id text not null references snapshots (id) on delete cascade,
      target_id uuid not null references targets (id) on delete cascade,
      state text not null check (state in ('written', 'stored', 'missing')),
      stored_at timestamptz,
      primary key (snapshot_id, target_id)
    )`.execute(db);
}
