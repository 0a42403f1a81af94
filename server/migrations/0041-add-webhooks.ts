import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * A call outside while all is well, and receivers of events with the queue of what goes to each. Addresses and secrets are sealed, since
 * whoever knows them can speak in our name; what is shown of an address is kept beside it.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table heartbeat (
      singleton boolean primary key default true check (singleton),
      url_sealed bytea not null,
      url_shown text not null,
      failure_url_sealed bytea,
      failure_url_shown text,
      method text not null check (method in ('GET', 'POST')),
      every_minutes integer not null check (every_minutes between 1 and 60),
      allow_http boolean not null default false,
      paused boolean not null default false,
      changed_at timestamptz not null,
      called_at timestamptz,
      answered_at timestamptz,
      told_state text check (told_state in ('up', 'down')),
      answer jsonb,
      failing_since timestamptz
    )`.execute(db);
  await sql`
    create table webhooks (
      id uuid primary key,
      name text not null check (length(name) between 1 and 60),
      url_sealed bytea not null,
      url_shown text not null,
      allow_http boolean not null default false,
      secret_sealed bytea not null,
      old_secret_sealed bytea,
      old_secret_until timestamptz,
      events jsonb not null,
      least text not null check (least in ('warn', 'bad')),
      paused boolean not null default false,
      snapshot_number bigint not null default 0,
      created_at timestamptz not null,
      changed_at timestamptz not null,
      check ((old_secret_sealed is null) = (old_secret_until is null))
    )`.execute(db);
  await sql`create unique index webhooks_name on webhooks (lower(name))`.execute(db);
  await sql`
    create table webhook_deliveries (
      id uuid primary key,
      webhook_id uuid not null references webhooks (id) on delete cascade,
      alert_id uuid,
      event text not null,
      title text not null check (length(title) <= 300),
      body text not null check (length(body) <= 16384),
      state text not null check (state in ('queued', 'delivered', 'failed')),
      attempts integer not null default 0,
      created_at timestamptz not null,
      expires_at timestamptz not null,
      next_attempt_at timestamptz,
      leased_until timestamptz,
      last_attempt_at timestamptz,
      ended_at timestamptz,
      answer jsonb,
      check ((state = 'queued') = (ended_at is null))
    )`.execute(db);
  await sql`
    create index webhook_deliveries_due on webhook_deliveries (webhook_id, created_at) where state = 'queued'`.execute(
    db,
  );
  await sql`
    create index webhook_deliveries_log on webhook_deliveries (webhook_id, created_at desc, id desc)`.execute(
    db,
  );
  await sql`create index webhook_deliveries_alert on webhook_deliveries (alert_id)`.execute(db);
}
