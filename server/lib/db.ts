/**
 * The database connection. Every transaction that writes goes through `writeTransaction`, which takes the write gate's
 * shared lock first: a snapshot closes the gate for milliseconds to name one instant that all of its parts agree on.
 */
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely';
import pg from 'pg';
import { HoldfastError, isSystemError } from './errors.ts';
import { preparingPool } from './prepared-query.ts';
import type { DB } from './tables.ts';

export type Database = Kysely<DB>;
/** A transaction that holds the write gate open. */
export type WriteTransaction = Transaction<DB>;

/** How to reach PostgreSQL: a URL of the operator's, or our own server's socket directory. */
export type DatabaseAddress =
  | { kind: 'url'; url: string }
  | { kind: 'socket'; directory: string; port: number; user: string; database: string };

/** Key of the advisory lock that writers share and a snapshot takes alone. */
export const WRITE_GATE = 0x484f4c44;

interface OpenOptions {
  /** Connections at most. */
  max?: number;
  /** Shown in pg_stat_activity. */
  name: string;
}

/** Connection settings for `pg`, also for single clients (replication, LISTEN). */
export function clientConfig(address: DatabaseAddress, name: string): pg.ClientConfig {
  const common = { application_name: name, connectionTimeoutMillis: 10_000, keepAlive: true };
  return address.kind === 'url'
    ? { connectionString: address.url, ...common }
    : {
        host: address.directory,
        port: address.port,
        user: address.user,
        database: address.database,
        ...common,
      };
}

/** Opens a pool. Nothing is contacted until the first query. */
export function openDatabase(address: DatabaseAddress, options: OpenOptions): Database {
  const pool = new pg.Pool({ ...clientConfig(address, options.name), max: options.max ?? 10 });
  // An idle connection that dies is replaced on the next query; without a listener it would end the process.
  pool.on('error', () => undefined);
  // As would one that is lent out and dies between two queries; the next query says so.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return new Kysely<DB>({ dialect: new PostgresDialect({ pool: preparingPool(pool) }) });
}

/**
 * Runs `act` in a transaction that holds the write gate open. Given such a transaction it runs within that one, so that an act which
 * is made of others is done whole or not at all.
 *
 * @throws what `act` throws, after rolling back; HoldfastError `unavailable` when PostgreSQL cannot be reached.
 */
export async function writeTransaction<T>(
  db: Database,
  act: (tx: WriteTransaction) => Promise<T>,
): Promise<T> {
  if (isWriting(db)) return act(db);
  try {
    return await db.transaction().execute(async (tx) => {
      await sql`select pg_advisory_xact_lock_shared(${WRITE_GATE})`.execute(tx);
      return act(tx);
    });
  } catch (error) {
    throw explainDatabaseError(error);
  }
}

function isWriting(db: Database): db is WriteTransaction {
  return db.isTransaction;
}

/** Turns a lost connection into `unavailable` and a full disk into `no_space`; leaves everything else as it is. */
export function explainDatabaseError(error: unknown): unknown {
  if (isSystemError(error, '53100')) {
    return new HoldfastError('no_space', 'The disk of the database is full', {
      hint: 'Free some space on it or give it more, then try again. Nothing was changed.',
      cause: error,
    });
  }
  const lost =
    isSystemError(
      error,
      'ECONNREFUSED',
      'ENOENT',
      'ECONNRESET',
      'EPIPE',
      '57P01',
      '57P02',
      '57P03',
      '08006',
      '08001',
    ) ||
    (error instanceof Error &&
      /Connection terminated|timeout exceeded when trying to connect|is not queryable/.test(error.message));
  if (!lost) return error;
  return new HoldfastError('unavailable', 'The database cannot be reached', {
    hint: 'It may be starting; try again in a few seconds. `holdfast doctor` says more.',
    cause: error,
  });
}

/** SQLSTATE of a PostgreSQL error, or undefined. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}
