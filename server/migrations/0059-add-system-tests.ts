import { sql, type Kysely } from 'kysely';

/**
 * A test of scope `system` checks what a machine needs besides its data. It ends as `checked`, never as `passed`: nothing that asks for a proof
 * of the data finds it.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table restore_tests
      drop constraint restore_tests_mode_check,
      drop constraint restore_tests_state_check,
      add constraint restore_tests_mode_check check (mode in ('quick', 'full', 'system')),
      add constraint restore_tests_state_check
        check (state in ('running', 'passed', 'checked', 'failed', 'cancelled', 'needs-kit')),
      add constraint restore_tests_checked check (state <> 'checked' or mode = 'system'),
      add constraint restore_tests_system check (state <> 'passed' or mode <> 'system')`.execute(db);
}
