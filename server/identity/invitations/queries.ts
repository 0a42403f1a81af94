import type { Insertable, Selectable, Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { Invitations } from '../../lib/tables.ts';

export type InvitationRow = Selectable<Invitations>;

export async function insertInvitation(db: Database, row: Insertable<Invitations>): Promise<void> {
  await db.insertInto('invitations').values(row).execute();
}

/** The newest first. */
export async function listInvitationRows(db: Database, limit: number): Promise<InvitationRow[]> {
  return db
    .selectFrom('invitations')
    .selectAll()
    .orderBy('invited_at', 'desc')
    .orderBy('id')
    .limit(limit)
    .execute();
}

/** Those that can still be accepted. */
export async function listOpenRows(db: Database, now: Date): Promise<InvitationRow[]> {
  return db
    .selectFrom('invitations')
    .selectAll()
    .where('ended_at', 'is', null)
    .where('expires_at', '>', now)
    .execute();
}

export async function lockInvitation(db: Database, id: string): Promise<InvitationRow | undefined> {
  return db.selectFrom('invitations').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function findInvitationByToken(
  db: Database,
  tokenHash: Buffer,
): Promise<InvitationRow | undefined> {
  return db.selectFrom('invitations').selectAll().where('token_hash', '=', tokenHash).executeTakeFirst();
}

/** Withdraws those that this person sent and nobody has accepted. @returns how many. */
export async function withdrawInvitationsOf(db: Database, userId: string, at: Date): Promise<number> {
  const result = await db
    .updateTable('invitations')
    .set({ ended_at: at, outcome: 'withdrawn' })
    .where('invited_by', '=', userId)
    .where('outcome', 'is', null)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

export async function updateInvitation(
  db: Database,
  id: string,
  change: Updateable<Invitations>,
): Promise<void> {
  await db.updateTable('invitations').set(change).where('id', '=', id).execute();
}
