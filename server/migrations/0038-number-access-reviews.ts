import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** Numbers of access reviews are given one after the other: those of a sequence had holes, which look as if a review was taken away. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table access_reviews alter column number drop identity`.execute(db);
}
