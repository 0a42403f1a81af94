import { sql, type Kysely } from 'kysely';

/** An older version removes nothing by itself, and heeds no hold when a person forgets a snapshot. */
export const worksWith = '0007-create-restore-tests';

/**
 * How long each target keeps snapshots, how far that was carried out, and legal holds. A target without a row keeps everything.
 * `waiting`: a removal that people have to agree to first. `forgetting`: noted before the head that leaves a snapshot out, so that a run
 * that was cut off between the two is finished by the next.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table target_retention (
      target_id uuid primary key references targets (id) on delete cascade,
      policy jsonb not null,
      changed_at timestamptz not null,
      baseline_count integer,
      baseline_at timestamptz,
      agreed jsonb not null default '[]',
      waiting jsonb,
      tried_at timestamptz,
      applied_at timestamptz,
      problem jsonb,
      reclaimed_bytes bigint not null default 0,
      waiting_bytes bigint not null default 0,
      next_prune_at timestamptz,
      locked_until timestamptz
    )`.execute(db);
  await sql`
    create table snapshot_holds (
      snapshot_id text primary key references snapshots (id) on delete cascade,
      reason text not null check (length(reason) between 1 and 500),
      held_by uuid references users (id),
      held_at timestamptz not null
    )`.execute(db);
  await sql`
    alter table snapshots
      add column forgetting jsonb,
      add column forgotten_at timestamptz,
      add column forgotten_because text`.execute(db);
}
