/**
 * From which snapshot and which pieces of the log a chosen moment is restored, or why it cannot be. Pure: it looks at names and at
 * what snapshots say of themselves, so a refusal comes before anything is fetched.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { formatLsn, parseLsn } from '../../lib/postgres/index.ts';
import { sameChain, walPieceName, type WalChain, type WalPieceName } from './wal-names.ts';

/** A snapshot that the log can go on from. */
export interface Base extends WalChain {
  id: string;
  number: number;
  takenAt: Date;
  /** Its restore point. */
  endLsn: bigint;
}

/** Pieces that continue each other. */
export interface Stretch extends WalChain {
  from: bigint;
  to: bigint;
  completeAt: Date;
  pieces: WalPieceName[];
}

/** What can be restored without a break: from a snapshot to the end of a stretch. */
export interface Window extends WalChain {
  from: Date;
  to: Date;
  fromLsn: bigint;
  toLsn: bigint;
  /** Oldest first. */
  bases: Base[];
  stretch: Stretch;
}

/** What a person chose. */
export type ChosenPoint = { kind: 'time'; at: Date } | { kind: 'lsn'; at: bigint };

export interface PointPlan {
  base: Base;
  /** In the order of the log: from the base's end to the chosen point. */
  pieces: WalPieceName[];
  window: Window;
  /** The database's clock went back somewhere in these pieces: a time may have come twice. */
  clockWentBack: boolean;
}

/** Pieces of each chain, joined where one begins at the end of the one before. Pieces that say the same are one. */
export function stretchesOf(pieces: readonly WalPieceName[]): Stretch[] {
  const sorted = [...pieces].sort(
    (a, b) =>
      (a.systemId === b.systemId ? 0 : a.systemId < b.systemId ? -1 : 1) ||
      a.timeline - b.timeline ||
      (a.life === b.life ? 0 : a.life < b.life ? -1 : 1) ||
      compare(a.from, b.from) ||
      compare(a.to, b.to),
  );
  const stretches: Stretch[] = [];
  for (const piece of sorted) {
    const last = stretches.at(-1);
    const continues = last !== undefined && sameChain(last, piece) && piece.from <= last.to;
    if (!continues) {
      const { systemId, timeline, life, from, to } = piece;
      stretches.push({
        systemId,
        timeline,
        life,
        from,
        to,
        completeAt: new Date(piece.atMs),
        pieces: [piece],
      });
    } else if (piece.to > last.to) {
      last.pieces.push(piece);
      last.to = piece.to;
      last.completeAt = new Date(Math.max(last.completeAt.getTime(), piece.atMs));
    }
  }
  return stretches;
}

/** In the order of time. */
export function windowsOf(bases: readonly Base[], pieces: readonly WalPieceName[]): Window[] {
  const windows: Window[] = [];
  for (const stretch of stretchesOf(pieces)) {
    const own = bases
      .filter((base) => sameChain(base, stretch) && base.endLsn >= stretch.from && base.endLsn <= stretch.to)
      .sort((a, b) => compare(a.endLsn, b.endLsn));
    const [first] = own;
    if (first === undefined) continue;
    const { systemId, timeline, life, to, completeAt } = stretch;
    windows.push({
      ...{ systemId, timeline, life, from: first.takenAt, to: completeAt, fromLsn: first.endLsn, toLsn: to },
      ...{ bases: own, stretch },
    });
  }
  return windows
    .filter((window) => window.to >= window.from)
    .sort((a, b) => a.from.getTime() - b.from.getTime());
}

/** @throws HoldfastError `not_found` with the nearest moments that can be restored; `integrity_failure` where two appliances have shipped */
export function planPoint(
  bases: readonly Base[],
  pieces: readonly WalPieceName[],
  chosen: ChosenPoint,
): PointPlan {
  const windows = windowsOf(bases, pieces);
  const window = windows.findLast((one) => holds(one, chosen));
  if (window === undefined) throw refuse(windows, chosen);
  const base = window.bases.findLast((one) => isBefore(one, chosen));
  if (base === undefined) throw refuse(windows, chosen);
  const after = window.stretch.pieces.filter((piece) => piece.to > base.endLsn);
  const last = after.findIndex((piece) =>
    chosen.kind === 'time' ? piece.atMs >= chosen.at.getTime() : piece.to >= chosen.at,
  );
  const needed = last < 0 ? after : after.slice(0, last + 1);
  // Where a piece ends with the snapshot, that one shows whose log it is.
  const anchor = window.stretch.pieces.filter((piece) => piece.to === base.endLsn && needed.length > 0);
  refuseFork([...anchor, ...needed], pieces);
  const times = [base.takenAt.getTime(), ...needed.map((piece) => piece.atMs)];
  return {
    ...{ base, window, pieces: needed },
    clockWentBack: times.some(
      (atMs, index) => index > 0 && atMs < (times[index - 1] ?? 0) - CLOCK_TOLERANCE_MS,
    ),
  };
}

/** While a copy of the appliance ships unnoticed, both do it under one name. Nothing says whose log a person wants. */
function refuseFork(needed: readonly WalPieceName[], all: readonly WalPieceName[]): void {
  const [first, last] = [needed.at(0), needed.at(-1)];
  if (first === undefined || last === undefined) return;
  const there = all
    .filter((one) => sameChain(one, first) && one.from < last.to && one.to > first.from)
    .sort((a, b) => compare(a.from, b.from));
  let reached = 0n;
  const other = there.find((one) => {
    const isHeld = one.from < reached;
    if (one.to > reached) reached = one.to;
    return isHeld;
  });
  if (other === undefined) return;
  const from = formatLsn(other.from);
  throw new HoldfastError(
    'integrity_failure',
    `Two pieces of the write-ahead log on this target hold what follows ${from}: a copy of the appliance has shipped there too`,
    {
      hint: `Choose a position up to ${from}, a moment after the appliance was released from quarantine, or restore a snapshot.`,
      detail: walPieceName(other),
    },
  );
}

/** The snapshot's time is the appliance's, the pieces' is the database's. */
const CLOCK_TOLERANCE_MS = 2_000;

function holds(window: Window, chosen: ChosenPoint): boolean {
  if (chosen.kind === 'lsn') return window.fromLsn <= chosen.at && chosen.at <= window.toLsn;
  return window.from <= chosen.at && chosen.at <= window.to;
}

function isBefore(base: Base, chosen: ChosenPoint): boolean {
  return chosen.kind === 'lsn' ? base.endLsn <= chosen.at : base.takenAt <= chosen.at;
}

function refuse(windows: readonly Window[], chosen: ChosenPoint): HoldfastError {
  if (windows.length === 0) {
    return new HoldfastError('not_found', 'No moment can be restored from this target yet', {
      hint: 'It holds no snapshot that shipped pieces of the write-ahead log go on from. Restore a snapshot instead.',
    });
  }
  const inTime = chosen.kind === 'time';
  const before = windows.findLast((one) => (inTime ? one.to < chosen.at : one.toLsn < chosen.at));
  const after = windows.find((one) => (inTime ? one.from > chosen.at : one.fromLsn > chosen.at));
  const wanted = inTime ? chosen.at.toISOString() : formatLsn(chosen.at);
  const end = before && (inTime ? before.to.toISOString() : formatLsn(before.toLsn));
  const begin = after && (inTime ? after.from.toISOString() : formatLsn(after.fromLsn));
  if (end === undefined) {
    return new HoldfastError('not_found', `${wanted} is before the first moment that can be restored`, {
      hint: `The first one is ${begin ?? 'not known'}.`,
    });
  }
  if (begin === undefined) {
    return new HoldfastError('not_found', `${wanted} is after the last moment that was shipped`, {
      hint: `The last one is ${end}.`,
    });
  }
  return new HoldfastError('not_found', `${wanted} lies in a gap: nothing of then was shipped`, {
    hint: `The nearest moments are ${end} before it and ${begin} after it.`,
  });
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What a person typed. @throws HoldfastError `invalid_input` */
export function parsePoint(given: { time?: string | undefined; lsn?: string | undefined }): ChosenPoint {
  if ((given.time === undefined) === (given.lsn === undefined)) {
    throw new HoldfastError('invalid_input', 'Give a time or a position in the log, one of them');
  }
  if (given.lsn !== undefined) return { kind: 'lsn', at: parseLsn(given.lsn) };
  const time = given.time ?? '';
  const at = new Date(time);
  // Without a zone it would be read in that of whichever machine this is.
  if (
    !/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/.test(time) ||
    Number.isNaN(at.getTime())
  ) {
    throw new HoldfastError('invalid_input', `Not an instant: ${time.slice(0, 64)}`, {
      hint: 'Give date, time and zone, for example 2030-01-31T14:05:00Z.',
    });
  }
  return { kind: 'time', at };
}
