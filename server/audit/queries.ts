import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { AuditEntries } from '../lib/tables.ts';

export type AuditRow = Selectable<AuditEntries>;

/** When somebody last did something before that instant, as far as entries are kept. */
export async function findLastActAt(db: Database, before: Date): Promise<Date | undefined> {
  const row = await db
    .selectFrom('audit_entries')
    .select('at')
    .where('at', '<', before)
    .orderBy('at', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row?.at;
}

/** An entry that has its id already stays as it is. */
export async function insertAuditEntry(db: Database, row: Insertable<AuditEntries>): Promise<void> {
  await db
    .insertInto('audit_entries')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute();
}
