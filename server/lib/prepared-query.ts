/**
 * Queries that nearly every request asks: built once, and parsed and planned by PostgreSQL once for each connection. For those alone whose
 * plan does not depend on their parameters.
 */
import type { CompiledQuery, Compilable, PostgresPool, PostgresPoolClient } from 'kysely';
import type pg from 'pg';
import type { Database } from './db.ts';
import { isSystemError } from './errors.ts';

/** Before the text of such a query, with its name: how the connection knows it. */
const MARK = /^\/\* prepared ([a-z-]{1,40}) \*\//;

/**
 * @param name its own, of all such queries.
 * @param build called once for each pool, with parameters that are then replaced, in the order in which it uses them.
 */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- callers name what the places stand for
export function prepareQuery<Row, Parameters extends readonly unknown[]>(
  name: string,
  build: (db: Database) => Compilable<Row>,
): (db: Database, ...parameters: Parameters) => Promise<Row | undefined> {
  const built = new WeakMap<Database, CompiledQuery<Row>>();
  return async (db, ...parameters) => {
    let query = built.get(db);
    if (query === undefined) {
      const compiled = build(db).compile();
      query = { ...compiled, sql: `/* prepared ${name} */ ${compiled.sql}` };
      built.set(db, query);
    }
    const { rows } = await db.executeQuery<Row>({ ...query, parameters });
    return rows[0];
  };
}

/** A pool whose connections keep what is marked. */
export function preparingPool(pool: pg.Pool): PostgresPool {
  const wrapped = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    connect: async () => {
      const client = await pool.connect();
      const known = wrapped.get(client) ?? preparingClient(client);
      wrapped.set(client, known);
      return known;
    },
    end: () => pool.end(),
  };
}

function preparingClient(client: pg.PoolClient): PostgresPoolClient {
  const plain = client as unknown as PostgresPoolClient;
  const query = async (text: string, values: readonly unknown[]) => {
    const name = MARK.exec(text)?.[1];
    if (name === undefined) return plain.query(text, values);
    try {
      return await client.query({ name, text, values: [...values] });
    } catch (error) {
      // A table got another shape since it was planned here.
      if (isSystemError(error, '0A000')) return plain.query(text, values);
      throw error;
    }
  };
  return {
    query: query as PostgresPoolClient['query'],
    release: () => {
      client.release();
    },
  };
}
