import type { Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { RefusedSignIns, SignInFailures } from '../../lib/tables.ts';

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

export type RefusalsRow = Selectable<RefusedSignIns>;

/** The row of a network, locked until the transaction ends; made when there is none. */
export async function lockRefusals(
  db: Database,
  network: string,
  address: string | null,
  now: Date,
): Promise<RefusalsRow> {
  return db
    .insertInto('refused_sign_ins')
    .values({ network, address, since: now, last_at: now })
    .onConflict((conflict) => conflict.column('network').doUpdateSet({ network }))
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function updateRefusals(db: Database, row: RefusalsRow): Promise<void> {
  const { network, since, last_at, entries, folded } = row;
  await db
    .updateTable('refused_sign_ins')
    .set({ since, last_at, entries, folded })
    .where('network', '=', network)
    .execute();
}

/** In the order in which attempts lock them: '' first. */
export async function lockOldRefusals(db: Database, before: Date): Promise<RefusalsRow[]> {
  return db
    .selectFrom('refused_sign_ins')
    .selectAll()
    .where('since', '<=', before)
    .orderBy('network')
    .forUpdate()
    .execute();
}

export async function deleteRefusals(db: Database, network: string): Promise<void> {
  await db.deleteFrom('refused_sign_ins').where('network', '=', network).execute();
}
