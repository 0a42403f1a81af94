/** Positions in the write-ahead log and its segment files, as PostgreSQL numbers them. */
import type pg from 'pg';
import { sqlState } from '../db.ts';
import { HoldfastError } from '../errors.ts';

const READ_BYTES = 1024 * 1024;
/** Of the log, in PostgreSQL as everyone builds it. */
const PAGE_BYTES = 8192n;

/** `X/Y` as a number of bytes. @throws HoldfastError `invalid_input` for anything else. */
export function parseLsn(text: string): bigint {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (!match) throw new HoldfastError('invalid_input', `Not a position in the write-ahead log: ${text}`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** As PostgreSQL writes it. */
export function formatLsn(position: bigint): string {
  const hex = (value: bigint) => value.toString(16).toUpperCase();
  return `${hex(position >> 32n)}/${hex(position & 0xffff_ffffn)}`;
}

/** Name of a segment file: timeline, then the number in two parts, each 8 hex digits. */
export function walFileName(timeline: number, segment: bigint, segmentBytes: bigint): string {
  const perId = 0x1_0000_0000n / segmentBytes;
  const hex = (value: bigint) => value.toString(16).toUpperCase().padStart(8, '0');
  return hex(BigInt(timeline)) + hex(segment / perId) + hex(segment % perId);
}

/** Names of the segments that hold every byte in `[start, end)`. */
export function walFilesBetween(
  timeline: number,
  start: bigint,
  end: bigint,
  segmentBytes: bigint,
): string[] {
  const names: string[] = [];
  for (let segment = start / segmentBytes; segment * segmentBytes < end; segment += 1n) {
    names.push(walFileName(timeline, segment, segmentBytes));
  }
  return names;
}

/**
 * A whole segment, of which what lies at or after `end` is zeros: recovery does not read beyond its target. It must be kept by a
 * replication slot while it is read.
 *
 * @param end - Position up to which the log is wanted.
 * @throws HoldfastError `forbidden` when the role may not read the server's files, `unavailable` when the segment is gone.
 */
export async function* readWalSegment(
  client: pg.ClientBase,
  name: string,
  segment: { bytes: number; end: bigint },
): AsyncGenerator<Buffer> {
  const wantedBytes = wantedBytesOf(name, segment);
  for (let offset = 0; offset < segment.bytes; offset += READ_BYTES) {
    const length = Math.min(READ_BYTES, segment.bytes - offset);
    const wanted = Math.max(0, Math.min(length, wantedBytes - offset));
    const piece = wanted === 0 ? Buffer.alloc(0) : await readPiece(client, name, offset, wanted);
    yield piece.length === length ? piece : Buffer.concat([piece, Buffer.alloc(length - piece.length)]);
  }
}

/**
 * The bytes of the log in `[from, to)`, which must be written and kept by a replication slot.
 *
 * @throws HoldfastError as `readWalSegment`.
 */
export async function readWalBytes(
  client: pg.ClientBase,
  range: { timeline: number; segmentBytes: number; from: bigint; to: bigint },
): Promise<Buffer> {
  const segmentBytes = BigInt(range.segmentBytes);
  const parts: Buffer[] = [];
  for (let at = range.from; at < range.to;) {
    const name = walFileName(range.timeline, at / segmentBytes, segmentBytes);
    const offset = Number(at % segmentBytes);
    const left = Math.min(range.segmentBytes - offset, Number(range.to - at));
    const part = await readPiece(client, name, offset, Math.min(READ_BYTES, left));
    if (part.length === 0) {
      throw new HoldfastError(
        'unavailable',
        `PostgreSQL gives less of the WAL segment ${name} than it wrote`,
      );
    }
    parts.push(part);
    at += BigInt(part.length);
  }
  return Buffer.concat(parts);
}

/** Up to the end of the page that holds the last wanted byte. */
function wantedBytesOf(name: string, segment: { bytes: number; end: bigint }): number {
  const perId = 0x1_0000_0000n / BigInt(segment.bytes);
  const number = BigInt(`0x${name.slice(8, 16)}`) * perId + BigInt(`0x${name.slice(16, 24)}`);
  const left = segment.end - number * BigInt(segment.bytes);
  const pages = (left + PAGE_BYTES - 1n) / PAGE_BYTES;
  return Number(pages * PAGE_BYTES > BigInt(segment.bytes) ? BigInt(segment.bytes) : pages * PAGE_BYTES);
}

/** Ends the present segment and makes everything up to here durable. */
export async function switchWal(client: pg.ClientBase): Promise<void> {
  try {
    await client.query('select pg_switch_wal()');
  } catch (error) {
    throw sqlState(error) === '42501' ? rightsError(error) : error;
  }
}

async function readPiece(
  client: pg.ClientBase,
  name: string,
  offset: number,
  length: number,
): Promise<Buffer> {
  const piece = await readServerFile(client, `pg_wal/${name}`, offset, length);
  if (piece !== undefined) return piece;
  throw new HoldfastError('unavailable', `PostgreSQL no longer has the WAL segment ${name}`, {
    hint: 'Take the snapshot again.',
  });
}

/**
 * Part of a file in the server's data folder.
 *
 * @returns less than `length` bytes at the file's end; undefined when there is no such file.
 * @throws HoldfastError `forbidden` when the role may not read the server's files.
 */
export async function readServerFile(
  client: pg.ClientBase,
  path: string,
  offset: number,
  length: number,
): Promise<Buffer | undefined> {
  try {
    // Base64: the driver takes results as text, and a bytea would travel as two digits a byte.
    const result = await client.query<{ piece: string }>(
      `select encode(pg_read_binary_file($1, $2, $3), 'base64') as piece`,
      [path, offset, length],
    );
    return Buffer.from(result.rows[0]?.piece ?? '', 'base64');
  } catch (error) {
    if (sqlState(error) === '42501') throw rightsError(error);
    if (sqlState(error) !== '58P01') throw error;
    return undefined;
  }
}

/** The error for a role of an outside cluster that lacks what a snapshot needs. */
export function rightsError(cause: unknown): HoldfastError {
  return new HoldfastError('forbidden', 'The database role has too few rights to take a snapshot', {
    hint:
      'Give it REPLICATION, membership in pg_read_all_data and pg_read_server_files, and EXECUTE on ' +
      'pg_read_binary_file(text, bigint, bigint), pg_create_restore_point and pg_switch_wal.',
    cause,
  });
}
