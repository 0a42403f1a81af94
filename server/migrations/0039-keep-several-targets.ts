import { sql, type Kysely } from 'kysely';

/** An older version writes to the oldest target in use only, and finds its catalogue under the name that it knows. */
export const worksWith = '0007-create-restore-tests';

/**
 * Several targets in use at once: their order, how far each lags behind, what it costs, and on how many a snapshot has to be. `catalogue`
 * names the file that remembers a target's highest head: empty for the one that had it before there could be several. Whether a snapshot
 * is being forgotten, or was, is told of each place; the columns of `snapshots` that said so stay for an older version.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table targets
      add column position integer not null default 0,
      add column catalogue text not null default '',
      add column copy_from bigint not null default 0,
      add column copy_failures integer not null default 0,
      add column copy_tried_at timestamptz,
      add column copy_problem jsonb,
      add column unseen_since_recovery boolean not null default false,
      add column verified_at timestamptz,
      add column verify_problems integer,
      add column price_per_gb_month numeric(12, 6) check (price_per_gb_month >= 0),
      add column currency text check (length(currency) between 1 and 8)`.execute(db);
  await sql`
    update targets set catalogue = id::text
    where id <> (select id from targets order by state, created_at desc limit 1)`.execute(db);
  await sql`
    update targets set verified_at = newest.finished_at,
      verify_problems = case newest.state when 'failed' then coalesce((newest.result ->> 'problems')::integer, 1) else 0 end
    from (
      select finished_at, state, result from runs
      where kind = 'verify' and finished_at is not null
        and (state = 'succeeded' or error ->> 'code' = 'integrity_failure')
      order by finished_at desc limit 1
    ) newest
    where targets.state = 'active'`.execute(db);
  await sql`
    update targets set position = place.number
    from (select id, row_number() over (order by created_at) as number from targets where state = 'active') place
    where place.id = targets.id`.execute(db);
  await sql`
    alter table snapshot_targets
      drop constraint snapshot_targets_state_check,
      add constraint snapshot_targets_state_check check (state in ('written', 'stored', 'missing', 'forgotten')),
      add column forgetting jsonb,
      add column forgotten_at timestamptz,
      add column forgotten_because text`.execute(db);
  await sql`
    update snapshot_targets p set forgetting = s.forgetting
    from snapshots s
    where s.id = p.snapshot_id and s.forgetting ->> 'targetId' = p.target_id::text`.execute(db);
  await sql`
    update snapshot_targets p
    set state = 'forgotten', forgotten_at = s.forgotten_at, forgotten_because = s.forgotten_because
    from snapshots s
    where s.id = p.snapshot_id and s.state = 'forgotten'`.execute(db);
  await sql`create index snapshot_targets_target on snapshot_targets (target_id)`.execute(db);
  await sql`
    create table copy_rule (
      only_row boolean primary key default true check (only_row),
      needed integer check (needed between 1 and 100),
      last_number bigint not null
    )`.execute(db);
  await sql`
    insert into copy_rule (last_number)
    select coalesce(max(number), 0) from snapshots`.execute(db);
}
