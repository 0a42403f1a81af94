import { sql, type Kysely } from 'kysely';

/** An older version reads the whole database each time. */
export const worksWith = '0007-create-restore-tests';

/**
 * The name of the last copy of this database on each target. Only the copy that the database remembers is one that the next may go on from: a
 * database that was set back remembers an earlier one.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table database_copies (
      target_id uuid primary key references targets (id) on delete cascade,
      name uuid not null,
      taken_at timestamptz not null
    )`.execute(db);
}
