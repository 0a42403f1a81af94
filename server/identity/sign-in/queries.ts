import type { Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { SignInFailures } from '../../lib/tables.ts';

/** The row of a bucket, locked until the transaction ends; made when there is none. */
export async function lockFailures(
  db: Database,
  bucket: string,
  now: Date,
): Promise<Selectable<SignInFailures>> {
  // One statement: between two, a success at the same time could take the row away.
  return db
    .insertInto('sign_in_failures')
    .values({ bucket, failures: 0, first_at: now, last_at: now })
    .onConflict((conflict) => conflict.column('bucket').doUpdateSet({ bucket }))
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function updateFailures(db: Database, row: Selectable<SignInFailures>): Promise<void> {
  await db
    .updateTable('sign_in_failures')
    .set({ failures: row.failures, first_at: row.first_at, last_at: row.last_at })
    .where('bucket', '=', row.bucket)
    .execute();
}

export async function deleteFailures(db: Database, bucket: string): Promise<void> {
  await db.deleteFrom('sign_in_failures').where('bucket', '=', bucket).execute();
}

export async function deleteOldFailures(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('sign_in_failures').where('last_at', '<', before).execute();
}
