/**
 * What a file is, told by its first bytes and never by its name. Only what is harmless to show is given a type of its own;
 * SVG and HTML are plain text here.
 */

/** Bytes that a decision needs at most. */
export const SNIFF_BYTES = 4096;

const SIGNATURES: [type: string, offset: number, bytes: string][] = [
  ['image/png', 0, '89504e470d0a1a0a'],
  ['image/jpeg', 0, 'ffd8ff'],
  ['image/gif', 0, '474946383761'],
  ['image/gif', 0, '474946383961'],
  ['application/pdf', 0, '255044462d'],
  ['application/zip', 0, '504b0304'],
  ['application/gzip', 0, '1f8b08'],
  ['application/zstd', 0, '28b52ffd'],
];
const PREVIEW_IMAGES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif']);
const BINARY_CONTROL = /[\x00-\x08\x0e-\x1a\x1c-\x1f]/;

export function isPreviewImage(mediaType: string): boolean {
  return PREVIEW_IMAGES.has(mediaType);
}

/** @param start the first bytes of the file, as many as there are up to `SNIFF_BYTES`. */
export function sniffMediaType(start: Buffer): string {
  for (const [type, offset, hex] of SIGNATURES) {
    const signature = Buffer.from(hex, 'hex');
    if (start.subarray(offset, offset + signature.length).equals(signature)) return type;
  }
  if (isAscii(start, 0, 'RIFF') && isAscii(start, 8, 'WEBP')) return 'image/webp';
  if (isAscii(start, 4, 'ftyp') && /^(avif|avis)/.test(start.toString('latin1', 8, 12))) return 'image/avif';
  return isText(start) ? 'text/plain' : 'application/octet-stream';
}

/**
 * The text of a file's first bytes, or undefined when they are not UTF-8.
 *
 * @param complete nothing follows. Otherwise a character that is cut off at the end is left out.
 */
export function decodeText(start: Buffer, complete: boolean): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(start, { stream: !complete });
  } catch {
    return undefined;
  }
}

function isText(start: Buffer): boolean {
  const text = decodeText(start.subarray(0, SNIFF_BYTES), start.length < SNIFF_BYTES);
  return text !== undefined && !BINARY_CONTROL.test(text);
}

function isAscii(start: Buffer, offset: number, text: string): boolean {
  return start.toString('latin1', offset, offset + text.length) === text;
}
