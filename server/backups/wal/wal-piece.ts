/**
 * `wal/…`: a piece of PostgreSQL's write-ahead log. In the age file lies one zstd frame with the bytes of the log, and behind it a
 * skippable frame with what they are, and the signature over everything before it; so `age -d | zstd -d` gives the plain log.
 * @see FORMAT.md "wal"
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { VerifyKey } from '../../keys/index.ts';
import { appendSignature, verifySignature } from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { parseLsn } from '../../lib/postgres/index.ts';
import {
  damagedObject,
  type JsonRecord,
  readCount,
  readInstant,
  readList,
  readRecord,
  readText,
} from '../objects/object-fields.ts';
import { checkHeader, headerOf, parseLine, type ObjectSigner } from '../objects/object-lines.ts';
import { parseKeyringName } from '../objects/object-names.ts';
import type { KeyringState } from '../objects/head-object.ts';

/** A piece is compressed, sealed and read in memory. PostgreSQL's usual segment is as long. */
export const MAX_PIECE_BYTES = 16 * 1024 * 1024;
/** One of the sixteen kinds of skippable frames; packs use the others' first. */
const FRAME_MAGIC = 0x184d2a57;
const NEWLINE = 0x0a;
/** `{"signature":"…","keyId":"…"}` and a newline: base64 of 64 bytes, 16 hex digits. */
const SIGNATURE_BYTES = 132;

/** Why what comes before a piece is not there. */
export const GAP_REASONS = ['away', 'slot-lost', 'position-lost', 'switched-off', 'new-timeline'] as const;
export type GapReason = (typeof GAP_REASONS)[number];

/** Declared by the piece that comes after it: what lies between is on this target in no piece. */
export interface WalGap {
  /** Where the piece before ended; null where that is not known any more, or was of another chain. */
  from: string | null;
  /** RFC 3339; when the last piece before was complete. */
  since: string | null;
  reason: GapReason;
}

export interface WalPiece {
  /** Counts the pieces on this target, of all chains; never used twice. */
  number: number;
  systemId: string;
  timeline: number;
  /** Empty for what was shipped before lives had names. @see life.ts */
  life: string;
  segmentBytes: number;
  /** `X/Y` */
  from: string;
  to: string;
  /** RFC 3339: what was committed before lies before `to`. */
  completeAt: string;
  /** Hash in the name of the piece before on this target; null for the first. */
  previous: string | null;
  gap: WalGap | null;
  /** The keyring that is new enough for every row of this piece: base and additions. */
  keyring: KeyringState;
  /** Highest number of a `files/` object that these rows may need; 0 for none. */
  bornFiles: number;
}

/** What is encrypted: the log's bytes, and what they are. @throws invalid_input when they are not as many as `piece` says */
export async function encodeWalPiece(
  repositoryId: string,
  piece: WalPiece,
  bytes: Uint8Array,
  signer: ObjectSigner,
): Promise<Buffer> {
  if (bytes.length !== lengthOf(piece)) {
    throw new HoldfastError('internal', 'A piece of the log has another length than its positions say');
  }
  const frame = zstdCompressSync(bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 },
  });
  const header = headerOf({ type: 'wal', repositoryId, number: piece.number });
  const { life, ...rest } = piece;
  const wal = life === '' ? rest : piece;
  const lines = Buffer.from(`\n${JSON.stringify(header)}\n${JSON.stringify({ wal })}\n`);
  const start = Buffer.alloc(8);
  start.writeUInt32LE(FRAME_MAGIC, 0);
  start.writeUInt32LE(lines.length + SIGNATURE_BYTES, 4);
  const statement = { type: 'wal' as const, repositoryId, number: String(piece.number) };
  const body = Buffer.concat([frame, start, lines]);
  const signed = await appendSignature(body, statement, (whole) => signer.sign(whole));
  if (signed.length !== body.length + SIGNATURE_BYTES) {
    throw new HoldfastError('internal', 'A signature has another length than it can have');
  }
  return signed;
}

/**
 * @param expected from the names of the piece and of its repository.
 * @throws integrity_failure when it is not what was expected or not signed by one of `keys`; invalid_input for a newer format.
 */
export function decodeWalPiece(
  plaintext: Uint8Array,
  expected: { repositoryId: string },
  keys: readonly VerifyKey[],
): { piece: WalPiece; bytes: Buffer } {
  const { start, header, facts } = takeApart(plaintext);
  const number = readCount(readRecord(header), 'number');
  const place = { type: 'wal' as const, repositoryId: expected.repositoryId, number };
  verifySignature(plaintext, { ...place, number: String(number) }, keys);
  checkHeader(readRecord(header), place);
  const piece = readPiece(readRecord(readRecord(facts).wal), number);
  const length = lengthOf(piece);
  if (length <= 0 || length > MAX_PIECE_BYTES) throw damagedObject('a piece of the log is too long');
  const frame = Buffer.from(plaintext.buffer, plaintext.byteOffset, start);
  let bytes: Buffer;
  try {
    bytes = zstdDecompressSync(frame, { maxOutputLength: length });
  } catch (cause) {
    throw damagedObject('a piece of the log does not decompress', cause);
  }
  if (bytes.length !== length) throw damagedObject('a piece of the log is shorter than it says');
  return { piece, bytes };
}

/** Nothing of it is believed yet; the signature covers the bytes that were taken apart here. */
function takeApart(plaintext: Uint8Array): { start: number; header: unknown; facts: unknown } {
  const bytes = Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength);
  const ends: number[] = [];
  for (let at = bytes.length; ends.length < 4;) {
    at = at > 0 ? bytes.lastIndexOf(NEWLINE, at - 1) : -1;
    if (at < 0) throw damagedObject('a piece of the log is cut short');
    ends.push(at);
  }
  const [, factsEnd = 0, headerEnd = 0, first = 0] = ends;
  const start = first - 8;
  const whole =
    start > 0 &&
    bytes.readUInt32LE(start) === FRAME_MAGIC &&
    bytes.readUInt32LE(start + 4) === bytes.length - first;
  if (!whole) throw damagedObject('a piece of the log does not say what it is');
  return {
    start,
    header: parseLine(bytes.toString('utf8', first + 1, headerEnd)),
    facts: parseLine(bytes.toString('utf8', headerEnd + 1, factsEnd)),
  };
}

const LSN = /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/;
const HASH = /^[0-9a-f]{64}$/;

function readPiece(record: JsonRecord, number: number): WalPiece {
  return {
    number,
    systemId: readText(record, 'systemId', /^[1-9]\d{0,19}$/),
    timeline: readCount(record, 'timeline'),
    life: record.life === undefined ? '' : readText(record, 'life', /^[0-9a-f]{16}$/),
    segmentBytes: readCount(record, 'segmentBytes'),
    from: readText(record, 'from', LSN),
    to: readText(record, 'to', LSN),
    completeAt: readInstant(record, 'completeAt'),
    previous: record.previous === null ? null : readText(record, 'previous', HASH),
    gap: record.gap == null ? null : readGap(readRecord(record.gap)),
    keyring: readKeyring(readRecord(record.keyring)),
    bornFiles: readCount(record, 'bornFiles'),
  };
}

function readGap(record: JsonRecord): WalGap {
  const reason = GAP_REASONS.find((one) => one === record.reason);
  if (reason === undefined) throw damagedObject('a gap has no known reason');
  return {
    from: record.from === null ? null : readText(record, 'from', LSN),
    since: record.since === null ? null : readInstant(record, 'since'),
    reason,
  };
}

function readKeyring(record: JsonRecord): KeyringState {
  const objects = readList(record, 'objects').map(String);
  if (objects.some((name) => parseKeyringName(name) === undefined)) {
    throw damagedObject('a piece names a keyring object that cannot be one');
  }
  return { epoch: readText(record, 'epoch', /^\d{1,16}$/), objects };
}

function lengthOf({ from, to }: Pick<WalPiece, 'from' | 'to'>): number {
  return Number(parseLsn(to) - parseLsn(from));
}
