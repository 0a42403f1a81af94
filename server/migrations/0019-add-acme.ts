import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** How the HTTPS certificate is fetched from an authority by ACME, and how the last try went. The keys lie in files. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table acme (
      singleton boolean primary key default true check (singleton),
      enabled boolean not null,
      directory_url text not null,
      names text[] not null check (cardinality(names) between 1 and 20),
      challenge text not null check (challenge in ('http-01', 'dns-01')),
      authority text,
      next_try_at timestamptz,
      failures integer not null default 0,
      last_problem jsonb,
      last_tried_at timestamptz,
      renewed_at timestamptz
    )`.execute(db);
  await sql`
    create table certificate_notices (
      fingerprint text not null,
      days integer not null,
      at timestamptz not null,
      primary key (fingerprint, days)
    )`.execute(db);
}
