/** Cuts a stream into lines, as bytes, and reads a line. */
import { HoldfastError } from '../../lib/errors.ts';

/** An entry has at most 8 KiB of detail, which JSON may write six times as long; the rest is a few hundred bytes. */
const MOST_LINE_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

/**
 * Lines without their ends; a last one without an end is given too.
 *
 * @throws HoldfastError `too_large` for a line that no export has.
 */
export async function* readLines(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    let start = 0;
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = bytes.indexOf(NEWLINE, rest.length); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      yield bytes.subarray(start, end);
      start = end + 1;
    }
    rest = bytes.subarray(start);
    if (rest.length > MOST_LINE_BYTES) {
      throw new HoldfastError(
        'too_large',
        'This file has a line that is too long for an export of an audit log',
        {
          hint: 'Give the file that `holdfast audit export` or the page Audit made.',
        },
      );
    }
  }
  if (rest.length > 0) yield rest;
}

/** What the line says; undefined where it is not a JSON object. */
export function parseLine(line: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whoever reads the file on would take them for a part of it. */
export function linesBehind(count: number): string {
  return count === 1
    ? 'A line stands behind the last one: nothing speaks for it'
    : `${count} lines stand behind the last one: nothing speaks for them`;
}
