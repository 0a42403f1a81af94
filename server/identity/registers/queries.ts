import { sql, type Insertable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { RegisterEntries, RegisterSettings } from '../../lib/tables.ts';

/** Days are text: a day has no time zone. */
export interface EntryRow {
  id: string;
  user_id: string;
  kind: string;
  words_sealed: Buffer;
  done_on: string | null;
  due_on: string | null;
  created_at: Date;
  changed_at: Date;
  reminded_at: Date | null;
  version: number;
}

function entries(db: Database) {
  return db
    .selectFrom('register_entries')
    .select(['id', 'user_id', 'kind', 'words_sealed', 'created_at', 'changed_at', 'reminded_at', 'version'])
    .select([sql<string | null>`done_on::text`.as('done_on'), sql<string | null>`due_on::text`.as('due_on')]);
}

/** Of everybody, or of one person. */
export async function listEntryRows(db: Database, userId?: string): Promise<EntryRow[]> {
  const query = entries(db).orderBy('created_at').orderBy('id');
  return (userId === undefined ? query : query.where('user_id', '=', userId)).execute();
}

export async function lockEntry(db: Database, id: string): Promise<EntryRow | undefined> {
  return entries(db).where('id', '=', id).forUpdate().executeTakeFirst();
}

/** One act at a time that adds, so that the limit holds. */
export async function lockRegister(db: Database): Promise<number> {
  await db.selectFrom('register_settings').select('singleton').forUpdate().execute();
  const { count } = await db
    .selectFrom('register_entries')
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
}

export async function insertEntries(
  db: Database,
  rows: readonly Insertable<RegisterEntries>[],
): Promise<void> {
  if (rows.length > 0)
    await db
      .insertInto('register_entries')
      .values([...rows])
      .execute();
}

export async function updateEntry(
  db: Database,
  id: string,
  change: Updateable<RegisterEntries>,
): Promise<void> {
  await db
    .updateTable('register_entries')
    .set((eb) => ({ ...change, version: eb('version', '+', 1) }))
    .where('id', '=', id)
    .execute();
}

export async function deleteEntry(db: Database, id: string): Promise<void> {
  await db.deleteFrom('register_entries').where('id', '=', id).execute();
}

/** It is no change that anybody made. */
export async function noteReminded(db: Database, ids: readonly string[], at: Date): Promise<void> {
  await db
    .updateTable('register_entries')
    .set({ reminded_at: at })
    .where('id', 'in', [...ids])
    .execute();
}

export async function getRegisterSettings(
  db: Database,
): Promise<{ remind_days: number; newcomers: unknown }> {
  return db.selectFrom('register_settings').select(['remind_days', 'newcomers']).executeTakeFirstOrThrow();
}

export async function updateRegisterSettings(
  db: Database,
  change: Updateable<RegisterSettings>,
): Promise<void> {
  await db.updateTable('register_settings').set(change).execute();
}
