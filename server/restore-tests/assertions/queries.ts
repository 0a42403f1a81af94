import type { Insertable, Selectable, Updateable } from 'kysely';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import type { RestoreAssertions, RestoreAssertionVersions } from '../../lib/tables.ts';

export type AssertionRow = Selectable<RestoreAssertions>;
export type VersionRow = Selectable<RestoreAssertionVersions>;

/** As they are asked. */
export async function listAssertionRows(db: Database): Promise<AssertionRow[]> {
  return db.selectFrom('restore_assertions').selectAll().orderBy('position').orderBy('id').execute();
}

/** All of them, so that order and number cannot change meanwhile. */
export async function lockAssertions(tx: WriteTransaction): Promise<AssertionRow[]> {
  // Two who add at once would both find room: the one row of the settings makes them wait.
  await tx.selectFrom('restore_test_settings').selectAll().forUpdate().execute();
  return tx
    .selectFrom('restore_assertions')
    .selectAll()
    .orderBy('position')
    .orderBy('id')
    .forUpdate()
    .execute();
}

export async function insertAssertion(
  tx: WriteTransaction,
  row: Insertable<RestoreAssertions>,
): Promise<void> {
  await tx.insertInto('restore_assertions').values(row).execute();
}

export async function updateAssertion(
  tx: WriteTransaction,
  id: string,
  change: Updateable<RestoreAssertions>,
): Promise<void> {
  await tx.updateTable('restore_assertions').set(change).where('id', '=', id).execute();
}

export async function deleteAssertion(tx: WriteTransaction, id: string): Promise<void> {
  await tx.deleteFrom('restore_assertions').where('id', '=', id).execute();
}

export async function insertVersion(
  tx: WriteTransaction,
  row: Insertable<RestoreAssertionVersions>,
): Promise<void> {
  await tx.insertInto('restore_assertion_versions').values(row).execute();
}

/** Newest first. */
export async function listVersionRows(db: Database, id: string): Promise<VersionRow[]> {
  return db
    .selectFrom('restore_assertion_versions')
    .selectAll()
    .where('assertion_id', '=', id)
    .orderBy('version', 'desc')
    .limit(200)
    .execute();
}
