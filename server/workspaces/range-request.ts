/** Conditional and range requests of RFC 9110, sections 13 and 14. Pure. */
import type { ByteRange } from './open-file.ts';

export type RangeAnswer =
  | { status: 200; range: ByteRange }
  | { status: 206; range: ByteRange; contentRange: string }
  | { status: 304 }
  | { status: 416; contentRange: string };

interface RangeHeaders {
  range?: string | undefined;
  ifRange?: string | undefined;
  ifNoneMatch?: string | undefined;
}

/**
 * What to answer. A range that is malformed, of several parts, of another unit, or conditional on another content is
 * ignored, as the standard allows: the whole is sent. Positions may have any number of digits; one beyond the end is beyond
 * the end.
 */
export function answerRange(headers: RangeHeaders, etag: string, sizeBytes: number): RangeAnswer {
  if (headers.ifNoneMatch !== undefined && matchesAny(headers.ifNoneMatch, etag)) return { status: 304 };
  const whole: RangeAnswer = { status: 200, range: { start: 0, end: sizeBytes } };
  if (headers.range === undefined) return whole;
  if (headers.ifRange !== undefined && headers.ifRange.trim() !== etag) return whole;
  const match = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(headers.range);
  if (match === null) return whole;
  const [first, last] = [match[1] ?? '', match[2] ?? ''];
  if (first === '' && last === '') return whole;
  if (first !== '' && last !== '' && Number(last) < Number(first)) return whole;
  const start = first === '' ? Math.max(sizeBytes - Number(last), 0) : Number(first);
  const end = first === '' || last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes);
  if (start >= end) return { status: 416, contentRange: `bytes */${sizeBytes}` };
  return { status: 206, range: { start, end }, contentRange: `bytes ${start}-${end - 1}/${sizeBytes}` };
}

/** Weak comparison, as If-None-Match wants it. */
function matchesAny(header: string, etag: string): boolean {
  if (header.trim() === '*') return true;
  return header.split(',').some((candidate) => candidate.trim().replace(/^W\//, '') === etag);
}

/** Content-Disposition for any name (RFC 6266, RFC 8187). */
export function contentDisposition(kind: 'attachment' | 'inline', name: string): string {
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `${kind}; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
