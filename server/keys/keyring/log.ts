/**
 * The append-only log of a keyring epoch. A record is length, complement of the length, sealed block; the sequence number and
 * the epoch are in its additional data, so that records cannot be dropped from the middle, reordered or carried over.
 *
 * Torn or damaged? A record that power loss cut off is short, or ends in zeros where nothing was written: it was never
 * acknowledged and is dropped. Anything else that does not open was changed after it was acknowledged, and is refused.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { BLOCK_OVERHEAD, openBlock, sealBlock } from './root-key.ts';

const HEADER_BYTES = 8;
const TAG_BYTES = 16;
/** Longest sealed record, bytes. */
const MAX_RECORD_BYTES = 8 * 1024 * 1024;

/** One record as stored. */
export function encodeLogRecord(key: Uint8Array, epoch: number, sequence: number, lines: string): Buffer {
  const plaintext = Buffer.from(lines);
  const sealed = sealBlock(key, logContext(epoch, sequence), plaintext);
  plaintext.fill(0);
  if (sealed.length > MAX_RECORD_BYTES) {
    throw new HoldfastError('too_large', 'Too many keys were changed in one step');
  }
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(sealed.length, 0);
  header.writeUInt32BE(~sealed.length >>> 0, 4);
  return Buffer.concat([header, sealed]);
}

export interface LogContent {
  /** Plaintext lines of each whole record. */
  records: string[];
  /** Bytes of the whole records; the rest is torn. */
  length: number;
  /** Bytes that power loss left behind the last whole record. */
  tornBytes: number;
}

/** Reads a log. @throws integrity_failure when an acknowledged record was changed. */
export function decodeLog(key: Uint8Array, epoch: number, bytes: Buffer): LogContent {
  const records: string[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const end = recordEnd(bytes, offset);
    if (end === undefined) break;
    const plaintext = openBlock(
      key,
      logContext(epoch, records.length + 1),
      bytes.subarray(offset + HEADER_BYTES, end),
    );
    records.push(plaintext.toString('utf8'));
    plaintext.fill(0);
    offset = end;
  }
  return { records, length: offset, tornBytes: bytes.length - offset };
}

/** Where the record at `offset` ends; undefined when it and all after it is torn. */
function recordEnd(bytes: Buffer, offset: number): number | undefined {
  if (isZero(bytes, offset)) return undefined;
  if (bytes.length - offset < HEADER_BYTES) return undefined;
  const length = bytes.readUInt32BE(offset);
  const complement = bytes.readUInt32BE(offset + 4);
  if (length !== ~complement >>> 0 || length < BLOCK_OVERHEAD || length > MAX_RECORD_BYTES) {
    // The header's first half written, the second not: only possible at the very end.
    if (complement === 0 && isZero(bytes, offset + 4)) return undefined;
    throw new HoldfastError('integrity_failure', 'The keyring log is damaged', {
      hint: 'Nothing was changed. Recover the keyring from a backup with the recovery kit.',
      detail: `record header at byte ${offset}`,
    });
  }
  const end = offset + HEADER_BYTES + length;
  if (end > bytes.length) return undefined;
  return isZero(bytes, end - TAG_BYTES) ? undefined : end;
}

function isZero(bytes: Buffer, from: number): boolean {
  for (let index = from; index < bytes.length; index++) if (bytes[index] !== 0) return false;
  return true;
}

function logContext(epoch: number, sequence: number): string[] {
  return ['holdfast/keyring-log/1', String(epoch), String(sequence)];
}
