import { sql } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { AuditRow } from '../queries.ts';
import type { StoredNode } from './stored-tree.ts';
import type { LeafRange } from '../../lib/merkle/tree-shape.ts';

/** Positions are given without a gap, so the highest one tells how many there are. */
export async function countLeaves(db: Database): Promise<number> {
  const { rows } = await sql<{ size: string }>`
    select coalesce(max(position) + 1, 0) as size from audit_leaves`.execute(db);
  return Number(rows[0]?.size ?? 0);
}

/** What is stored of one level in a range of its positions, in order. */
export async function listStoredHashes(db: Database, level: number, range: LeafRange): Promise<Buffer[]> {
  if (range.from >= range.to) return [];
  const { rows } = await (
    level === 0
      ? sql<{ hash: Buffer }>`
          select hash from audit_leaves
          where position >= ${range.from} and position < ${range.to} order by position`
      : sql<{ hash: Buffer }>`
          select hash from audit_tree_nodes
          where level = ${level} and position >= ${range.from} and position < ${range.to} order by position`
  ).execute(db);
  return rows.map((row) => row.hash);
}

/** Committed entries without a place, by number. */
export async function listPendingEntries(db: Database, limit: number): Promise<AuditRow[]> {
  return db
    .selectFrom('audit_pending')
    .innerJoin('audit_entries', 'audit_entries.number', 'audit_pending.number')
    .selectAll('audit_entries')
    .orderBy('audit_pending.number')
    .limit(limit)
    .execute();
}

/** One whose entry somebody deleted waits for ever, and is left out. */
export async function hasPendingEntries(db: Database): Promise<boolean> {
  const { rows } = await sql<{ waiting: boolean }>`
    select exists (
      select from audit_pending p where exists (select from audit_entries e where e.number = p.number)
    ) as waiting`.execute(db);
  return rows[0]?.waiting === true;
}

interface PlacedLeaves {
  /** Position of the first one. */
  first: number;
  /** Of the entries, in their new order. */
  numbers: readonly string[];
  hashes: readonly Buffer[];
  nodes: readonly StoredNode[];
}

/** Stores places and hashes of entries, which are not waiting any more then. */
export async function insertLeaves(
  db: Database,
  { first, numbers, hashes, nodes }: PlacedLeaves,
): Promise<void> {
  await sql`
    insert into audit_leaves (position, entry_number, hash)
    select ${first} + place - 1, number, hash
    from unnest(${numbers}::bigint[], ${hashes}::bytea[]) with ordinality as placed (number, hash, place)`.execute(
    db,
  );
  if (nodes.length > 0) {
    await db
      .insertInto('audit_tree_nodes')
      .values(nodes.map(({ level, position, hash }) => ({ level, position: String(position), hash })))
      .execute();
  }
  await sql`delete from audit_pending where number = any(${numbers}::bigint[])`.execute(db);
}

/** True when this transaction alone gives out places, until it ends. */
export async function tryLockSequencing(db: Database, key: number): Promise<boolean> {
  const { rows } = await sql<{ locked: boolean }>`select pg_try_advisory_xact_lock(${key}) as locked`.execute(
    db,
  );
  return rows[0]?.locked === true;
}
