import { sql, type Kysely } from 'kysely';

/** An older version begins work at any time. */
export const worksWith = '0007-create-restore-tests';

/** When work that nobody asked for may begin: on a target, and by a schedule. Null: at any time. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table targets add column work_hours jsonb`.execute(db);
  await sql`alter table schedules add column hours jsonb`.execute(db);
}
