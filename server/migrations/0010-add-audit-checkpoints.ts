import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Signed heads of the audit log and the certificates of the keys that signed them; what verifications of it found; what
 * came of the last try to sign one; and how far each target got with its copies of them. All but the last two are only ever added.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table audit_checkpoints (
      number bigint generated always as identity primary key,
      origin text not null,
      size bigint not null check (size >= 0),
      at timestamptz not null,
      note text not null,
      certificate_sha256 bytea not null
    )`.execute(db);
  await sql`create index audit_checkpoints_size on audit_checkpoints (size, number)`.execute(db);
  await sql`
    create table audit_certificates (
      sha256 bytea primary key check (octet_length(sha256) = 32),
      certificate text not null
    )`.execute(db);
  await sql`
    create table audit_verifications (
      number bigint generated always as identity primary key,
      at timestamptz not null,
      run_id uuid not null,
      ok boolean not null,
      report jsonb not null
    )`.execute(db);
  for (const table of ['audit_checkpoints', 'audit_certificates', 'audit_verifications']) {
    await sql`
      create trigger ${sql.ref(`${table}_no_change`)} before update or delete on ${sql.table(table)}
      for each row execute function refuse_audit_log_change()`.execute(db);
    await sql`
      create trigger ${sql.ref(`${table}_no_truncate`)} before truncate on ${sql.table(table)}
      for each statement execute function refuse_audit_log_change()`.execute(db);
  }
  await sql`
    create table audit_state (
      singleton boolean primary key default true check (singleton),
      tried_at timestamptz not null,
      problem jsonb
    )`.execute(db);
  await sql`
    create table target_anchors (
      target_id uuid primary key references targets (id) on delete cascade,
      origin text,
      size bigint,
      checkpoint_at timestamptz,
      anchored_at timestamptz,
      tried_at timestamptz not null,
      failures integer not null default 0,
      problem jsonb
    )`.execute(db);
}
