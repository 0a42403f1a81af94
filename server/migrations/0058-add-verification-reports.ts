import { sql, type Kysely } from 'kysely';

/** An older version reads targets back without keeping what it found as a report. */
export const worksWith = '0007-create-restore-tests';

/**
 * Signed reports of what reading targets back found: the exact bytes that were signed, and in `summary` what a list shows of them. Until a
 * cycle is closed, what each of its parts found lies in `target_readings`, a row a part.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table verification_reports (
      id uuid primary key,
      target_id uuid not null references targets (id) on delete cascade,
      run_id uuid not null,
      scope text not null check (scope in ('whole', 'cycle')),
      state text not null check (state in ('whole', 'repaired', 'damaged')),
      started_at timestamptz not null,
      finished_at timestamptz not null,
      summary jsonb not null,
      report bytea not null,
      report_sha256 bytea not null
    )`.execute(db);
  await sql`create index verification_reports_finished on verification_reports (finished_at desc, id desc)`.execute(
    db,
  );
  await sql`
    create table target_readings (
      target_id uuid not null references targets (id) on delete cascade,
      part integer not null check (part between 0 and 364),
      started_at timestamptz not null,
      reading jsonb not null,
      primary key (target_id, part)
    )`.execute(db);
}
