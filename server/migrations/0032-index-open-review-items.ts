import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** Every page asks how many items of the open review wait for whoever looks: counted in an index of those alone. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create index access_review_items_open on access_review_items (review_id)
    include (kind, workspace_id, user_id, team_id) where decision is null`.execute(db);
}
