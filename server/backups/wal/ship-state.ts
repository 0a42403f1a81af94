/**
 * What shipping remembers from one round to the next: how far each target is, which stored files it has, and what it was about to
 * write. It lies in a file of its own, not in the database: a row that changed with each piece would be in the next piece.
 *
 * Guarantees: a change is whole and durable, or did not happen. Lost, it costs a declared gap, never a wrong position.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { dataPaths } from '../../lib/data-folder.ts';
import { isSystemError } from '../../lib/errors.ts';
import { PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE } from '../../lib/files.ts';
import type { WrittenPack } from '../engine.ts';
import type { WalPieceName } from './wal-names.ts';
import type { GapReason } from './wal-piece.ts';
import { createLags, createTables, prepareQueries, SHIP_STATE_VERSION } from './ship-queries.ts';

/** How far one target is. */
export interface ShipPosition {
  targetId: string;
  systemId: string;
  timeline: number;
  life: string;
  segmentBytes: number;
  /** Where this unbroken stretch began. */
  start: bigint;
  startAt: Date;
  /** All before it is on the target. */
  position: bigint;
  /** What was committed before this instant is on the target. */
  completeAt: Date;
  /** Of the newest piece; 0 for none. */
  number: number;
  previous: string | null;
  /** Highest number of a `files/` object there; 0 for none. */
  born: number;
  /** The one before this stretch. */
  lastGap: ShipPosition['gap'];
  /** To be declared by the next piece. */
  gap: { from: bigint | null; since: Date | null; reason: GapReason } | null;
  /** The piece that is being written. */
  intent: (WalPieceName & { number: number; storedBytes: number }) | null;
}

export interface ShippedPiece extends WalPieceName {
  number: number;
  storedBytes: number;
}

/** The last bytes of the log before a position, to know it again by. */
export interface LogMark {
  timeline: number;
  segmentBytes: number;
  from: bigint;
  to: bigint;
  sha256: string;
}

/** When the database was off, in milliseconds of the Unix epoch. @see time-off.ts */
export interface TimeOff {
  fromMs: number;
  toMs: number;
}

/** Whose log it was at the last look. */
export interface LogHistory {
  appliance: string;
  systemId: string;
  timeline: number;
}

export interface BornRecord {
  number: number;
  sha256: string;
  packs: WrittenPack[];
  takenOver: boolean;
}

/** What the last round on a target came to, for people. */
export interface ShipReport {
  state: 'shipping' | 'away' | 'waiting' | 'stopped';
  /** Since when it is in that state. */
  since: string;
  /** Up to when what was committed is on the target; null before the first piece. */
  completeAt: string | null;
  pendingBytes: number;
  lookedAt: string;
  problem: { code: string; message: string; hint?: string } | null;
}

export interface ShipView {
  find(targetId: string): ShipPosition | undefined;
  list(): ShipPosition[];
  pieces(targetId: string): ShippedPiece[];
  born(targetId: string): BornRecord[];
  /** The highest number of a `files/` object that was given out, for whichever target; 0 for none. */
  lastBorn(): number;
  reports(): Map<string, ShipReport>;
  /** When the database was off, in the last month. */
  offs(): TimeOff[];
  /** Of the log as it is shipped now; empty for one that began before lives had names. */
  life(): string;
  /** Seconds that a target was behind at worst since then, by the hour; null where nothing was measured. */
  worstLag(targetId: string, since: Date): number | null;
}

export interface ShipState extends ShipView {
  /** Begins or goes on; everything of it at once. */
  save(position: ShipPosition): void;
  /** The piece is on the target, and `position` says so. */
  shipped(position: ShipPosition, piece: ShippedPiece, mark?: LogMark): void;
  /** Of the newest pieces. */
  marks(): { targetId: string; mark: LogMark }[];
  /** Undefined before the first look. */
  history(): LogHistory | undefined;
  noteHistory(history: LogHistory): void;
  /** Unless somebody else did so since it was `before`. */
  renewLife(before: string): void;
  setComplete(targetId: string, at: Date): void;
  /**
   * The number of the next `files/` object, of one series for all targets: a snapshot is the same object on each of them, and says up to
   * which number it has the files. Never given out twice.
   */
  nextBorn(): number;
  /** No number up to this one is given out any more. */
  raiseBorn(atLeast: number): void;
  /** These files are on the target, listed by that object. */
  bornShipped(
    position: ShipPosition,
    record: Omit<BornRecord, 'takenOver'>,
    contents: readonly string[],
  ): void;
  takenOver(targetId: string, upTo: number): void;
  /** Those of a folder that the target has. */
  known(targetId: string, folder: string): Set<string>;
  learn(targetId: string, contents: readonly string[]): void;
  unlearn(targetId: string, contents: readonly string[]): void;
  forgetKnown(targetId: string): void;
  report(targetId: string, report: ShipReport): void;
  /** Kept for a month. */
  noteOff(off: TimeOff): void;
  /** The worst of each hour is kept, for a month. */
  noteLag(targetId: string, at: Date, seconds: number): void;
  /** Objects that are not on the target any more. */
  removed(targetId: string, sha256s: Iterable<string>): void;
  /** Everything about a target. */
  forget(targetId: string): void;
  close(): void;
}

export function shipStatePath(dataDir: string): string {
  return join(dataPaths(dataDir).catalogue, 'wal.sqlite');
}

/** For the one process that ships, and for work on the repository, one change at a time. */
export function openShipState(dataDir: string): ShipState {
  const path = shipStatePath(dataDir);
  mkdirSync(dirname(path), { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  try {
    return wrap(open(path));
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    // Begun anew, which is declared as a gap.
    for (const end of ['', '-wal', '-shm', '-journal']) rmSync(`${path}${end}`, { force: true });
    return wrap(open(path));
  }
}

const LAST_BORN = 'last-born';
const LIFE = 'life';
const HISTORY = 'history';
const MARK = 'mark ';
const OFFS = 'offs';

/** SQLite's numbers for a damaged file and for one that is no database. A full disk or a lock says nothing about what is in it. */
const DAMAGED = [11, 26];

function isUnreadable(error: unknown): boolean {
  if (error instanceof OtherVersion) return true;
  const { errcode } = error as { errcode?: unknown };
  return typeof errcode === 'number' && DAMAGED.includes(errcode & 0xff);
}

class OtherVersion extends Error {}

/** Beside whoever ships. @returns undefined when nothing was ever shipped, or it cannot be read */
export function readShipState<T>(dataDir: string, read: (view: ShipView) => T): T | undefined {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(shipStatePath(dataDir), { readOnly: true });
    db.exec('pragma busy_timeout = 2000; begin');
    return read(view(prepareQueries(db)));
  } catch {
    return undefined;
  } finally {
    if (db?.isOpen === true) db.close();
  }
}

function open(path: string): DatabaseSync {
  makeFile(path);
  const db = new DatabaseSync(path);
  db.exec('pragma busy_timeout = 10000; pragma journal_mode = wal; pragma synchronous = full');
  const made = db.prepare(`select count(*) as n from sqlite_master where name = 'facts'`).get()?.n;
  if (made === 0) {
    db.exec(
      `begin immediate; ${createTables}
      insert into facts values ('version', '${SHIP_STATE_VERSION}'), ('${LIFE}', '${newLife()}'); commit`,
    );
  }
  db.exec(createLags);
  const version = prepareQueries(db).findFact.get('version')?.value;
  if (version === SHIP_STATE_VERSION) return db;
  db.close();
  throw new OtherVersion('written by another version');
}

/** For the accounts of the machine that share the data: SQLite would make it, and what lies beside it, for its maker alone. */
function makeFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', PRIVATE_FILE_MODE));
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
}

function newLife(): string {
  return randomBytes(8).toString('hex');
}

const HOUR_MS = 3_600_000;
const LAGS_KEPT_MS = 31 * 24 * HOUR_MS;
const hourOf = (at: Date): number => Math.floor(at.getTime() / HOUR_MS) * HOUR_MS;

type Queries = ReturnType<typeof prepareQueries>;
type Row = Record<string, unknown>;

function view(q: Queries): ShipView {
  return {
    find: (targetId) => {
      const row = q.findTarget.get(targetId);
      return row === undefined ? undefined : toPosition(row);
    },
    list: () => q.listTargets.all().map(toPosition),
    pieces: (targetId) => q.listPieces.all(targetId).map(toPiece),
    born: (targetId) => q.listBorn.all(targetId).map(toBorn),
    lastBorn: () => Number(q.findFact.get(LAST_BORN)?.value ?? 0),
    life: () => text(q.findFact.get(LIFE)?.value),
    worstLag: (targetId, since) => {
      const seconds = q.worstLag.get(targetId, hourOf(since))?.seconds;
      return seconds == null ? null : Number(seconds);
    },
    offs: () => JSON.parse(text(q.findFact.get(OFFS)?.value) || '[]') as TimeOff[],
    reports: () =>
      new Map(
        q.listReports.all().map((row) => [text(row.target_id), JSON.parse(text(row.content)) as ShipReport]),
      ),
  };
}

function wrap(db: DatabaseSync): ShipState {
  const q = prepareQueries(db);
  const change = <T>(act: () => T): T => {
    db.exec('begin immediate');
    try {
      const result = act();
      db.exec('commit');
      return result;
    } catch (error) {
      db.exec('rollback');
      throw error;
    }
  };
  const save = (one: ShipPosition): void => {
    q.upsertTarget.run(
      ...[one.targetId, withLife(one), one.timeline, one.segmentBytes, hex(one.start), one.startAt.getTime()],
      ...[hex(one.position), one.completeAt.getTime(), one.number, one.previous, one.born],
      one.gap === null ? null : JSON.stringify(one.gap, asText),
      one.lastGap === null ? null : JSON.stringify(one.lastGap, asText),
      one.intent === null ? null : JSON.stringify(one.intent, asText),
    );
  };
  const learn = (targetId: string, contents: readonly string[]): void => {
    for (const content of contents) q.insertKnown.run(targetId, content);
  };
  const known = view(q);
  const raiseBorn = (number: number): void => {
    if (number > known.lastBorn()) q.upsertFact.run(LAST_BORN, String(number));
  };
  return {
    ...known,
    nextBorn: () =>
      change(() => {
        const number = known.lastBorn() + 1;
        raiseBorn(number);
        return number;
      }),
    raiseBorn: (atLeast) => change(() => raiseBorn(atLeast)),
    save: (position) => change(() => save(position)),
    shipped: (position, piece, mark) =>
      change(() => {
        save(position);
        if (mark !== undefined) q.upsertFact.run(MARK + position.targetId, JSON.stringify(mark, asText));
        q.insertPiece.run(
          ...[
            position.targetId,
            piece.number,
            withLife(piece),
            piece.timeline,
            hex(piece.from),
            hex(piece.to),
          ],
          ...[piece.atMs, piece.storedBytes, piece.sha256],
        );
      }),
    marks: () =>
      q.listFacts
        .all(`${MARK}%`)
        .map((row) => ({ targetId: text(row.name).slice(MARK.length), mark: toMark(text(row.value)) })),
    history: () => {
      const row = q.findFact.get(HISTORY);
      return row === undefined ? undefined : (JSON.parse(text(row.value)) as LogHistory);
    },
    noteHistory: (history) => void q.upsertFact.run(HISTORY, JSON.stringify(history)),
    renewLife: (before) =>
      change(() => {
        if (known.life() === before) q.upsertFact.run(LIFE, newLife());
      }),
    setComplete: (targetId, at) => void q.setComplete.run(at.getTime(), targetId),
    bornShipped: (position, { number, sha256, packs }, contents) =>
      change(() => {
        save(position);
        q.insertBorn.run(position.targetId, number, sha256, JSON.stringify(packs));
        learn(position.targetId, contents);
      }),
    takenOver: (targetId, upTo) => void q.markTakenOver.run(targetId, upTo),
    known: (targetId, folder) =>
      new Set(q.listKnown.all(targetId, folder, `${folder}g`).map((row) => text(row.content))),
    learn: (targetId, contents) => change(() => learn(targetId, contents)),
    unlearn: (targetId, contents) =>
      change(() => {
        for (const content of contents) q.deleteKnown.run(targetId, content);
      }),
    forgetKnown: (targetId) => void q.forgetKnown.run(targetId),
    report: (targetId, report) => void q.upsertReport.run(targetId, JSON.stringify(report)),
    noteOff: (off) =>
      change(() => {
        const others = known.offs().filter(({ toMs }) => toMs < off.toMs && toMs > off.toMs - LAGS_KEPT_MS);
        q.upsertFact.run(OFFS, JSON.stringify([...others, off]));
      }),
    noteLag: (targetId, at, seconds) =>
      change(() => {
        q.upsertLag.run(targetId, hourOf(at), Math.ceil(seconds));
        q.deleteLagsBefore.run(at.getTime() - LAGS_KEPT_MS);
      }),
    removed: (targetId, sha256s) =>
      change(() => {
        for (const sha256 of sha256s) {
          q.deletePiece.run(targetId, sha256);
          q.deleteBorn.run(targetId, sha256);
        }
      }),
    forget: (targetId) =>
      change(() => {
        for (const each of [
          q.deleteTarget,
          q.forgetKnown,
          q.forgetPieces,
          q.forgetBorn,
          q.forgetLags,
          q.deleteReport,
        ]) {
          each.run(targetId);
        }
        q.deleteFact.run(MARK + targetId);
      }),
    close: () => db.close(),
  };
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const hex = (position: bigint): string => position.toString(16).toUpperCase().padStart(16, '0');
const lsn = (value: unknown): bigint => BigInt(`0x${text(value)}`);
const asText = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? hex(value) : value);

function toPosition(row: Row): ShipPosition {
  return {
    targetId: text(row.target_id),
    ...splitLife(text(row.system_id)),
    timeline: Number(row.timeline),
    segmentBytes: Number(row.segment_bytes),
    start: lsn(row.start_lsn),
    startAt: new Date(Number(row.start_ms)),
    position: lsn(row.position),
    completeAt: new Date(Number(row.complete_ms)),
    number: Number(row.number),
    previous: row.previous === null ? null : text(row.previous),
    born: Number(row.born),
    gap: row.gap === null ? null : toGap(JSON.parse(text(row.gap)) as Row),
    lastGap: row.last_gap === null ? null : toGap(JSON.parse(text(row.last_gap)) as Row),
    intent: row.intent === null ? null : toIntent(JSON.parse(text(row.intent)) as Row),
  };
}

function toGap(value: Row): ShipPosition['gap'] {
  return {
    from: value.from === null ? null : lsn(value.from),
    since: value.since === null ? null : new Date(text(value.since)),
    reason: value.reason as GapReason,
  };
}

/** In one column: a file of before lives had names goes on as it is. */
function withLife({ systemId, life }: { systemId: string; life: string }): string {
  return life === '' ? systemId : `${systemId}-${life}`;
}

function splitLife(kept: string): { systemId: string; life: string } {
  const [systemId = '', life = ''] = kept.split('-');
  return { systemId, life };
}

function toMark(kept: string): LogMark {
  const value = JSON.parse(kept) as Row;
  return { ...(value as unknown as LogMark), from: lsn(value.from), to: lsn(value.to) };
}

function toIntent(value: Row): ShippedPiece {
  const { life, from, to } = value;
  return { ...(value as unknown as ShippedPiece), life: text(life), from: lsn(from), to: lsn(to) };
}

function toPiece(row: Row): ShippedPiece {
  return {
    number: Number(row.number),
    ...splitLife(text(row.system_id)),
    timeline: Number(row.timeline),
    from: lsn(row.from_lsn),
    to: lsn(row.to_lsn),
    atMs: Number(row.at_ms),
    storedBytes: Number(row.stored_bytes),
    sha256: text(row.sha256),
  };
}

function toBorn(row: Row): BornRecord {
  return {
    number: Number(row.number),
    sha256: text(row.sha256),
    packs: JSON.parse(text(row.packs)) as WrittenPack[],
    takenOver: row.taken_over === 1,
  };
}
