import { sql } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { LeafRange } from '../lib/merkle/tree-shape.ts';
import type { EntryKind, EntryStub } from './entry-leaf.ts';
import type { AuditRow } from './queries.ts';

/** A place of the tree and the entry that it was given to; null when that is not there any more. */
export interface PlacedEntry {
  position: number;
  hash: Buffer;
  entry: AuditRow | null;
  /** What is left of it when its period has ended. */
  stub: EntryStub | null;
}

/** Places in a range, in order. What is missing is missing in the list. */
export async function listPlacedEntries(db: Database, range: LeafRange): Promise<PlacedEntry[]> {
  const rows = await db
    .selectFrom('audit_leaves')
    .leftJoin('audit_entries', 'audit_entries.number', 'audit_leaves.entry_number')
    .leftJoin('audit_stubs', 'audit_stubs.number', 'audit_leaves.entry_number')
    .select(['audit_leaves.position', 'audit_leaves.hash', 'entry_number'])
    .select(['audit_stubs.at as stub_at', 'audit_stubs.kind as stub_kind', 'audit_stubs.body as stub_body'])
    .selectAll('audit_entries')
    .where('audit_leaves.position', '>=', String(range.from))
    .where('audit_leaves.position', '<', String(range.to))
    .orderBy('audit_leaves.position')
    .execute();
  return rows.map(
    ({ position, hash, entry_number: number, stub_at: at, stub_kind: kind, stub_body: body, ...entry }) => ({
      position: Number(position),
      hash,
      entry: entry.number === null ? null : (entry as AuditRow),
      stub:
        at === null || kind === null || body === null
          ? null
          : { number, at: at.toISOString(), kind: kind as EntryKind, body: body.toString('hex') },
    }),
  );
}

export interface StoredNote {
  number: string;
  size: number;
  note: string;
}

/** Checkpoints from one of their numbers on, in the order in which they were signed. */
export async function listNotes(db: Database, after: string, limit: number): Promise<StoredNote[]> {
  const rows = await db
    .selectFrom('audit_checkpoints')
    .select(['number', 'size', 'note'])
    .where('number', '>', after)
    .orderBy('number')
    .limit(limit)
    .execute();
  return rows.map((row) => ({ ...row, size: Number(row.size) }));
}

export async function listCertificates(db: Database): Promise<string[]> {
  const rows = await db.selectFrom('audit_certificates').select('certificate').orderBy('sha256').execute();
  return rows.map((row) => row.certificate);
}

/** The newest checkpoint that was signed before an instant: its number and size. */
export async function findCheckpointBefore(
  db: Database,
  at: Date,
): Promise<{ number: string; size: number } | undefined> {
  const row = await db
    .selectFrom('audit_checkpoints')
    .select(['number', 'size'])
    .where('at', '<=', at)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined ? undefined : { number: row.number, size: Number(row.size) };
}

/** Numbers of entries whose place was taken away, and of entries that were deleted before they got one. At most `limit`. */
export async function listDisplacedEntries(db: Database, limit: number): Promise<string[]> {
  const { rows } = await sql<{ number: string }>`
    (select e.number from audit_entries e
     where not exists (select from audit_leaves l where l.entry_number = e.number)
       and not exists (select from audit_pending p where p.number = e.number)
     limit ${limit})
    union all
    (select p.number from audit_pending p
     where not exists (select from audit_entries e where e.number = p.number) limit ${limit})`.execute(db);
  return rows.map((row) => row.number);
}

/** An entry and its place; null while it waits for one, or has lost it. */
export async function findPlacedEntry(
  db: Database,
  id: string,
): Promise<{ position: number | null; entry: AuditRow } | undefined> {
  const row = await db
    .selectFrom('audit_entries')
    .leftJoin('audit_leaves', 'audit_leaves.entry_number', 'audit_entries.number')
    .selectAll('audit_entries')
    .select('audit_leaves.position')
    .where('audit_entries.id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const { position, ...entry } = row;
  return { position: position === null ? null : Number(position), entry };
}

/** Where entries stand in the tree: by number of the entry. Those without a place are missing. */
export async function findPlaces(db: Database, numbers: readonly string[]): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('audit_leaves')
    .select(['entry_number', 'position'])
    .where('entry_number', 'in', [...numbers])
    .execute();
  return new Map(rows.map((row) => [row.entry_number, Number(row.position)]));
}
