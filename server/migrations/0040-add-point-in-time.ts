import { sql, type Kysely } from 'kysely';

/** An older version ships nothing, and prunes what was shipped as objects that it does not know: it leaves them where they are. */
export const worksWith = '0007-create-restore-tests';

/**
 * Whether the write-ahead log is shipped, and what was found out about it that has to last: gaps. How far it is is not kept here, or
 * each piece would make the next one. `slot`: the replication slot that keeps the log meanwhile; it stays until it was dropped.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table point_in_time (
      singleton boolean primary key default true check (singleton),
      enabled boolean not null default false,
      window_days integer not null default 7 check (window_days between 1 and 7),
      objective_seconds integer not null default 300 check (objective_seconds between 60 and 86400),
      pile_limit_bytes bigint check (pile_limit_bytes between 67108864 and 1099511627776),
      slot text check (length(slot) between 1 and 63),
      asked_base_at timestamptz,
      changed_at timestamptz
    )`.execute(db);
  await sql`insert into point_in_time default values`.execute(db);
  await sql`
    create table wal_gaps (
      id uuid primary key,
      target_id uuid not null references targets (id) on delete cascade,
      reason text not null check (reason in ('away', 'slot-lost', 'position-lost', 'switched-off', 'new-timeline')),
      from_lsn text check (length(from_lsn) <= 17),
      since timestamptz,
      until timestamptz not null,
      declared_at timestamptz not null
    )`.execute(db);
  await sql`create index wal_gaps_target on wal_gaps (target_id, until desc)`.execute(db);
  await sql`
    alter table restore_tests
      add column point_time timestamptz,
      add column point_lsn text check (length(point_lsn) <= 17),
      add column reached_at timestamptz`.execute(db);
}
