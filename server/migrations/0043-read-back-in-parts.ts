import { sql, type Kysely } from 'kysely';

/** An older version reads everything back at once, which needs no row here. */
export const worksWith = '0007-create-restore-tests';

/**
 * How far each target is with reading back all of its bytes, a part at a time: the parts are read in their order, and a cycle is closed when
 * all were. What was read of a cycle with another number of parts does not count.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table target_read_backs (
      target_id uuid primary key references targets (id) on delete cascade,
      parts integer not null check (parts between 1 and 365),
      parts_done integer not null default 0 check (parts_done between 0 and parts),
      bytes_read bigint not null default 0,
      started_at timestamptz,
      read_at timestamptz,
      closed_at timestamptz,
      closed_parts integer,
      closed_bytes bigint
    )`.execute(db);
}
