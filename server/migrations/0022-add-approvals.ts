import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Acts that need a second person, or a time in which somebody may object. A request that is `open` waits for another administrator,
 * one that is `waiting` for its time; all other states are final. One request for the same act on the same object at a time.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table approvals (
      id uuid primary key,
      act text not null,
      object_type text not null,
      object_id text,
      reason text not null check (length(reason) between 1 and 500),
      consequence text not null check (length(consequence) between 1 and 1000),
      payload jsonb not null,
      state text not null check (state in ('open', 'waiting', 'executed', 'refused', 'withdrawn', 'expired', 'failed')),
      requested_by uuid not null references users (id),
      requested_at timestamptz not null,
      expires_at timestamptz not null,
      runs_at timestamptz check ((runs_at is null) or (runs_at < expires_at)),
      decided_by uuid references users (id),
      decided_at timestamptz,
      decision_reason text check (length(decision_reason) <= 500),
      failure text,
      check (decided_by <> requested_by or state not in ('executed', 'refused'))
    )`.execute(db);
  await sql`
    create unique index approvals_pending on approvals (act, coalesce(object_id, ''))
    where state in ('open', 'waiting')`.execute(db);
  await sql`create index approvals_requested on approvals (requested_at desc)`.execute(db);
  await sql`
    create table approval_settings (
      singleton boolean primary key default true check (singleton),
      expiry_hours integer not null default 72 check (expiry_hours between 1 and 336),
      waiting_hours integer not null default 24 check (waiting_hours between 1 and 168)
    )`.execute(db);
  await sql`insert into approval_settings default values`.execute(db);
}
