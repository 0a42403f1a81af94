import { sql, type Kysely } from 'kysely';

/** Restore tests and their signed reports. A report is kept as the exact bytes that were signed. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table restore_tests (
      id uuid primary key,
      run_id uuid not null references runs (id),
      snapshot_id text not null,
      target_id uuid not null,
      mode text not null check (mode in ('quick', 'full')),
      key_source text not null check (key_source in ('test-identity', 'recovery-kit')),
      kit_id text,
      state text not null check (state in ('running', 'passed', 'failed', 'cancelled', 'needs-kit')),
      grade text check (grade in ('data-proven', 'kit-proven')),
      created_at timestamptz not null,
      finished_at timestamptz,
      snapshot_taken_at timestamptz not null,
      rto_ms bigint,
      rpo_ms bigint,
      report bytea,
      report_sha256 bytea,
      check ((state in ('passed')) = (grade is not null))
    )`.execute(db);
  await sql`create index restore_tests_created on restore_tests (created_at desc)`.execute(db);
  await sql`create index restore_tests_snapshot on restore_tests (snapshot_id)`.execute(db);
}
