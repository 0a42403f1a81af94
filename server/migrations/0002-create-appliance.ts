import { sql, type Kysely } from 'kysely';

/** The one row that says what this appliance is, whether it is claimed, and its settings. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table appliance (
      singleton boolean primary key default true check (singleton),
      id uuid not null unique,
      name text,
      stage text not null default 'production' check (stage in ('production', 'staging', 'development')),
      region text,
      region_known_by text check (region_known_by in ('metadata', 'image', 'declared')),
      allowed_regions text[] not null default '{}',
      created_at timestamptz not null,
      claimed_at timestamptz,
      claim_code_hash bytea,
      claim_code_expires_at timestamptz,
      claim_failures integer not null default 0,
      console_recovery_at timestamptz,
      recovered_at timestamptz,
      version bigint not null default 1
    )`.execute(db);
}
