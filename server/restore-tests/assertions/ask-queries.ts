/**
 * Asks one statement as the confined role. Only the grammar of a cursor is offered to it, in the extended protocol: one SELECT, nothing
 * after it, nothing that writes. Rows are counted on the server (`move`), and a value is fetched only when it is a number or a truth.
 */
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { clientConfig, type DatabaseAddress } from '../../lib/db.ts';

/** Beyond these nobody counts. */
export const MOST_ROWS = 1_000_000;
/** Before the statement, and not counted in the position of an error. */
const BEFORE = 'declare answer no scroll cursor for\n';
/** A backend with more of its own memory than this is ended. */
const MEMORY_BYTES = 256 * 1024 * 1024;
const WATCH_EVERY_MS = 25;
const PAGE_BYTES = 4096;

const BOOLEAN = 16;
/** int8, int2, int4, float4, float8, numeric. */
const NUMBERS = [20, 21, 23, 700, 701, 1700];

/** What came back: never a value that is not a number or a truth. */
export type Reply =
  | { kind: 'rows'; rows: number; more: boolean }
  | { kind: 'value'; value: string | boolean | null }
  | { kind: 'shape'; columns: number; rows: 0 | 1 | 2; fits: boolean }
  | { kind: 'refused'; sqlState: string; position: number | undefined }
  | { kind: 'too-much-memory' }
  | { kind: 'too-long' };

export interface Asking {
  address: DatabaseAddress;
  of: 'rows' | 'number' | 'true';
  sql: string;
  seconds: number;
  signal: AbortSignal;
}

interface Field {
  dataTypeID: number;
}

/** @throws what cancelled it; and when the scratch server is gone. */
export async function askStatement(asking: Asking): Promise<Reply> {
  asking.signal.throwIfAborted();
  const client = new pg.Client(clientConfig(asking.address, 'holdfast assertion'));
  client.on('error', () => undefined);
  await client.connect();
  const end: { why: 'cancelled' | 'too-much-memory' | 'too-long' | undefined } = { why: undefined };
  const stop = (why: NonNullable<typeof end.why>) => () => {
    end.why ??= why;
    // The server notices within half a second and ends the backend.
    void client.end();
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  };
  const cancel = stop('cancelled');
  asking.signal.addEventListener('abort', cancel, { once: true });
  // Three statements, each with its own limit on the server; this is the last resort.
  const timer = setTimeout(stop('too-long'), (asking.seconds + 2) * 1000);
  const watch = await watchMemory(client, stop('too-much-memory'));
  try {
    return await ask(client, asking);
  } catch (error) {
    asking.signal.throwIfAborted();
    if (end.why === 'too-much-memory' || end.why === 'too-long') return { kind: end.why };
    if (error instanceof pg.DatabaseError) return refusalOf(error);
    throw error;
  } finally {
    clearTimeout(timer);
    watch.stop();
    asking.signal.removeEventListener('abort', cancel);
    await client.end().catch(() => undefined);
  }
}

async function ask(client: pg.Client, { of, sql }: Asking): Promise<Reply> {
  await client.query('begin isolation level repeatable read, read only');
  const declare = { text: `${BEFORE}${sql}`, values: [], queryMode: 'extended' };
  await client.query(declare);
  if (of === 'rows') {
    const moved = await client.query(`move forward ${MOST_ROWS + 1} in answer`);
    const rows = moved.rowCount ?? 0;
    return { kind: 'rows', rows: Math.min(rows, MOST_ROWS), more: rows > MOST_ROWS };
  }
  // Nothing is fetched before it is known to be small.
  const { fields } = (await client.query('fetch 0 from answer')) as { fields: Field[] };
  const [field] = fields;
  const wanted = of === 'true' ? [BOOLEAN] : NUMBERS;
  const fits = fields.length === 1 && field !== undefined && wanted.includes(field.dataTypeID);
  if (!fits) return { kind: 'shape', columns: fields.length, rows: 0, fits };
  const { rows } = await client.query<(string | number | boolean | null)[]>({
    text: 'fetch 2 from answer',
    rowMode: 'array',
  });
  if (rows.length !== 1) return { kind: 'shape', columns: 1, rows: rows.length === 0 ? 0 : 2, fits };
  const value = rows[0]?.[0] ?? null;
  if (value === null || typeof value === 'boolean') return { kind: 'value', value };
  return { kind: 'value', value: String(value) };
}

/** PostgreSQL's words may quote values; of them only the code goes on, and where in the statement it is. */
function refusalOf(error: pg.DatabaseError): Reply {
  const position = Number(error.position) - BEFORE.length;
  return {
    kind: 'refused',
    sqlState: error.code ?? 'XX000',
    position: Number.isFinite(position) && position > 0 ? position : undefined,
  };
}

/**
 * PostgreSQL bounds what a sort takes, not what a value that is being built takes (1 GiB each). Where the system tells how much memory the
 * backend has (Linux), it is ended before that; elsewhere the time limit alone bounds it.
 */
async function watchMemory(client: pg.Client, stop: () => void): Promise<{ stop(): void }> {
  const statm = `/proc/${(client as unknown as { processID: number }).processID}/statm`;
  const watching = { on: true };
  const look = async () => {
    while (watching.on) {
      const text = await readFile(statm, 'utf8').catch(() => undefined);
      if (text === undefined) return;
      const [, resident = 0, shared = 0] = text.split(' ').map(Number);
      if ((resident - shared) * PAGE_BYTES > MEMORY_BYTES) {
        stop();
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, WATCH_EVERY_MS));
    }
  };
  void look();
  return { stop: () => (watching.on = false) };
}
