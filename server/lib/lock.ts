/** Advisory locks that outlive a transaction: held by one connection, gone when it or its process goes. */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type { ClientBase } from 'pg';
import type { Database } from './db.ts';

/** Every lock of the product, so that no two share a number. */
export const LOCKS = {
  migrations: 0x484f4c45,
  /** Snapshots share it; the collector of deleted files takes it alone. */
  fileCollection: 0x484f4c46,
  /** One snapshot, prune or verify at a time. */
  repositoryWork: 0x484f4c47,
  /** One process hands out due work. */
  scheduler: 0x484f4c48,
  /** One transaction gives audit entries their places. */
  auditSequencer: 0x484f4c49,
  /** One process looks after alerts. */
  alerts: 0x484f4c4a,
  /** One writer on each target: with `of`, the target's id. */
  targetWork: 0x484f4c4b,
} as const;

export type LockName = keyof typeof LOCKS;

interface LockOptions {
  /** Of which of several things; each has a lock of its own. */
  of?: string;
  shared?: boolean;
  /** Give up at once instead of waiting. */
  tryOnly?: boolean;
  /** Give up after some time. */
  patience?: Patience;
}

export interface Patience {
  ms: number;
  signal: AbortSignal;
  /** Called once, when it has to be waited for. */
  onWait(): Promise<void>;
}

/**
 * @returns what `act` returned, or undefined when it gave up because the lock is taken.
 * @throws the signal's reason when it comes while the lock is waited for
 */
export async function withAdvisoryLock<T>(
  db: Database,
  name: LockName,
  act: () => Promise<T>,
  options: LockOptions = {},
): Promise<T | undefined> {
  const key =
    options.of === undefined ? sql`${LOCKS[name]}` : sql`${LOCKS[name]}::int, hashtext(${options.of})`;
  const suffix = options.shared ? '_shared' : '';
  return db.connection().execute(async (connection) => {
    if (options.tryOnly === true || options.patience !== undefined) {
      const ask = async (): Promise<boolean> => {
        const { rows } = await sql<{ locked: boolean }>`
          select ${sql.raw(`pg_try_advisory_lock${suffix}`)}(${key}) as locked`.execute(connection);
        return rows[0]?.locked === true;
      };
      if (!(await ask()) && !(await waitTurn(ask, options.patience))) return undefined;
    } else {
      await sql`select ${sql.raw(`pg_advisory_lock${suffix}`)}(${key})`.execute(connection);
    }
    try {
      return await act();
    } finally {
      await sql`select ${sql.raw(`pg_advisory_unlock${suffix}`)}(${key})`.execute(connection);
    }
  });
}

const ASK_AGAIN_MS = 200;

async function waitTurn(ask: () => Promise<boolean>, patience: Patience | undefined): Promise<boolean> {
  if (patience === undefined) return false;
  await patience.onWait();
  return askAgain(ask, patience);
}

async function askAgain(
  ask: () => Promise<boolean>,
  { ms, signal }: Omit<Patience, 'onWait'>,
): Promise<boolean> {
  for (const until = performance.now() + ms; performance.now() < until;) {
    await delay(ASK_AGAIN_MS);
    signal.throwIfAborted();
    if (await ask()) return true;
  }
  return false;
}

/**
 * The same, shared, on a connection of the caller's: whoever works for long beside others does not empty their pool.
 *
 * @throws the signal's reason when it comes while the lock is waited for
 */
export async function withSharedLockOn<T>(
  client: ClientBase,
  name: LockName,
  signal: AbortSignal,
  act: () => Promise<T>,
): Promise<T> {
  const ask = async (): Promise<boolean> => {
    const { rows } = await client.query<{ locked: boolean }>(
      'select pg_try_advisory_lock_shared($1) as locked',
      [LOCKS[name]],
    );
    return rows[0]?.locked === true;
  };
  signal.throwIfAborted();
  if (!(await ask())) await askAgain(ask, { ms: Infinity, signal });
  try {
    return await act();
  } finally {
    await client.query('select pg_advisory_unlock_shared($1)', [LOCKS[name]]);
  }
}
