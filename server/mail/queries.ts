import { sql, type Insertable, type Selectable, type Updateable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import type { MailMessages, MailSettings } from '../lib/tables.ts';

export type SettingsRow = Selectable<MailSettings>;
export type MessageRow = Selectable<MailMessages>;

export async function findSettings(db: Database): Promise<SettingsRow | undefined> {
  return db.selectFrom('mail_settings').selectAll().executeTakeFirst();
}

/** Waits for whoever changes or uses them at the moment. */
export async function lockSettings(db: Database): Promise<SettingsRow | undefined> {
  return db.selectFrom('mail_settings').selectAll().forUpdate().executeTakeFirst();
}

export async function saveSettings(db: Database, row: Insertable<MailSettings>): Promise<void> {
  await db
    .insertInto('mail_settings')
    .values(row)
    .onConflict((conflict) =>
      conflict
        .column('singleton')
        .doUpdateSet((eb) => ({ ...row, version: eb('mail_settings.version', '+', '1') })),
    )
    .execute();
}

export async function updateSettings(db: Database, change: Updateable<MailSettings>): Promise<void> {
  await db.updateTable('mail_settings').set(change).execute();
}

export async function deleteSettings(db: Database): Promise<void> {
  await db.deleteFrom('mail_settings').execute();
}

export async function insertMessage(db: Database, row: Insertable<MailMessages>): Promise<void> {
  await db.insertInto('mail_messages').values(row).execute();
}

export async function lockMessage(db: Database, id: string): Promise<MessageRow | undefined> {
  return db.selectFrom('mail_messages').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function updateMessage(
  db: Database,
  id: string,
  change: Updateable<MailMessages>,
): Promise<void> {
  await db.updateTable('mail_messages').set(change).where('id', '=', id).execute();
}

/** The next one that is due and that nobody is sending; the row stays locked until the transaction ends. */
export async function lockDueMessage(db: Database, now: Date): Promise<MessageRow | undefined> {
  return db
    .selectFrom('mail_messages')
    .selectAll()
    .where('state', '=', 'queued')
    .where('next_attempt_at', '<=', now)
    .where((eb) => eb.or([eb('leased_until', 'is', null), eb('leased_until', '<', now)]))
    .orderBy('next_attempt_at')
    .limit(1)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
}

export async function countAttemptsSince(db: Database, since: Date): Promise<number> {
  const { count } = await db
    .selectFrom('mail_messages')
    .select(({ fn }) => fn.countAll<string>().as('count'))
    .where('last_attempt_at', '>', since)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** How a try ended; nothing when the lease was lost to another process meanwhile. @returns whether it was ours. */
export async function recordAttempt(
  db: Database,
  lease: { id: string; attempts: number },
  change: Updateable<MailMessages>,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('mail_messages')
    .set({ ...change, leased_until: null })
    .where('id', '=', lease.id)
    .where('attempts', '=', lease.attempts)
    .where('state', '=', 'queued')
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Ends what is waiting beyond its time, and takes the content of what failed. @returns how many ended. */
export async function expireMessages(db: Database, now: Date): Promise<number> {
  const { numUpdatedRows } = await db
    .updateTable('mail_messages')
    .set({ state: 'expired', data_sealed: null, next_attempt_at: null, leased_until: null, ended_at: now })
    .where('state', '=', 'queued')
    .where('expires_at', '<=', now)
    .where((eb) => eb.or([eb('leased_until', 'is', null), eb('leased_until', '<', now)]))
    .executeTakeFirst();
  await db
    .updateTable('mail_messages')
    .set({ data_sealed: null })
    .where('state', '=', 'failed')
    .where('data_sealed', 'is not', null)
    .where('expires_at', '<=', now)
    .execute();
  return Number(numUpdatedRows);
}

/** What waits can never be sent any more: there is no mail server. */
export async function endWaiting(db: Database, now: Date): Promise<number> {
  const { numUpdatedRows } = await db
    .updateTable('mail_messages')
    .set({ state: 'unsendable', data_sealed: null, next_attempt_at: null, leased_until: null, ended_at: now })
    .where('state', '=', 'queued')
    .executeTakeFirst();
  return Number(numUpdatedRows);
}

/** What waits is due at once: the settings have changed. */
export async function hastenWaiting(db: Database, now: Date): Promise<void> {
  await db
    .updateTable('mail_messages')
    .set({ next_attempt_at: now })
    .where('state', '=', 'queued')
    .where('next_attempt_at', '>', now)
    .execute();
}

export async function deleteMessagesBefore(db: Database, before: Date): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('mail_messages')
    .where('ended_at', '<', before)
    .executeTakeFirst();
  return Number(numDeletedRows);
}

export interface MessageFilter {
  state?: string | undefined;
  template?: string | undefined;
  userId?: string | undefined;
  from?: Date | undefined;
  to?: Date | undefined;
  after?: PageMark | undefined;
  limit: number;
}

/** Newest first. */
export async function listMessageRows(db: Database, filter: MessageFilter): Promise<MessageRow[]> {
  let query = db
    .selectFrom('mail_messages')
    .selectAll()
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(filter.limit);
  if (filter.after !== undefined)
    query = query.where(sql<boolean>`(created_at, id) < (${filter.after.at}, ${filter.after.id}::uuid)`);
  if (filter.state !== undefined) query = query.where('state', '=', filter.state);
  if (filter.template !== undefined) query = query.where('template', '=', filter.template);
  if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
  if (filter.from !== undefined) query = query.where('created_at', '>=', filter.from);
  if (filter.to !== undefined) query = query.where('created_at', '<', filter.to);
  return query.execute();
}

export interface MessageCounts {
  waiting: number;
  sentLastDay: number;
  failedLastWeek: number;
}

export async function countMessages(db: Database, since: { day: Date; week: Date }): Promise<MessageCounts> {
  const { rows } = await sql<Record<keyof MessageCounts, string>>`
    select count(*) filter (where state = 'queued') as "waiting",
           count(*) filter (where state = 'sent' and ended_at > ${since.day}) as "sentLastDay",
           count(*) filter (where state in ('failed', 'expired') and ended_at > ${since.week}) as "failedLastWeek"
    from mail_messages where state = 'queued' or created_at > ${since.week}::timestamptz - interval '5 days'`.execute(
    db,
  );
  const count = (name: keyof MessageCounts) => Number(rows[0]?.[name] ?? 0);
  return {
    waiting: count('waiting'),
    sentLastDay: count('sentLastDay'),
    failedLastWeek: count('failedLastWeek'),
  };
}
