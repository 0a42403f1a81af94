import type { Selectable } from 'kysely';
import type { Database } from '../../../lib/db.ts';
import type { Acme } from '../../../lib/tables.ts';
import type { Problem } from '../../../lib/shapes.ts';

export type AcmeRow = Selectable<Acme>;

export async function findAcme(db: Database): Promise<AcmeRow | undefined> {
  return db.selectFrom('acme').selectAll().executeTakeFirst();
}

export async function saveAcme(
  db: Database,
  row: Pick<AcmeRow, 'enabled' | 'directory_url' | 'names' | 'challenge' | 'authority' | 'next_try_at'>,
): Promise<void> {
  const values = { ...row, failures: 0, last_problem: null };
  await db
    .insertInto('acme')
    .values(values)
    .onConflict((conflict) => conflict.column('singleton').doUpdateSet(values))
    .execute();
}

export async function recordRenewal(db: Database, at: Date, nextTryAt: Date): Promise<void> {
  await db
    .updateTable('acme')
    .set({
      ...{ next_try_at: nextTryAt, failures: 0, last_problem: null },
      ...{ last_tried_at: at, renewed_at: at },
    })
    .execute();
}

export async function recordFailure(
  db: Database,
  at: Date,
  nextTryAt: Date,
  problem: Problem,
): Promise<void> {
  await db
    .updateTable('acme')
    .set((eb) => ({
      next_try_at: nextTryAt,
      failures: eb('failures', '+', 1),
      last_problem: JSON.stringify(problem),
      last_tried_at: at,
    }))
    .execute();
}

/** @returns false when that notice was given already. */
export async function insertNotice(
  db: Database,
  fingerprint: string,
  days: number,
  at: Date,
): Promise<boolean> {
  const inserted = await db
    .insertInto('certificate_notices')
    .values({ fingerprint, days, at })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (inserted.numInsertedOrUpdatedRows ?? 0n) > 0n;
}
