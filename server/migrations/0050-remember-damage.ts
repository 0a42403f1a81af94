import { sql, type Kysely } from 'kysely';

/** An older version forgets what a part found in the log when the next part is read. */
export const worksWith = '0007-create-restore-tests';

/**
 * Objects of a target that reading back found damaged and that no catalogue remembers, as pieces of the log: read again with each part until
 * they are whole or gone.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table target_damage (
      target_id uuid not null references targets (id) on delete cascade,
      object text not null,
      found_at timestamptz not null,
      primary key (target_id, object)
    )`.execute(db);
}
