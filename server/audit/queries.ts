import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { AuditEntries } from '../lib/tables.ts';

export type AuditRow = Selectable<AuditEntries>;

/** An entry that has its id already stays as it is. */
export async function insertAuditEntry(db: Database, row: Insertable<AuditEntries>): Promise<void> {
  await db
    .insertInto('audit_entries')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute();
}
