import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { LeakedPasswordList } from '../../lib/tables.ts';

export async function findLeakedList(db: Database): Promise<Selectable<LeakedPasswordList> | undefined> {
  return db.selectFrom('leaked_password_list').selectAll().executeTakeFirst();
}

export async function saveLeakedList(db: Database, row: Insertable<LeakedPasswordList>): Promise<void> {
  await db
    .insertInto('leaked_password_list')
    .values(row)
    .onConflict((conflict) => conflict.column('singleton').doUpdateSet(row))
    .execute();
}

/** @returns false when it was noted before, or the person has another password by now. */
export async function notePasswordLeaked(
  db: Database,
  userId: string,
  passwordHash: string | null,
  at: Date,
): Promise<boolean> {
  const result = await db
    .updateTable('users')
    .set({ password_leaked_at: at })
    .where('id', '=', userId)
    .where('password_hash', '=', passwordHash)
    .where('password_leaked_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
