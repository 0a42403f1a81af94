/**
 * What the last copy of the database stored on a target, so that the next one reads only what changed since: PostgreSQL's manifest of it, and
 * for each file of a relation the ids and hashes of its chunks. One SQLite file beside the target's catalogue, and like that only a cache:
 * without it everything is read. It holds nothing that could open a backup, so it works write-only too.
 *
 * Guarantees: a copy is told of only when it is the one that the database itself remembers (a database that was set back, or comes from
 * elsewhere, remembers another), with the same keys and chunk sizes, and a whole reading not long ago. A row that is not what was written is
 * not there. What a run notes counts only after `keep`.
 */
import { createHash, randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from '../../lib/files.ts';
import { explainCatalogueError } from '../catalogue/catalogue.ts';
import type { StoredContent } from '../engine.ts';

/** Grows when a file of an older program could not be used. */
const VERSION = 1;
/** So often everything is read, whatever PostgreSQL says of changes. */
const WHOLE_EVERY_MS = 7 * 86_400_000;

export interface BaseFacts {
  timeline: number;
  /** Where the base backup began, `X/Y`. */
  startLsn: string;
}

export interface LastCopy extends BaseFacts {
  manifest: Buffer;
  find(path: string): StoredContent | undefined;
}

/** Takes down what a copy stores. */
export interface CopyNotes {
  relation(path: string, stored: StoredContent): void;
  base(facts: BaseFacts, manifest: Buffer, kind: 'whole' | 'changed'): void;
}

export interface KeptCopy {
  /** Absent: everything has to be read. */
  last: LastCopy | undefined;
  notes: CopyNotes;
  /** What the database has to remember of this copy. */
  name: string;
  /** What was noted is the last copy from now on. @throws what went wrong with noting it: the next copy reads everything then */
  keep(): void;
  /** Safe to call at any time; without `keep` what was noted is gone. */
  close(): void;
}

interface Expected {
  /** What the database remembers. */
  name: string | undefined;
  /** Other keys give other ids, another size other chunks. */
  generation: number;
  chunkBytes: number;
  now: Date;
}

export function openLastCopy(path: string, expected: Expected): KeptCopy {
  const beside = `${path}.new`;
  const name = randomUUID();
  const before = openBefore(path, expected);
  const noted = openNotes(beside);
  const { generation, chunkBytes, now } = expected;
  return {
    last: before?.last,
    name,
    notes: {
      relation(file, stored) {
        const row = [file, stored.size, stored.ids, stored.digests, checkOf(file, stored)];
        noted.write('insert or replace into relations values (?, ?, ?, ?, ?)', row);
      },
      base({ timeline, startLsn }, manifest, kind) {
        const wholeAt = kind === 'whole' ? now.toISOString() : (before?.wholeAt ?? '');
        const facts = { version: VERSION, name, generation, chunkBytes, timeline, startLsn, wholeAt };
        const insert = 'insert into facts values (?, ?)';
        noted.write(insert, ['facts', JSON.stringify(facts)]);
        noted.write(insert, ['manifest', manifest]);
        noted.write(insert, ['manifestHash', createHash('sha256').update(manifest).digest()]);
      },
    },
    keep() {
      before?.db.close();
      noted.finish(() => {
        renameSync(beside, path);
      });
      if (noted.failure() !== undefined) throw noted.failure();
    },
    close() {
      if (before?.db.isOpen === true) before.db.close();
      noted.finish(() => undefined);
      // What cannot be removed is written over the next time.
      noted.attempt(() => {
        rmSync(beside, { force: true });
      });
    },
  };
}

/** A file that goes wrong, on a full disk for example, must not end the copy that it tells of: it says so in the end. */
function openNotes(path: string) {
  let db: DatabaseSync | undefined;
  let failure: unknown;
  const statements = new Map<string, StatementSync>();
  const attempt = (act: () => void): void => {
    if (failure !== undefined) return;
    try {
      act();
    } catch (error) {
      failure = explainCatalogueError(error);
    }
  };
  attempt(() => {
    db = createFile(path);
    db.exec('begin');
  });
  return {
    attempt,
    write(text: string, values: SQLInputValue[]): void {
      attempt(() => {
        const statement = statements.get(text) ?? db?.prepare(text);
        if (statement === undefined) return;
        statements.set(text, statement);
        statement.run(...values);
      });
    },
    /** Ends writing, once; then `act`. */
    finish(act: () => void): void {
      const open = db;
      db = undefined;
      if (open === undefined) return;
      attempt(() => {
        open.exec('commit');
      });
      if (open.isOpen) open.close();
      attempt(() => {
        syncFile(path);
        act();
      });
    },
    failure: () => failure,
  };
}

function createFile(path: string): DatabaseSync {
  mkdirSync(dirname(path), { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  rmSync(path, { force: true });
  // SQLite takes the mode of what is there.
  closeSync(openSync(path, 'wx', PRIVATE_FILE_MODE));
  const db = new DatabaseSync(path);
  // A file that was not finished is never read, so nothing has to be made safe on the way.
  db.exec(`
    pragma journal_mode = off;
    pragma synchronous = off;
    create table facts (name text primary key, value blob not null) without rowid;
    create table relations (
      path text primary key, size integer not null, ids blob not null, digests blob not null, hash blob not null
    )`);
  return db;
}

function syncFile(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

interface Before {
  db: DatabaseSync;
  last: LastCopy;
  wholeAt: string;
}

/** Whatever is wrong with the file: it is not there. */
function openBefore(path: string, expected: Expected): Before | undefined {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true });
    const opened = readBefore(db, expected);
    if (opened === undefined) db.close();
    return opened;
  } catch {
    if (db?.isOpen === true) db.close();
    return undefined;
  }
}

function readBefore(db: DatabaseSync, expected: Expected): Before | undefined {
  const read = db.prepare('select value from facts where name = ?');
  const facts = JSON.parse(String(read.get('facts')?.value)) as Partial<Record<string, unknown>>;
  const { version, name, generation, chunkBytes, timeline, startLsn, wholeAt } = facts;
  if (version !== VERSION || name !== expected.name) return undefined;
  if (generation !== expected.generation || chunkBytes !== expected.chunkBytes) return undefined;
  if (typeof timeline !== 'number' || typeof startLsn !== 'string' || typeof wholeAt !== 'string')
    return undefined;
  const ageMs = expected.now.getTime() - Date.parse(wholeAt);
  // A clock that was set back counts as too long ago.
  if (!(ageMs >= 0 && ageMs < WHOLE_EVERY_MS)) return undefined;
  const manifest = bytesOf(read.get('manifest')?.value);
  if (
    !createHash('sha256')
      .update(manifest)
      .digest()
      .equals(bytesOf(read.get('manifestHash')?.value))
  )
    return undefined;
  const find = db.prepare('select size, ids, digests, hash from relations where path = ?');
  return {
    db,
    wholeAt,
    last: {
      ...{ manifest, timeline, startLsn },
      find(file) {
        const row = find.get(file);
        if (row === undefined) return undefined;
        const stored = { size: Number(row.size), ids: bytesOf(row.ids), digests: bytesOf(row.digests) };
        return checkOf(file, stored).equals(bytesOf(row.hash)) ? stored : undefined;
      },
    },
  };
}

function bytesOf(value: unknown): Buffer {
  if (!(value instanceof Uint8Array)) throw new TypeError('not bytes');
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** A bit that turned in this file would be a wrong hash in a snapshot. */
function checkOf(path: string, { size, ids, digests }: StoredContent): Buffer {
  return createHash('sha256')
    .update(`${path}\0${String(size)}\0`)
    .update(ids)
    .update(digests)
    .digest();
}
