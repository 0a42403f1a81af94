/**
 * How far the write-ahead log is written, and a replication slot that keeps it until it was shipped. The slot is moved on by SQL:
 * no connection stays open on it, so it works on any PostgreSQL that lets a role replicate and read its files.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { sqlState } from '../db.ts';
import { HoldfastError } from '../errors.ts';
import { formatLsn, parseLsn, rightsError } from './wal.ts';

/**
 * Where somebody switched `synchronous_commit` off, PostgreSQL writes commits out within three rounds of its WAL writer (0.2 s each).
 * What is not written out by then belongs to transactions that have not committed.
 */
const ASYNCHRONOUS_MS = 700;

export interface WalPosition {
  /** What was acknowledged as committed before this instant lies before `flushed`. By the database's clock. */
  at: Date;
  /** Everything before it is on the server's disk. */
  flushed: bigint;
  timeline: number;
  systemId: string;
  segmentBytes: number;
}

/** Costs the server nothing and writes nothing. @throws HoldfastError `wrong_state` on a standby */
export async function readWalPosition(client: pg.ClientBase): Promise<WalPosition> {
  const { rows } = await client.query<Record<'recovering' | 'segment' | 'system', string>>(`
    select pg_is_in_recovery()::text as recovering, system_identifier::text as system,
      pg_size_bytes(current_setting('wal_segment_size'))::text as segment from pg_control_system()`);
  const [server] = rows;
  if (server?.recovering !== 'false') {
    throw new HoldfastError('wrong_state', 'The database is a standby, whose log cannot be shipped', {
      hint: 'Point HOLDFAST_DATABASE_URL to the primary.',
    });
  }
  // The clock first: what is committed after it may lie behind the position, never the other way round.
  const { rows: before } = await client.query<{ at: string; lsn: string }>(
    `select floor(extract(epoch from clock_timestamp()) * 1000)::text as at, pg_current_wal_insert_lsn()::text as lsn`,
  );
  const written = parseLsn(before[0]?.lsn ?? '');
  const deadline = performance.now() + ASYNCHRONOUS_MS;
  let where = await readFlushed(client);
  while (where.flushed < written && performance.now() < deadline) {
    await delay(20);
    where = await readFlushed(client);
  }
  return {
    at: new Date(Number(before[0]?.at)),
    ...where,
    systemId: server.system,
    segmentBytes: Number(server.segment),
  };
}

/** When the server was started last; it has not been down since. */
export async function readStartedAt(client: pg.ClientBase): Promise<Date> {
  const { rows } = await client.query<{ ms: string }>(
    `select floor(extract(epoch from pg_postmaster_start_time()) * 1000)::text as ms`,
  );
  return new Date(Number(rows[0]?.ms));
}

async function readFlushed(client: pg.ClientBase): Promise<Pick<WalPosition, 'flushed' | 'timeline'>> {
  const { rows } = await client.query<{ lsn: string; file: string }>(
    `select pg_current_wal_flush_lsn()::text as lsn, pg_walfile_name(pg_current_wal_flush_lsn()) as file`,
  );
  const [row] = rows;
  return { flushed: parseLsn(row?.lsn ?? ''), timeline: Number.parseInt(row?.file.slice(0, 8) ?? '', 16) };
}

/** Oldest position that the slot keeps; undefined when there is none, or PostgreSQL gave it up because too much had piled up. */
export async function findSlot(client: pg.ClientBase, name: string): Promise<bigint | undefined> {
  const { rows } = await client.query<{ lsn: string | null; status: string | null }>(
    `select restart_lsn::text as lsn, wal_status as status from pg_replication_slots where slot_name = $1`,
    [name],
  );
  const [slot] = rows;
  if (slot?.lsn == null || slot.status === 'lost' || slot.status === 'unreserved') return undefined;
  return parseLsn(slot.lsn);
}

/** A slot that keeps the log from about now on; one that PostgreSQL gave up is replaced. @returns where it begins */
export async function makeSlot(client: pg.ClientBase, name: string): Promise<bigint> {
  try {
    await dropSlot(client, name);
    const { rows } = await client.query<{ lsn: string }>(
      `select lsn::text as lsn from pg_create_physical_replication_slot($1, true)`,
      [name],
    );
    return parseLsn(rows[0]?.lsn ?? '');
  } catch (error) {
    if (sqlState(error) === '42501') throw rightsError(error);
    if (sqlState(error) !== '53400') throw error;
    throw new HoldfastError('unavailable', 'The database has no replication slot left', {
      hint: 'Raise max_replication_slots, or drop a slot that nobody uses.',
      cause: error,
    });
  }
}

/** What lies before `to` may go. A slot that is further already stays. */
export async function advanceSlot(client: pg.ClientBase, name: string, to: bigint): Promise<void> {
  const kept = await findSlot(client, name);
  if (kept === undefined || kept >= to) return;
  await client.query(`select pg_replication_slot_advance($1, $2::pg_lsn)`, [name, formatLsn(to)]);
}

/** Absent is fine. */
export async function dropSlot(client: pg.ClientBase, name: string): Promise<void> {
  await client.query(
    `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1`,
    [name],
  );
}

/** How much the server lets any slot keep; undefined for no bound. */
export async function readSlotBound(client: pg.ClientBase): Promise<number | undefined> {
  const { rows } = await client.query<{ bytes: string }>(
    `select setting::bigint * 1048576 as bytes from pg_settings where name = 'max_slot_wal_keep_size'`,
  );
  const bytes = Number(rows[0]?.bytes ?? -1);
  return bytes < 0 ? undefined : bytes;
}
