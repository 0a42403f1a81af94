import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { AuditEntries } from '../lib/tables.ts';

export type AuditRow = Selectable<AuditEntries>;

/** An entry that has its id already stays as it is. */
export async function insertAuditEntry(db: Database, row: Insertable<AuditEntries>): Promise<void> {
  await db
    .insertInto('audit_entries')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute();
}

interface AuditFilter {
  /** Entries with a smaller number only. */
  before?: string | undefined;
  action?: string | undefined;
  actorId?: string | undefined;
  objectId?: string | undefined;
  limit: number;
}

/** Newest first. An action that ends in `.` means every action that starts with it. */
export async function listAuditEntries(db: Database, filter: AuditFilter): Promise<AuditRow[]> {
  let query = db.selectFrom('audit_entries').selectAll().orderBy('number', 'desc').limit(filter.limit);
  if (filter.before !== undefined) query = query.where('number', '<', filter.before);
  if (filter.actorId !== undefined) query = query.where('actor_id', '=', filter.actorId);
  if (filter.objectId !== undefined) query = query.where('object_id', '=', filter.objectId);
  if (filter.action?.endsWith('.') === true)
    query = query.where((eb) => eb.fn('starts_with', ['action', eb.val(filter.action)]), '=', true);
  else if (filter.action !== undefined) query = query.where('action', '=', filter.action);
  return query.execute();
}
