import { sql, type Kysely } from 'kysely';

/** An older version sends as quickly as it can. */
export const worksWith = '0007-create-restore-tests';

/** How much may be sent to a target in a second, and at which hours that holds. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table targets add column pace jsonb`.execute(db);
}
