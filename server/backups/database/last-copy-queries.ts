/** Which copy of the database was the last on each target, as the database itself remembers it. */
import type { Database, WriteTransaction } from '../../lib/db.ts';

export async function findLastCopy(db: Database, targetId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('database_copies')
    .select('name')
    .where('target_id', '=', targetId)
    .executeTakeFirst();
  return row?.name;
}

export async function putLastCopy(
  tx: WriteTransaction,
  targetId: string,
  copy: { name: string; takenAt: Date },
): Promise<void> {
  const row = { name: copy.name, taken_at: copy.takenAt };
  await tx
    .insertInto('database_copies')
    .values({ target_id: targetId, ...row })
    .onConflict((conflict) => conflict.column('target_id').doUpdateSet(row))
    .execute();
}
