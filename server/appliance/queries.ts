import type { Selectable, Updateable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { Appliance } from '../lib/tables.ts';
import { HoldfastError } from '../lib/errors.ts';

export type ApplianceRow = Selectable<Appliance>;

/** @returns true when the row was missing. */
export async function insertAppliance(db: Database, id: string, createdAt: Date): Promise<boolean> {
  const result = await db
    .insertInto('appliance')
    .values({ id, created_at: createdAt })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function getAppliance(db: Database): Promise<ApplianceRow> {
  return required(await db.selectFrom('appliance').selectAll().executeTakeFirst());
}

/** The row, locked until the transaction ends. */
export async function lockAppliance(db: Database): Promise<ApplianceRow> {
  return required(await db.selectFrom('appliance').selectAll().forUpdate().executeTakeFirst());
}

export async function updateAppliance(db: Database, change: Updateable<Appliance>): Promise<void> {
  await db
    .updateTable('appliance')
    .set((eb) => ({ ...change, version: eb('version', '+', '1') }))
    .execute();
}

export async function countClaimFailure(db: Database): Promise<void> {
  await db
    .updateTable('appliance')
    .set((eb) => ({ claim_failures: eb('claim_failures', '+', 1) }))
    .execute();
}

function required(row: ApplianceRow | undefined): ApplianceRow {
  if (row === undefined) throw new HoldfastError('internal', 'The appliance has no row of its own yet');
  return row;
}
