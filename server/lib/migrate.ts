/**
 * Brings the schema up to date: each migration in a transaction of its own, its row inserted first, so that of several
 * processes one applies it and the others wait and see it done. A schema newer than this program is refused.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sql, type Kysely } from 'kysely';
import type { Database } from './db.ts';
import { HoldfastError } from './errors.ts';
import { LOCKS } from './lock.ts';

const MIGRATIONS = join(import.meta.dirname, '..', 'migrations');

export interface MigrationReport {
  applied: string[];
  /** Name of the newest migration in the schema. */
  newest: string;
}

/** Names of this program's migrations, in order. */
export async function listMigrations(): Promise<string[]> {
  const files = await readdir(MIGRATIONS);
  return files
    .filter((file) => /^\d{4}-[a-z-]+\.ts$/.test(file))
    .map((file) => file.slice(0, -3))
    .sort();
}

/** @throws HoldfastError `wrong_state` when the schema is newer than this program. */
export async function migrate(db: Database): Promise<MigrationReport> {
  const known = await listMigrations();
  await db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(${LOCKS.migrations})`.execute(tx);
    await sql`create table if not exists migrations (name text primary key, applied_at timestamptz not null default now())`.execute(
      tx,
    );
  });
  const applied: string[] = [];
  const done = new Set(await appliedNames(db));
  const foreign = [...done].filter((name) => !known.includes(name));
  if (foreign.length > 0) {
    throw new HoldfastError('wrong_state', 'This data belongs to a newer version of Holdfast', {
      hint: 'Start the version that wrote it, or a later one. Nothing was changed.',
      detail: `unknown migrations: ${foreign.join(', ')}`,
    });
  }
  for (const name of known) {
    if (!done.has(name) && (await applyMigration(db, name))) applied.push(name);
  }
  return { applied, newest: known.at(-1) ?? '' };
}

async function appliedNames(db: Database): Promise<string[]> {
  const result = await sql<{ name: string }>`select name from migrations order by name`.execute(db);
  return result.rows.map((row) => row.name);
}

async function applyMigration(db: Database, name: string): Promise<boolean> {
  const migration = (await import(join(MIGRATIONS, `${name}.ts`))) as {
    up: (db: Kysely<never>) => Promise<void>;
  };
  return db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(${LOCKS.migrations})`.execute(tx);
    const inserted = await sql`insert into migrations (name) values (${name}) on conflict do nothing`.execute(
      tx,
    );
    if (inserted.numAffectedRows !== 1n) return false;
    await migration.up(tx as unknown as Kysely<never>);
    return true;
  });
}
