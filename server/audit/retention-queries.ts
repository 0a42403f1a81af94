import { sql } from 'kysely';
import type { Database } from '../lib/db.ts';
import { READ_ACTIONS, stubOfRow, type EntryKind } from './entry-leaf.ts';
import type { AuditRow } from './queries.ts';

export interface RetentionRow {
  acts_days: number;
  reads_days: number;
  reason: string;
  changed_at: Date | null;
}

export async function getRetention(db: Database): Promise<RetentionRow> {
  return db
    .selectFrom('audit_retention')
    .select(['acts_days', 'reads_days', 'reason', 'changed_at'])
    .executeTakeFirstOrThrow();
}

/** Held until the transaction ends; waits for whoever changes it at the moment. */
export async function lockRetention(db: Database): Promise<RetentionRow> {
  return db.selectFrom('audit_retention').selectAll().forUpdate().executeTakeFirstOrThrow();
}

/** @returns what was set before. */
export async function updateRetention(db: Database, row: RetentionRow): Promise<RetentionRow> {
  const before = await lockRetention(db);
  await db.updateTable('audit_retention').set(row).execute();
  return before;
}

/** Entries of a kind from before an instant, the oldest first; not those that say how the log went on, which verification needs. */
export async function listDueEntries(
  db: Database,
  { kind, before, limit }: { kind: EntryKind; before: Date; limit: number },
): Promise<AuditRow[]> {
  const actions = [...READ_ACTIONS];
  return db
    .selectFrom('audit_entries')
    .innerJoin('audit_leaves', 'audit_leaves.entry_number', 'audit_entries.number')
    .selectAll('audit_entries')
    .where('at', '<', before)
    .where((eb) => (kind === 'read' ? eb('action', 'in', actions) : eb('action', 'not in', actions)))
    .where('action', '<>', 'audit.log.continued')
    .orderBy('at')
    .limit(limit)
    .execute();
}

/** How many `listDueEntries` would list in all. */
export async function countDueEntries(
  db: Database,
  { kind, before }: { kind: EntryKind; before: Date },
): Promise<number> {
  const actions = [...READ_ACTIONS];
  const row = await db
    .selectFrom('audit_entries')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('at', '<', before)
    .where((eb) => (kind === 'read' ? eb('action', 'in', actions) : eb('action', 'not in', actions)))
    .where('action', '<>', 'audit.log.continued')
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** Leaves their stubs. The database looks itself whether their period has ended. @returns the kind of each that went. */
export async function expireEntries(db: Database, due: readonly AuditRow[]): Promise<EntryKind[]> {
  const numbers = due.map((row) => row.number);
  const bodies = due.map((row) => Buffer.from(stubOfRow(row).body, 'hex'));
  const { rows } = await sql<{ kind: EntryKind }>`
    select kind from expire_audit_entries(${numbers}::bigint[], ${bodies}::bytea[])`.execute(db);
  return rows.map((row) => row.kind);
}
