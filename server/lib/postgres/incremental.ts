/**
 * What PostgreSQL says of changed blocks: the files that an incremental base backup sends in place of relations, and the relations that were
 * cut meanwhile (PostgreSQL 17 documentation, "Incremental Backup" and "WAL Summarization Functions"; layout of the files as
 * `src/backend/backup/basebackup_incremental.c` writes and pg_combinebackup reads them).
 */
import type pg from 'pg';
import { HoldfastError } from '../errors.ts';

export const BLOCK_BYTES = 8192;
/** Of a relation's file, in PostgreSQL as everyone builds it: 1 GiB. */
const MOST_BLOCKS = 131_072;
const MAGIC = 0xd3ae1f0d;
const FIXED_BYTES = 12;
const PREFIX = 'INCREMENTAL.';

/** What became of one file of a relation since the base backup before. */
export interface ChangedBlocks {
  /** Length of the file, in blocks. */
  length: number;
  /** Numbers of blocks within the file, ascending. */
  changed: Uint32Array;
}

/** The path of the relation's file that is told of here; undefined for a file that is sent whole. */
export function relationOfIncremental(path: string): string | undefined {
  const at = path.lastIndexOf('/') + 1;
  return path.startsWith(PREFIX, at) ? path.slice(0, at) + path.slice(at + PREFIX.length) : undefined;
}

/** Reads such a file to its end; the blocks themselves are left unread. @throws HoldfastError `unavailable` when it is none. */
export async function readChangedBlocks(content: AsyncIterable<Uint8Array>): Promise<ChangedBlocks> {
  let head: Buffer = Buffer.alloc(0);
  let wanted = FIXED_BYTES;
  for await (const piece of content) {
    if (head.length >= wanted) continue;
    head = Buffer.concat([head, piece]);
    if (head.length >= FIXED_BYTES) wanted = FIXED_BYTES + 4 * countOf(head);
  }
  if (head.length < wanted) throw strangeFile();
  const changed = new Uint32Array(countOf(head));
  for (let at = 0; at < changed.length; at++) changed[at] = head.readUInt32LE(FIXED_BYTES + 4 * at);
  const last = changed.at(-1);
  const length = Math.max(head.readUInt32LE(8), last === undefined ? 0 : last + 1);
  if (length > MOST_BLOCKS) throw strangeFile();
  return { length, changed };
}

function countOf(head: Buffer): number {
  const count = head.readUInt32LE(4);
  if (head.readUInt32LE(0) !== MAGIC || count > MOST_BLOCKS) throw strangeFile();
  return count;
}

function strangeFile(): HoldfastError {
  return new HoldfastError('unavailable', 'PostgreSQL sent a file of changed blocks that is none');
}

/** `backup_label` of files that are whole again: what it says of being incremental is left out, as pg_combinebackup does. */
export function wholeBackupLabel(label: Buffer): Buffer {
  const lines = label.toString('latin1').split('\n');
  return Buffer.from(lines.filter((line) => !line.startsWith('INCREMENTAL FROM ')).join('\n'), 'latin1');
}

const FORKS = ['', '_fsm', '_vm', '_init'] as const;

/**
 * Relations that were truncated or made anew between two positions, as the beginning of their files' paths: `base/5/16384`,
 * `global/1262_vm`. PostgreSQL names no block for one that was cut off and came back as zeros, so of these everything counts as changed.
 */
export async function readCutRelations(
  client: pg.ClientBase,
  range: { timeline: number; from: string; to: string },
): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ database: string; node: string; fork: number }>(
    `select distinct reldatabase::text as database, relfilenode::text as node, relforknumber::int as fork
       from pg_available_wal_summaries() s, pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) c
       where s.tli = $1 and s.end_lsn > $2::pg_lsn and s.start_lsn < $3::pg_lsn and c.is_limit_block`,
    [range.timeline, range.from, range.to],
  );
  return new Set(
    rows.map(
      ({ database, node, fork }) =>
        `${database === '0' ? 'global' : `base/${database}`}/${node}${FORKS[fork] ?? ''}`,
    ),
  );
}

/** The relation of one of its files: without the number of the segment. */
export function relationOfFile(path: string): string {
  return path.replace(/\.\d+$/, '');
}
