import { sql, type Kysely } from 'kysely';

/** Long work: every run of it, its progress and outcome, and when it is due. These rows are the truth; cron only wakes. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table runs (
      id uuid primary key,
      kind text not null,
      state text not null
        check (state in ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled')),
      input jsonb not null default '{}',
      cause text not null check (cause in ('person', 'schedule', 'catch-up', 'console')),
      requested_by uuid,
      step text,
      progress jsonb not null default '{}',
      result jsonb,
      error jsonb,
      created_at timestamptz not null,
      started_at timestamptz,
      heartbeat_at timestamptz,
      finished_at timestamptz,
      cancel_requested_at timestamptz
    )`.execute(db);
  await sql`create index runs_kind on runs (kind, created_at desc)`.execute(db);
  await sql`create index runs_open on runs (state, created_at) where state in ('queued', 'running')`.execute(
    db,
  );
  await sql`
    create table run_log (
      run_id uuid not null references runs (id) on delete cascade,
      number integer not null,
      at timestamptz not null,
      level text not null check (level in ('info', 'warn', 'error')),
      message text not null,
      primary key (run_id, number)
    )`.execute(db);
  await sql`
    create table schedules (
      name text primary key,
      kind text not null,
      cron text not null,
      input jsonb not null default '{}',
      enabled boolean not null default true,
      next_due_at timestamptz,
      last_due_at timestamptz,
      last_run_id uuid references runs (id) on delete set null,
      version bigint not null default 1
    )`.execute(db);
}
