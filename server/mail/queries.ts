import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { MailMessages, MailSettings } from '../lib/tables.ts';

export type SettingsRow = Selectable<MailSettings>;
export type MessageRow = Selectable<MailMessages>;

export async function findSettings(db: Database): Promise<SettingsRow | undefined> {
  return db.selectFrom('mail_settings').selectAll().executeTakeFirst();
}

export async function insertMessage(db: Database, row: Insertable<MailMessages>): Promise<void> {
  await db.insertInto('mail_messages').values(row).execute();
}
