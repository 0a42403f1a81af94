import { sql, type Kysely } from 'kysely';

/** An older version cannot open the target of a snapshot that was reduced; on the others it goes on. */
export const worksWith = '0055-add-quarantine-kind';

/** Of a snapshot a target may keep only some parts: which are gone there, since when and why. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table snapshot_targets
      drop constraint snapshot_targets_state_check,
      add constraint snapshot_targets_state_check
        check (state in ('written', 'stored', 'missing', 'forgotten', 'reduced')),
      add column expired jsonb`.execute(db);
}
