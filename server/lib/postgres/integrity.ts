/** PostgreSQL's own checks of its structures (contrib module amcheck), over every relation of one database. */
import type pg from 'pg';
import { messageOf } from '../errors.ts';

export interface IntegrityReport {
  checked: number;
  /** One line each, at most 20; names and PostgreSQL's words, no row content. */
  problems: string[];
  problemCount: number;
}

const MAX_PROBLEMS = 20;

/** Every valid B-tree index; unlogged ones are empty after a recovery. */
const INDEXES = `
  select c.oid, c.oid::regclass::text as name, i.indisunique as unique
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam
  where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence = 'p' and i.indisvalid and i.indisready
  order by c.oid`;

const RELATIONS = `
  select c.oid, c.oid::regclass::text as name from pg_class c join pg_am a on a.oid = c.relam
  where a.amname = 'heap' and c.relkind in ('r', 't', 'm') and c.relpersistence = 'p' order by c.oid`;

/** Needs the right to create extensions. Idempotent. */
export async function prepareIntegrityChecks(client: pg.ClientBase): Promise<void> {
  await client.query('create extension if not exists amcheck');
}

/**
 * Order and links of every index.
 *
 * @param thorough - Also between levels, and that every row of the table is in the index.
 */
export async function checkIndexes(
  client: pg.ClientBase,
  options: { thorough: boolean; signal: AbortSignal },
): Promise<IntegrityReport> {
  const call = options.thorough
    ? 'select bt_index_parent_check($1, heapallindexed => true, rootdescend => true)'
    : 'select bt_index_check($1)';
  return checkEach(client, INDEXES, options.signal, async (oid) => {
    await client.query(call, [oid]);
    return [];
  });
}

/** Every table's pages and rows. */
export async function checkTables(client: pg.ClientBase, signal: AbortSignal): Promise<IntegrityReport> {
  return checkEach(client, RELATIONS, signal, async (oid) => {
    const found = await client.query<{ block: string; problem: string }>(
      'select blkno::text as block, msg as problem from verify_heapam($1) limit 100',
      [oid],
    );
    return found.rows.map(({ block, problem }) => `block ${block}: ${problem}`);
  });
}

async function checkEach(
  client: pg.ClientBase,
  list: string,
  signal: AbortSignal,
  check: (oid: number) => Promise<string[]>,
): Promise<IntegrityReport> {
  const { rows } = await client.query<{ oid: number; name: string }>(list);
  const report: IntegrityReport = { checked: rows.length, problems: [], problemCount: 0 };
  for (const { oid, name } of rows) {
    signal.throwIfAborted();
    const found = await check(oid).catch((error: unknown) => [messageOf(error)]);
    report.problemCount += found.length;
    report.problems.push(...found.map((problem) => `${name}: ${problem}`));
    report.problems.length = Math.min(report.problems.length, MAX_PROBLEMS);
  }
  return report;
}
