/**
 * Makes a role of a scratch database that may read the columns of `askable.ts`, call the functions of `askable.ts`, and nothing else.
 * Relies on: the database is a scratch one (what PUBLIC may do is taken away in all of it), and whoever calls is its superuser.
 */
import pg from 'pg';
import { ASKABLE_FUNCTIONS, ASKABLE_OPERATORS, ASKABLE_TABLES, ASKABLE_TYPES } from './askable.ts';

/** On disk, for sorts and the like. */
const TEMP_FILES = '64MB';

/** @param role - must not exist: a role of that name in the copy could have rights already. */
export async function makeConfinedRole(
  client: pg.ClientBase,
  { role, database, seconds }: { role: string; database: string; seconds: number },
): Promise<void> {
  const name = pg.escapeIdentifier(role);
  await client.query('begin');
  try {
    await client.query(`
      create role ${name} login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls connection limit 4`);
    for (const [setting, value] of Object.entries(settingsOf(seconds)))
      await client.query(`alter role ${name} set ${setting} = ${pg.escapeLiteral(value)}`);
    await takeFromPublic(client, database);
    await client.query(`grant connect on database ${pg.escapeIdentifier(database)} to ${name}`);
    await client.query(`grant usage on schema public to ${name}`);
    await grantColumns(client, name);
    await grantFunctions(client, name);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

/** The role cannot change them: only SELECT runs, and the function that sets is not among its. */
function settingsOf(seconds: number): Record<string, string> {
  return {
    default_transaction_read_only: 'on',
    statement_timeout: `${seconds}s`,
    lock_timeout: '1s',
    idle_in_transaction_session_timeout: '90s',
    client_connection_check_interval: '500ms',
    temp_file_limit: TEMP_FILES,
    work_mem: '1MB',
    hash_mem_multiplier: '1',
    temp_buffers: '800kB',
    max_parallel_workers_per_gather: '0',
    jit: 'off',
    search_path: 'public',
    timezone: 'UTC',
    datestyle: 'ISO, YMD',
    client_min_messages: 'error',
  };
}

/** Every schema, table, function and language of the database, PostgreSQL's own too. */
async function takeFromPublic(client: pg.ClientBase, database: string): Promise<void> {
  await client.query(`revoke all on database ${pg.escapeIdentifier(database)} from public`);
  const { rows: schemas } = await client.query<{ name: string }>(
    `select nspname as name from pg_namespace where nspname !~ '^pg_(toast|temp)'`,
  );
  for (const schema of schemas.map((row) => pg.escapeIdentifier(row.name))) {
    await client.query(`revoke all on all tables in schema ${schema} from public`);
    await client.query(`revoke all on all sequences in schema ${schema} from public`);
    await client.query(`revoke all on all routines in schema ${schema} from public`);
    // Names of types and operators are looked up in it.
    if (schema !== '"pg_catalog"') await client.query(`revoke all on schema ${schema} from public`);
  }
  const { rows: languages } = await client.query<{ name: string }>(
    'select lanname as name from pg_language where lanpltrusted',
  );
  for (const { name } of languages)
    await client.query(`revoke all on language ${pg.escapeIdentifier(name)} from public`);
}

/** Those of the list that the copy has: it may be older. */
async function grantColumns(client: pg.ClientBase, role: string): Promise<void> {
  const { rows } = await client.query<{ table: string; columns: string[] }>(`
    select c.relname::text as table, array_agg(a.attname::text) as columns
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' group by 1`);
  for (const { table, columns } of rows) {
    const asked = (ASKABLE_TABLES[table] ?? []).filter((column) => columns.includes(column));
    if (asked.length === 0) continue;
    const list = asked.map((column) => pg.escapeIdentifier(column)).join(', ');
    await client.query(`grant select (${list}) on public.${pg.escapeIdentifier(table)} to ${role}`);
  }
}

/** Of PostgreSQL's own only (their numbers are below 16384), none in another language than C, none that runs as its owner. */
async function grantFunctions(client: pg.ClientBase, role: string): Promise<void> {
  const { rows } = await client.query<{ routine: string }>(
    `
    with types as (select oid from pg_type where typnamespace = 'pg_catalog'::regnamespace and typname = any($1)),
    wanted as (
      select oprcode::oid as id from pg_operator where oprname = any($2) and oid < 16384
      union select castfunc from pg_cast where castfunc <> 0 and oid < 16384
        and castsource in (select oid from types) and casttarget in (select oid from types)
      union select oid from pg_proc where proname = any($3))
    select p.oid::regprocedure::text as routine
    from pg_proc p join wanted w on w.id = p.oid join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'pg_catalog'::regnamespace and p.oid < 16384 and not p.prosecdef and l.lanname in ('internal', 'sql')
      and p.provariadic in (0, '"any"'::regtype)
      and not exists (select 1 from unnest(p.proargtypes) as t (id) where t.id not in (select oid from types))`,
    [ASKABLE_TYPES, ASKABLE_OPERATORS, ASKABLE_FUNCTIONS],
  );
  for (const { routine } of rows) await client.query(`grant execute on routine ${routine} to ${role}`);
}
