/**
 * Names of pieces of the write-ahead log and of the lists of files born since a snapshot. A piece's name says which bytes of the
 * log it holds and up to when they are complete, so that a listing alone tells what can be restored. Names are not trusted: what
 * is inside, signed, has to say the same. @see FORMAT.md "wal"
 */
import { type ObjectReference } from '../objects/object-names.ts';

/** The one source of a log so far: the section of snapshots that it continues. */
const SOURCE = 'database';

/** One line of history of one cluster. After a recovery a new one begins. */
export interface WalChain {
  /** PostgreSQL's system identifier, decimal. */
  systemId: string;
  timeline: number;
  /** 16 hex digits that no other life has; empty for what was shipped before lives had names. @see life.ts */
  life: string;
}

export interface WalPieceName extends WalChain {
  /** Positions in the log: from the first byte to behind the last. */
  from: bigint;
  to: bigint;
  /** What was committed before this instant lies before `to`. By the database's clock, whole milliseconds. */
  atMs: number;
  /** Hex, of the stored bytes. */
  sha256: string;
}

const PIECE =
  /^wal\/database\/([1-9]\d{0,19})\/([1-9]\d{0,9})(?:-([0-9a-f]{16}))?\/([0-9A-F]{16})-([0-9A-F]{16})-(0|[1-9]\d{0,14})-([0-9a-f]{64})\.age$/;
const BORN = /^files\/([1-9]\d{0,15})-([0-9a-f]{64})\.age$/;

export const WAL_PREFIX = 'wal/';
export const BORN_PREFIX = 'files/';

export function chainPrefix(chain: WalChain): string {
  const life = chain.life === '' ? '' : `-${chain.life}`;
  return `wal/${SOURCE}/${chain.systemId}/${String(chain.timeline)}${life}/`;
}

export function walPieceName(piece: WalPieceName): string {
  const range = `${hex(piece.from)}-${hex(piece.to)}`;
  return `${chainPrefix(piece)}${range}-${String(piece.atMs)}-${piece.sha256}.age`;
}

/** @returns undefined for a name that is not one of a piece. */
export function parseWalPieceName(name: string): WalPieceName | undefined {
  const [, systemId, timeline, life = '', from, to, atMs, sha256] = PIECE.exec(name) ?? [];
  if (systemId === undefined || from === undefined || to === undefined || sha256 === undefined)
    return undefined;
  const piece = {
    ...{ systemId, timeline: Number(timeline), life, sha256 },
    ...{ from: BigInt(`0x${from}`), to: BigInt(`0x${to}`), atMs: Number(atMs) },
  };
  return piece.from < piece.to ? piece : undefined;
}

export function bornName({ number, sha256 }: ObjectReference): string {
  return `files/${String(number)}-${sha256}.age`;
}

export function parseBornName(name: string): ObjectReference | undefined {
  const [, number, sha256] = BORN.exec(name) ?? [];
  if (number === undefined || sha256 === undefined || !Number.isSafeInteger(Number(number))) return undefined;
  return { number: Number(number), sha256 };
}

export function sameChain(a: WalChain, b: WalChain): boolean {
  return a.systemId === b.systemId && a.timeline === b.timeline && a.life === b.life;
}

function hex(position: bigint): string {
  return position.toString(16).toUpperCase().padStart(16, '0');
}
