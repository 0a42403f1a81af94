import { sql, type Kysely } from 'kysely';

/** An older version lets a recovered appliance go on under another identity, which it can be as well, and leaves the kind behind. */
export const worksWith = '0008-add-quarantine';

/** Why an appliance waits, null for a copy: one that was recovered, or recovered beside another, is let go on in another way. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table appliance add column quarantine_kind text check (quarantine_kind in ('recovered', 'beside'))`.execute(
    db,
  );
}
