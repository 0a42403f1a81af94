/**
 * Reads stored files: the footer first, then only the segments that a range needs, one ahead of the reader. No byte is
 * handed out before its segment's tag was checked, its length known, and its place agreed with the footer.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdDecompress, zstdDecompressSync } from 'node:zlib';
import {
  damagedFile,
  FLAG_ZSTD,
  HEADER_BYTES,
  openFooter,
  openSegment,
  parseHeader,
  parseTrailer,
  RECORD_HEADER_BYTES,
  TRAILER_BYTES,
  type FileFooter,
  type FileSeal,
} from './file-format.ts';

/** Stored bytes that can be read anywhere. */
export interface StoredBytes {
  sizeBytes: number;
  /** As many bytes as there are, at most `length`. */
  read(offset: number, length: number): Promise<Buffer>;
}

/** Plaintext bytes from `start` up to, not including, `end`. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface OpenedFile {
  /** Plaintext bytes. */
  sizeBytes: number;
  /** Hex SHA-256 of the plaintext. */
  sha256: string;
  /** @throws integrity_failure; what was yielded before is good. */
  read(range?: ByteRange): AsyncGenerator<Buffer>;
}

const AT_ONCE_BYTES = 64 * 1024;
const decompress = promisify(zstdDecompress);

/** @throws integrity_failure when it is not whole, or belongs to another workspace, subject, content or version. */
export async function openStoredFile(stored: StoredBytes, seal: FileSeal): Promise<OpenedFile> {
  const segmentBytes = parseHeader(await readExactly(stored, 0, HEADER_BYTES));
  const trailerAt = stored.sizeBytes - TRAILER_BYTES;
  if (trailerAt < HEADER_BYTES) throw damagedFile('shorter than header and trailer');
  const footerBytes = parseTrailer(await readExactly(stored, trailerAt, TRAILER_BYTES));
  const footerAt = trailerAt - footerBytes;
  if (footerAt < HEADER_BYTES) throw damagedFile('footer longer than the file');
  const footer = openFooter(seal, segmentBytes, await readExactly(stored, footerAt, footerBytes));
  const offsets = segmentOffsets(footer);
  if (offsets.at(-1) !== footerAt) throw damagedFile('the segments do not fill the file');
  const layout = { stored, seal, footer, offsets };
  return {
    sizeBytes: footer.sizeBytes,
    sha256: footer.sha256,
    read: (range = { start: 0, end: footer.sizeBytes }) => readRange(layout, range),
  };
}

/**
 * Reads the whole content and compares its hash with the footer's.
 *
 * @throws integrity_failure at the end when it differs: keep the bytes unpublished until then.
 */
export async function* readVerified(file: OpenedFile): AsyncGenerator<Buffer> {
  const hash = createHash('sha256');
  for await (const part of file.read()) {
    hash.update(part);
    yield part;
  }
  if (hash.digest('hex') !== file.sha256) throw damagedFile('the whole does not have its hash');
}

interface Layout {
  stored: StoredBytes;
  seal: FileSeal;
  footer: FileFooter;
  /** Where each segment starts, and where the last ends. */
  offsets: number[];
}

function segmentOffsets(footer: FileFooter): number[] {
  let offset = HEADER_BYTES;
  const offsets = [offset];
  for (const length of footer.segments) {
    if (!Number.isSafeInteger(length) || length < RECORD_HEADER_BYTES) throw damagedFile('segment length');
    offset += length;
    offsets.push(offset);
  }
  return offsets;
}

const WRITE_BYTES = 65_536;

async function* readRange(layout: Layout, range: ByteRange): AsyncGenerator<Buffer> {
  const { segmentBytes, sizeBytes } = layout.footer;
  const end = Math.min(range.end, sizeBytes);
  if (range.start >= end) return;
  const last = Math.floor((end - 1) / segmentBytes);
  let number = Math.floor(range.start / segmentBytes);
  let ahead: Promise<Buffer> | undefined = readSegment(layout, number);
  try {
    for (; ahead !== undefined; number += 1) {
      const segment: Buffer = await ahead;
      ahead = number < last ? readSegment(layout, number + 1) : undefined;
      // Awaited by the next turn; if the reader stops before, its failure concerns nobody.
      ahead?.catch(() => undefined);
      const base = number * segmentBytes;
      const wanted = segment.subarray(Math.max(range.start - base, 0), Math.min(end - base, segment.length));
      // A write counts as taken when all of it was: small ones show that a slow reader still reads.
      for (let at = 0; at < wanted.length; at += WRITE_BYTES) yield wanted.subarray(at, at + WRITE_BYTES);
    }
  } finally {
    await ahead?.catch(() => undefined);
  }
}

async function readSegment(layout: Layout, number: number): Promise<Buffer> {
  const { stored, seal, footer, offsets } = layout;
  const length = footer.segments[number] ?? 0;
  const record = await readExactly(stored, offsets[number] ?? 0, length);
  const flags = record.readUInt8(0);
  if ((flags & ~FLAG_ZSTD) !== 0) throw damagedFile(`segment ${number} has unknown flags`);
  if (record.readUInt32BE(1) !== length - RECORD_HEADER_BYTES)
    throw damagedFile(`length of segment ${number}`);
  const last = number === footer.segments.length - 1;
  const content = openSegment(seal, { number, flags, last }, record.subarray(RECORD_HEADER_BYTES));
  const expected = last ? footer.sizeBytes - number * footer.segmentBytes : footer.segmentBytes;
  const plain = flags === FLAG_ZSTD ? await expand(content, expected) : content;
  if (plain.length !== expected) throw damagedFile(`segment ${number} has another length`);
  return plain;
}

async function expand(content: Buffer, expected: number): Promise<Buffer> {
  try {
    // One output buffer of the right size; by default it would be pieced together from 16 KiB.
    const options = { maxOutputLength: expected, chunkSize: Math.max(expected, 1024) };
    // Below this, a trip through the thread pool costs more than expanding at once.
    return expected <= AT_ONCE_BYTES
      ? zstdDecompressSync(content, options)
      : await decompress(content, options);
  } catch (cause) {
    throw damagedFile('a segment does not expand', cause);
  }
}

async function readExactly(stored: StoredBytes, offset: number, length: number): Promise<Buffer> {
  const bytes = await stored.read(offset, length);
  if (bytes.length !== length) throw damagedFile('the file is cut off');
  return bytes;
}
