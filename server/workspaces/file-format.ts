/**
 * The format of a stored file, shared by the writer (`seal-file.ts`) and the reader (`open-file.ts`). Written down for
 * strangers in README.md, section "Stored files".
 *
 * Guarantees: every byte that is read back was authenticated for its workspace, subject key, content, version and place;
 * a file that lost, gained or swapped segments does not open. Relies on: a data key that seals one content only, so that
 * counters can be nonces (NIST SP 800-38D section 8.2.1).
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { FileKeyContext } from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';

/** Plaintext bytes of every segment but the last. */
export const SEGMENT_BYTES = 1024 * 1024;
export const HEADER_BYTES = 8;
/** Flags and length before each segment. */
export const RECORD_HEADER_BYTES = 5;
/** Footer length and end mark. */
export const TRAILER_BYTES = 8;
const TAG_BYTES = 16;
/** Segment is one zstd frame. */
export const FLAG_ZSTD = 0x01;
/** Longest footer that is read: a file of some 5 TiB. */
const MAX_FOOTER_BYTES = 48 * 1024 * 1024;

const HEADER_MARK = Buffer.from('HFF1');
const END_MARK = Buffer.from('HFE1');
const CIPHER = 'aes-256-gcm';
const MIN_SEGMENT_BYTES = 1024;
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;

/** What a stored file is bound to, and its data key (32 bytes). */
export interface FileSeal extends FileKeyContext {
  key: Uint8Array;
}

/** What the footer says; all of it authenticated. */
export interface FileFooter {
  /** Plaintext bytes. */
  sizeBytes: number;
  /** Hex SHA-256 of the plaintext. */
  sha256: string;
  /** Equal to the header's. */
  segmentBytes: number;
  /** Stored length of each segment with its record header. */
  segments: number[];
}

/** Where a segment stands. */
export interface SegmentPlace {
  /** From 0. */
  number: number;
  flags: number;
  last: boolean;
}

export function encodeHeader(segmentBytes: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  HEADER_MARK.copy(header);
  header.writeUInt32BE(segmentBytes, 4);
  return header;
}

/** @returns plaintext bytes of a segment. @throws integrity_failure */
export function parseHeader(header: Buffer): number {
  if (header.length < HEADER_BYTES || !header.subarray(0, 4).equals(HEADER_MARK)) {
    throw damagedFile('no header of format 1');
  }
  const segmentBytes = header.readUInt32BE(4);
  if (segmentBytes < MIN_SEGMENT_BYTES || segmentBytes > MAX_SEGMENT_BYTES) throw damagedFile('segment size');
  return segmentBytes;
}

/** @returns record header, ciphertext and tag, to be stored in this order. */
export function sealSegment(seal: FileSeal, place: SegmentPlace, content: Uint8Array): Buffer[] {
  const cipher = createCipheriv(CIPHER, seal.key, segmentNonce(place.number));
  cipher.setAAD(segmentAad(seal, place));
  const body = cipher.update(content);
  cipher.final();
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  header.writeUInt8(place.flags, 0);
  header.writeUInt32BE(body.length + TAG_BYTES, 1);
  return [header, body, cipher.getAuthTag()];
}

/** @returns the content of a segment, still compressed when its flags say so. @throws integrity_failure */
export function openSegment(seal: FileSeal, place: SegmentPlace, sealed: Buffer): Buffer {
  return openSealed(seal, segmentNonce(place.number), segmentAad(seal, place), sealed);
}

/** @returns footer and trailer. */
export function encodeFooter(seal: FileSeal, footer: FileFooter): Buffer {
  const cipher = createCipheriv(CIPHER, seal.key, FOOTER_NONCE);
  cipher.setAAD(footerAad(seal));
  const body = cipher.update(JSON.stringify(footer), 'utf8');
  cipher.final();
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32BE(body.length + TAG_BYTES, 0);
  END_MARK.copy(trailer, 4);
  return Buffer.concat([body, cipher.getAuthTag(), trailer]);
}

/** @returns bytes of the sealed footer before the trailer. @throws integrity_failure */
export function parseTrailer(trailer: Buffer): number {
  if (trailer.length < TRAILER_BYTES || !trailer.subarray(4, TRAILER_BYTES).equals(END_MARK)) {
    throw damagedFile('no end mark: the file is cut off');
  }
  const length = trailer.readUInt32BE(0);
  if (length < TAG_BYTES || length > MAX_FOOTER_BYTES) throw damagedFile('footer length');
  return length;
}

/** @throws integrity_failure when it does not belong to this file or does not agree with itself. */
export function openFooter(seal: FileSeal, segmentBytes: number, sealed: Buffer): FileFooter {
  const plain = openSealed(seal, FOOTER_NONCE, footerAad(seal), sealed);
  const footer = JSON.parse(plain.toString('utf8')) as FileFooter;
  const agrees =
    Number.isSafeInteger(footer.sizeBytes) &&
    footer.segmentBytes === segmentBytes &&
    footer.segments.length === Math.ceil(footer.sizeBytes / segmentBytes);
  if (!agrees) throw damagedFile('the footer does not fit the header');
  return footer;
}

export function damagedFile(detail: string, cause?: unknown): HoldfastError {
  return new HoldfastError('integrity_failure', 'The stored content of this file is damaged', {
    hint: 'Restore this file from a snapshot, and check the disk.',
    detail,
    cause,
  });
}

const FOOTER_NONCE = Buffer.from('000000010000000000000000', 'hex');

function openSealed(seal: FileSeal, nonce: Buffer, aad: Buffer, sealed: Buffer): Buffer {
  if (sealed.length < TAG_BYTES) throw damagedFile('shorter than a tag');
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, seal.key, nonce);
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(end));
  const plain = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
  } catch (cause) {
    throw damagedFile(`content ${seal.contentId}: a tag does not match`, cause);
  }
  return plain;
}

function segmentNonce(number: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(number), 4);
  return nonce;
}

function segmentAad(seal: FileSeal, place: SegmentPlace): Buffer {
  const { workspaceId, subjectKeyId, contentId, version } = seal;
  const { number, flags, last } = place;
  const parts = ['holdfast/file/1', workspaceId, subjectKeyId, contentId, String(version)];
  return Buffer.from(JSON.stringify([...parts, String(number), String(flags), last ? '1' : '0']));
}

function footerAad(seal: FileSeal): Buffer {
  const { workspaceId, subjectKeyId, contentId, version } = seal;
  return Buffer.from(
    JSON.stringify(['holdfast/file-footer/1', workspaceId, subjectKeyId, contentId, String(version)]),
  );
}
