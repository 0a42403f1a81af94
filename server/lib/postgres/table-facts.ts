/** What a restored database is compared with: rows and digests of every table, as one SQL snapshot sees them. */
import type pg from 'pg';
import { sqlState } from '../db.ts';
import { rightsError } from './wal.ts';

export interface TableFacts {
  /** Schema and name, quoted where SQL wants it: `public.runs`. */
  table: string;
  /** Decimal. */
  rows: string;
  /** Hex SHA-256; @see digestTable. Only when asked for. */
  digest?: string;
}

/** Opens a transaction that sees one instant and changes nothing. It ends with the connection. */
export async function beginReadOnly(client: pg.ClientBase): Promise<void> {
  await client.query('begin isolation level repeatable read, read only');
}

/** Text forms of values must not depend on the server's settings. */
const FIXED_FORMS = `
  set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres';
  set local extra_float_digits = 1; set local bytea_output = 'hex'; set local search_path = pg_catalog;
  set local lc_monetary = 'C'`;

/**
 * Facts of every ordinary logged table that is not PostgreSQL's own, by name. Unlogged tables are left out: neither a base backup nor
 * the WAL carries their rows.
 *
 * @param client - In a transaction, whose snapshot is used.
 */
export async function readTableFacts(
  client: pg.ClientBase,
  options: { digests: boolean; signal?: AbortSignal },
): Promise<TableFacts[]> {
  await client.query(FIXED_FORMS);
  const tables = await client.query<{ name: string }>(`
    select format('%I.%I', n.nspname, c.relname) as name
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence = 'p'
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
    order by n.nspname collate "C", c.relname collate "C"`);
  const facts: TableFacts[] = [];
  for (const { name } of tables.rows) {
    options.signal?.throwIfAborted();
    facts.push(await factsOf(client, name, options.digests));
  }
  return facts;
}

async function factsOf(client: pg.ClientBase, table: string, digests: boolean): Promise<TableFacts> {
  try {
    if (digests) return await digestTable(client, table);
    const counted = await client.query<{ rows: string }>(`select count(*)::text as rows from ${table}`);
    return { table, rows: counted.rows[0]?.rows ?? '' };
  } catch (error) {
    throw sqlState(error) === '42501' ? rightsError(error) : error;
  }
}

/**
 * SHA-256 of the sums of the rows' SHA-256s, each taken as four 64-bit numbers. The order of rows does not matter, so a
 * table of any size is read once, unsorted and in constant memory. It tells accident, not malice: what it is
 * compared with comes from a signed manifest, and the rows themselves lie under authenticated encryption.
 */
async function digestTable(client: pg.ClientBase, table: string): Promise<TableFacts> {
  const part = (from: number) =>
    `coalesce(sum((('x' || encode(substr(h, ${from}, 8), 'hex'))::bit(64)::bigint)::numeric), 0)::text`;
  const result = await client.query<{ rows: string; digest: string }>(`
    select rows::text, encode(sha256(convert_to(concat_ws(':', rows, a, b, c, d), 'UTF8')), 'hex') as digest from (
      select count(*) as rows, ${part(1)} as a, ${part(9)} as b, ${part(17)} as c, ${part(25)} as d
      from (select sha256(convert_to(t::text, 'UTF8')) as h from ${table} t) as hashed) as sums`);
  return { table, rows: result.rows[0]?.rows ?? '', digest: result.rows[0]?.digest ?? '' };
}

export interface ServerFacts {
  systemId: string;
  major: number;
  timeline: number;
  encoding: string;
  segmentBytes: number;
  blockChecksums: boolean;
  database: string;
  /** The role that made the cluster: it may do everything, whatever its name. */
  superuser: string;
  /** Name and version of each extension in this database. */
  extensions: string[];
  /** Names of tablespaces beyond PostgreSQL's own two. */
  tablespaces: string[];
}

/** What a server must be to start from a copy of this one. */
export async function readServerFacts(client: pg.ClientBase): Promise<ServerFacts> {
  const result = await client.query<Record<string, string | string[]>>(`
    select s.system_identifier::text as system, c.timeline_id::text as timeline,
      current_setting('server_version_num') as version, current_setting('server_encoding') as encoding,
      pg_size_bytes(current_setting('wal_segment_size'))::text as segment, current_setting('data_checksums') as checksums,
      current_database()::text as database,
      (select rolname::text from pg_roles where oid = 10) as superuser,
      array(select extname || ' ' || extversion from pg_extension order by 1) as extensions,
      array(select spcname::text from pg_tablespace where spcname not in ('pg_default', 'pg_global') order by 1) as tablespaces
    from pg_control_system() s, pg_control_checkpoint() c`);
  const row = result.rows[0] ?? {};
  const text = (name: string) => String(row[name] ?? '');
  const list = (name: string) => (Array.isArray(row[name]) ? row[name] : []);
  return {
    systemId: text('system'),
    major: Math.floor(Number(text('version')) / 10_000),
    timeline: Number(text('timeline')),
    encoding: text('encoding'),
    segmentBytes: Number(text('segment')),
    blockChecksums: text('checksums') === 'on',
    database: text('database'),
    superuser: text('superuser'),
    extensions: list('extensions'),
    tablespaces: list('tablespaces'),
  };
}

interface SchemaVersion {
  /** Name of the newest migration. */
  schemaVersion: string;
  /** Name of the newest migration that a program must know at least, to use it. */
  schemaNeeds: string;
}

/** Undefined for a database that is not Holdfast's. */
export async function readSchemaVersion(client: pg.ClientBase): Promise<SchemaVersion | undefined> {
  const found = await client.query<{ there: boolean }>(
    `select to_regclass('public.migrations') is not null as there`,
  );
  if (found.rows[0]?.there !== true) return undefined;
  const { rows } = await client.query<{ name: string; needs: string }>(
    'select name, coalesce(works_with, name) as needs from public.migrations order by name',
  );
  const newest = rows.at(-1)?.name;
  return newest === undefined ? undefined : { schemaVersion: newest, schemaNeeds: leastOf(rows) };
}

/** A program may lack migrations that work with what it knows (`lib/migrate.ts`). Pure. */
export function leastOf(migrations: readonly { name: string; needs: string }[]): string {
  let least = migrations.at(-1)?.name ?? '';
  for (const { name } of [...migrations].reverse()) {
    const works = migrations.every((one) => one.name <= name || one.needs <= name);
    if (!works) break;
    least = name;
  }
  return least;
}
