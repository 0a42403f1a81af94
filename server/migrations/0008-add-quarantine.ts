import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** A copy of an appliance, or one that was set back, waits for a person before it writes to a target again. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table appliance
      add column quarantined_at timestamptz,
      add column quarantine_reason text,
      add column quarantine_released_at timestamptz,
      add column machine_identity text`.execute(db);
}
