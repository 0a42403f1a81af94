/** What a database lost for the version before, and what became of its rows. Pure. */
import type { TableFacts } from '../../lib/postgres/index.ts';
import type { ColumnFact } from './queries.ts';

/**
 * What the version that knows `before` could not work with: a column that is gone or of another type, and a new one in a table
 * of its that it would have to fill.
 *
 * @returns a sentence part for each.
 */
export function compareColumns(before: readonly ColumnFact[], after: readonly ColumnFact[]): string[] {
  const keyOf = ({ table, column }: ColumnFact) => `${table}.${column}`;
  const found = new Map(after.map((fact) => [keyOf(fact), fact]));
  const known = new Map(before.map((fact) => [keyOf(fact), fact]));
  const tables = new Set(before.map(({ table }) => table));
  const broken: string[] = [];
  for (const fact of before) {
    const now = found.get(keyOf(fact));
    if (now === undefined) broken.push(`${keyOf(fact)} is gone`);
    else if (now.type !== fact.type) broken.push(`${keyOf(fact)} was ${fact.type} and is ${now.type}`);
    else if (fact.optional && !now.optional) broken.push(`${keyOf(fact)} may not be left out any more`);
  }
  for (const fact of after) {
    if (tables.has(fact.table) && !known.has(keyOf(fact)) && !fact.optional)
      broken.push(`${keyOf(fact)} is new and has no default`);
  }
  return broken;
}

/** A line for each table whose number of rows changed, that is new, or that is gone. */
export function compareRows(before: readonly TableFacts[], after: readonly TableFacts[]): string[] {
  const left = new Map(before.map((fact) => [fact.table, fact.rows]));
  const notes: string[] = [];
  for (const { table, rows } of after) {
    const was = left.get(table);
    left.delete(table);
    if (table === 'public.migrations' || was === rows) continue;
    notes.push(was === undefined ? `${table} is new: ${rows} rows` : `${table}: ${was} rows, then ${rows}`);
  }
  for (const table of left.keys()) notes.push(`${table} is gone`);
  return notes;
}
