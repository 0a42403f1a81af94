/**
 * One instant that a physical and a logical view of the database agree on. The write gate closes for milliseconds; while no
 * transaction of ours writes, an SQL snapshot is exported and a restore point is written to the WAL.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { sqlState, WRITE_GATE } from '../db.ts';
import { HoldfastError } from '../errors.ts';
import { rightsError } from './wal.ts';

export interface ConsistentPoint {
  restorePoint: string;
  /** Where the restore point is, `X/Y`. */
  lsn: string;
  /** What `set transaction snapshot` takes, for as long as the exporting transaction is open. */
  snapshotId: string;
  /** How long writers may have waited. */
  gateClosedMs: number;
}

/** Waiting writers queue up behind us, so we give up quickly and come back. */
const LOCK_TIMEOUT_MS = 500;
const GIVE_UP_AFTER_MS = 60_000;
const LOCK_NOT_AVAILABLE = '55P03';

/**
 * @param gate - A connection of its own: closes the gate.
 * @param reader - Another: is left in a read-only transaction that sees exactly this instant.
 * @throws HoldfastError `unavailable` when transactions kept the gate open for a minute.
 */
export async function takeConsistentPoint(
  gate: pg.ClientBase,
  reader: pg.ClientBase,
  restorePoint: string,
): Promise<ConsistentPoint> {
  await gate.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}`);
  const startedAt = performance.now();
  await closeGate(gate);
  const closedAt = performance.now();
  try {
    // The snapshot is taken by the first statement, hence after the gate closed.
    await reader.query('begin isolation level repeatable read, read only');
    const exported = await reader.query<{ id: string }>('select pg_export_snapshot() as id');
    const point = await createRestorePoint(gate, restorePoint);
    return {
      restorePoint,
      lsn: point,
      snapshotId: exported.rows[0]?.id ?? '',
      gateClosedMs: performance.now() - closedAt,
    };
  } finally {
    await gate.query('select pg_advisory_unlock($1)', [WRITE_GATE]);
  }

  async function closeGate(client: pg.ClientBase): Promise<void> {
    for (;;) {
      try {
        await client.query('select pg_advisory_lock($1)', [WRITE_GATE]);
        return;
      } catch (error) {
        if (sqlState(error) !== LOCK_NOT_AVAILABLE) throw error;
        if (performance.now() - startedAt > GIVE_UP_AFTER_MS) {
          throw new HoldfastError(
            'unavailable',
            'A transaction that writes has been open for over a minute',
            {
              hint: 'Wait for long work to end, then take the snapshot again.',
              cause: error,
            },
          );
        }
        await delay(LOCK_TIMEOUT_MS * (1 + Math.random()));
      }
    }
  }
}

async function createRestorePoint(client: pg.ClientBase, name: string): Promise<string> {
  try {
    const made = await client.query<{ lsn: string }>('select pg_create_restore_point($1)::text as lsn', [
      name,
    ]);
    return made.rows[0]?.lsn ?? '';
  } catch (error) {
    throw sqlState(error) === '42501' ? rightsError(error) : error;
  }
}
