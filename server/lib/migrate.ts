/**
 * Brings the schema up to date: each migration in a transaction of its own, its row inserted first, so that of several
 * processes one applies it and the others wait and see it done.
 *
 * A migration that older programs can work with says so: `export const worksWith = '<name>'` names the oldest newest migration
 * that a program must know to use the schema after it. It is kept with the migration's row, so that an older program, to which
 * the machine went back, knows that it may start. A schema that does not say so is refused.
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
  /** Name of the newest migration that this program knows. */
  newest: string;
  /** Migrations of a newer program in the schema, all of which say that this one may work with them. */
  ahead: string[];
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
    await sql`alter table migrations add column if not exists works_with text`.execute(tx);
  });
  const applied: string[] = [];
  const done = await appliedMigrations(db);
  const ahead = done.filter((migration) => !known.includes(migration.name));
  refuseNewer(ahead, known.at(-1) ?? '');
  for (const name of known) {
    const there = done.some((migration) => migration.name === name);
    if (!there && (await applyMigration(db, name))) applied.push(name);
  }
  return { applied, newest: known.at(-1) ?? '', ahead: ahead.map((migration) => migration.name) };
}

/**
 * What a schema that a newer program made says about this one: names of migrations that this one may not work with.
 */
export async function findUnusable(db: Database): Promise<string[]> {
  const known = await listMigrations();
  const ahead = (await appliedMigrations(db)).filter((migration) => !known.includes(migration.name));
  return unusable(ahead, known.at(-1) ?? '').map((migration) => migration.name);
}

interface AppliedMigration {
  name: string;
  worksWith: string | null;
}

function unusable(ahead: readonly AppliedMigration[], newest: string): AppliedMigration[] {
  return ahead.filter(({ worksWith }) => worksWith === null || worksWith > newest);
}

function refuseNewer(ahead: readonly AppliedMigration[], newest: string): void {
  const refused = unusable(ahead, newest);
  if (refused.length === 0) return;
  throw new HoldfastError('wrong_state', 'This data belongs to a newer version of Holdfast', {
    hint: 'Start the version that wrote it, or a later one. Nothing was changed.',
    detail: `unknown migrations: ${refused.map(({ name }) => name).join(', ')}`,
  });
}

async function appliedMigrations(db: Database): Promise<AppliedMigration[]> {
  const result = await sql<AppliedMigration>`
    select name, works_with as "worksWith" from migrations order by name`.execute(db);
  return result.rows;
}

async function applyMigration(db: Database, name: string): Promise<boolean> {
  const migration = (await import(join(MIGRATIONS, `${name}.ts`))) as {
    up: (db: Kysely<never>) => Promise<void>;
    worksWith?: string;
  };
  return db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(${LOCKS.migrations})`.execute(tx);
    const inserted = await sql`
      insert into migrations (name, works_with) values (${name}, ${migration.worksWith ?? null})
      on conflict do nothing`.execute(tx);
    if (inserted.numAffectedRows !== 1n) return false;
    await migration.up(tx as unknown as Kysely<never>);
    return true;
  });
}
