import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { MailLinkAsks, MailLinks } from '../../lib/tables.ts';
import type { LinkKind } from './schema.ts';

export type LinkRow = Selectable<MailLinks>;
export type AskRow = Selectable<MailLinkAsks>;

export async function insertLink(db: Database, row: Insertable<MailLinks>): Promise<void> {
  await db.insertInto('mail_links').values(row).execute();
}

export async function findLink(
  db: Database,
  kind: LinkKind,
  tokenHash: Buffer,
  now: Date,
): Promise<LinkRow | undefined> {
  return db
    .selectFrom('mail_links')
    .selectAll()
    .where('kind', '=', kind)
    .where('token_hash', '=', tokenHash)
    .where('expires_at', '>', now)
    .executeTakeFirst();
}

/** Uses it up: of two at once one gets it. @param browserHash of the browser that asked, for links that are bound to it. */
export async function takeLink(
  db: Database,
  kind: LinkKind,
  tokenHash: Buffer,
  now: Date,
  browserHash?: Buffer,
): Promise<LinkRow | undefined> {
  let query = db
    .deleteFrom('mail_links')
    .where('kind', '=', kind)
    .where('token_hash', '=', tokenHash)
    .where('expires_at', '>', now);
  if (browserHash !== undefined) query = query.where('browser_hash', '=', browserHash);
  return query.returningAll().executeTakeFirst();
}

/** Ends those of a person; of some kinds, or all. @returns how many. */
export async function deleteLinksOf(
  db: Database,
  userId: string,
  kinds: readonly LinkKind[] = ['password-reset', 'magic-link', 'email-change'],
): Promise<number> {
  const result = await db
    .deleteFrom('mail_links')
    .where('user_id', '=', userId)
    .where('kind', 'in', [...kinds])
    .executeTakeFirst();
  return Number(result.numDeletedRows);
}

export async function findLinkOf(
  db: Database,
  userId: string,
  kind: LinkKind,
  now: Date,
): Promise<LinkRow | undefined> {
  return db
    .selectFrom('mail_links')
    .selectAll()
    .where('user_id', '=', userId)
    .where('kind', '=', kind)
    .where('expires_at', '>', now)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
}

export async function deleteOldLinks(db: Database, now: Date): Promise<void> {
  await db.deleteFrom('mail_links').where('expires_at', '<=', now).execute();
}

export async function insertAsk(db: Database, row: Insertable<MailLinkAsks>): Promise<void> {
  await db.insertInto('mail_link_asks').values(row).execute();
}

/** The oldest that nobody else is looking at. */
export async function takeAsk(db: Database): Promise<AskRow | undefined> {
  return db
    .deleteFrom('mail_link_asks')
    .where('id', '=', (of) =>
      of.selectFrom('mail_link_asks').select('id').orderBy('asked_at').limit(1).forUpdate().skipLocked(),
    )
    .returningAll()
    .executeTakeFirst();
}
