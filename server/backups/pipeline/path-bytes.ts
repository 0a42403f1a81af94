/**
 * Paths as bytes. A file name on Linux is any bytes but NUL and `/`; sorting and comparing happens on these bytes.
 *
 * A `ByteString` is a JavaScript string with one character per byte (latin1): it compares with `<` in byte order, is as
 * small as the bytes, and equals the ordinary string when all is ASCII.
 */
import { isUtf8 } from 'node:buffer';

export type ByteString = string;

const ASCII = /^[\0-\x7f]*$/;

export function byteStringOf(text: string): ByteString {
  return ASCII.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1');
}

/** What node:fs takes for these bytes. */
export function fsPathOf(bytes: ByteString): string | Buffer {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, 'latin1');
}

/** For people: replacement characters where the bytes are no UTF-8. */
export function displayPath(bytes: ByteString): string {
  return ASCII.test(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString('utf8');
}

/** As UTF-8 text where it is, else as base64 of the bytes. Nothing is normalised. */
export function encodeBytes(bytes: ByteString): { text: string } | { base64: string } {
  if (ASCII.test(bytes)) return { text: bytes };
  const raw = Buffer.from(bytes, 'latin1');
  return isUtf8(raw) ? { text: raw.toString('utf8') } : { base64: raw.toString('base64') };
}

export function decodeBytes(text: string | undefined, base64: string | undefined): ByteString | undefined {
  if (base64 !== undefined) return Buffer.from(base64, 'base64').toString('latin1');
  return text === undefined ? undefined : byteStringOf(text);
}

/** Joins a directory and a name; the root is ''. */
export function joinBytes(directory: ByteString, name: ByteString): ByteString {
  return directory === '' ? name : `${directory}/${name}`;
}

/** True for a relative path that stays below where it starts: no empty, `.` or `..` part, no NUL, not absolute. */
export function isSafeRelative(path: ByteString): boolean {
  if (path.includes('\0') || path.length > 65_536) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && part.length <= 255);
}
