/**
 * Reads the form in which Have I Been Pwned publishes its list: a SHA-1 in hexadecimal digits, a colon, how often it was seen, a line's
 * end; ascending. Byte by byte, because there are a thousand million lines.
 */
import { HoldfastError } from '../../lib/errors.ts';

const HASH_DIGITS = 40;
const LONGEST_LINE = 128;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const COLON = 0x3a;
/** Of hexadecimal digits by their byte; 255: none. */
const DIGITS = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value += 1) {
  DIGITS[value.toString(16).charCodeAt(0)] = value;
  DIGITS[value.toString(16).toUpperCase().charCodeAt(0)] = value;
}

/** Whole lines that came together. */
export interface Lines {
  /** Calls with the first 64 bits of each hash that was seen at least so often. */
  forEachAtLeast(atLeast: number, take: (high: number, low: number) => void): void;
}

/** @throws HoldfastError `invalid_input` with the number of the line that is not of this form, or not in its place. */
export async function readHashLines(
  content: AsyncIterable<Buffer>,
  take: (lines: Lines) => Promise<void>,
): Promise<void> {
  const order: Order = { line: 0, high: 0, low: 0 };
  let rest = Buffer.alloc(0);
  for await (const piece of content) {
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end > 0) await take(linesOf(bytes.subarray(0, end), order));
    rest = Buffer.from(bytes.subarray(end));
    if (rest.length > LONGEST_LINE) throw unfit(order.line + 1);
  }
  if (rest.length > 0) await take(linesOf(Buffer.concat([rest, Buffer.from('\n')]), order));
  if (order.line === 0) throw new HoldfastError('invalid_input', 'The list is empty');
}

/** Where the lines before ended. */
interface Order {
  line: number;
  high: number;
  low: number;
}

function linesOf(bytes: Buffer, order: Order): Lines {
  return {
    forEachAtLeast(atLeast, take) {
      for (let at = 0; at < bytes.length;) {
        order.line += 1;
        const high = readDigits(bytes, at, order.line);
        const low = readDigits(bytes, at + 8, order.line);
        for (let digit = at + 16; digit < at + HASH_DIGITS; digit += 1)
          if (DIGITS[bytes[digit] ?? 0] === 255) throw unfit(order.line);
        const { count, next } = readCount(bytes, at + HASH_DIGITS, order.line);
        if (high < order.high || (high === order.high && low < order.low)) throw disordered(order.line);
        order.high = high;
        order.low = low;
        if (count >= atLeast) take(high, low);
        at = next;
      }
    },
  };
}

function readDigits(bytes: Buffer, at: number, line: number): number {
  let value = 0;
  for (let digit = at; digit < at + 8; digit += 1) {
    const one = DIGITS[bytes[digit] ?? 0] ?? 255;
    if (one === 255) throw unfit(line);
    value = (value << 4) | one;
  }
  return value >>> 0;
}

function readCount(bytes: Buffer, start: number, line: number): { count: number; next: number } {
  if (bytes[start] !== COLON) throw unfit(line);
  let count = 0;
  for (let at = start + 1; at - start < 20; at += 1) {
    const byte = bytes[at];
    if (byte === NEWLINE || (byte === RETURN && bytes[at + 1] === NEWLINE)) {
      if (at === start + 1) throw unfit(line);
      return { count, next: at + (byte === NEWLINE ? 1 : 2) };
    }
    const digit = DIGITS[byte ?? 0] ?? 255;
    if (digit > 9) throw unfit(line);
    count = count * 10 + digit;
  }
  throw unfit(line);
}

function unfit(line: number): HoldfastError {
  return new HoldfastError('invalid_input', `Line ${line} is not of the form SHA-1:COUNT`, {
    hint: 'The list of Have I Been Pwned is meant, "ordered by hash", unpacked: 40 hexadecimal digits, a colon, a number.',
  });
}

function disordered(line: number): HoldfastError {
  return new HoldfastError('invalid_input', `Line ${line} is out of order`, {
    hint: 'The list that is "ordered by hash" is meant; `LC_ALL=C sort FILE` makes one of another.',
  });
}
