/**
 * A list of leaked passwords as a compact file: of each SHA-1 some leading bits, sorted, in buckets. One look reads a head, two numbers
 * and one bucket, whatever the password; nothing of the list is kept in memory. A password that is in the list is always found; another
 * is taken for one of it once in `2^(prefixBits + 8 × tailBytes) / count`. SHA-1 because that is what such lists are published as.
 *
 *     head (32 bytes)  "HFLEAKED", version, prefix bits, tail bytes, 5 × 0, count (u64), 8 × 0
 *     index            for each prefix and one more: how many entries lie before its bucket (u48)
 *     entries          the bits after the prefix, ascending within a bucket
 */
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { HoldfastError } from '../../lib/errors.ts';

const MAGIC = 'HFLEAKED';
const VERSION = 1;
const HEAD_BYTES = 32;
const INDEX_BYTES = 6;
/** So that a damaged file cannot ask for much. */
const MOST_IN_BUCKET = 1_000_000;
const WRITE_BYTES = 1024 * 1024;

export interface ListShape {
  /** 4 to 22. */
  prefixBits: number;
  /** 3 or 4. */
  tailBytes: number;
}

export interface ListFacts extends ListShape {
  count: number;
}

/** The first 64 bits of a SHA-1. */
export interface HashStart {
  high: number;
  low: number;
}

export function hashStart(password: string): HashStart {
  const hash = createHash('sha1').update(password, 'utf8').digest();
  return { high: hash.readUInt32BE(0), low: hash.readUInt32BE(4) };
}

/** @throws HoldfastError `integrity_failure` when it is no such list. ENOENT as it is. */
export async function isInList(path: string, { high, low }: HashStart): Promise<boolean> {
  const file = await open(path);
  try {
    const facts = await readFacts(file, path);
    const { prefixBits, tailBytes } = facts;
    const bounds = await readExactly(
      file,
      path,
      2 * INDEX_BYTES,
      HEAD_BYTES + INDEX_BYTES * (high >>> (32 - prefixBits)),
    );
    const first = bounds.readUIntBE(0, INDEX_BYTES);
    const length = bounds.readUIntBE(INDEX_BYTES, INDEX_BYTES) - first;
    if (length < 0 || length > MOST_IN_BUCKET || first + length > facts.count) throw damaged(path);
    const bucket = await readExactly(file, path, length * tailBytes, entriesAt(facts) + first * tailBytes);
    const wanted = tailOf(high, low, facts);
    // To the end, found or not: a look takes as long for each password.
    let found = 0;
    for (let at = 0; at < bucket.length; at += tailBytes)
      found |= bucket.readUIntBE(at, tailBytes) === wanted ? 1 : 0;
    return found === 1;
  } finally {
    await file.close();
  }
}

/** @throws HoldfastError `integrity_failure` when it is no such list. */
export async function readListFacts(path: string): Promise<ListFacts> {
  const file = await open(path);
  try {
    return await readFacts(file, path);
  } finally {
    await file.close();
  }
}

/** The shape for about so many: a hundred or so in a bucket. */
export function shapeFor(count: number, tailBytes: number): ListShape {
  return { prefixBits: Math.min(22, Math.max(4, Math.ceil(Math.log2(Math.max(1, count) / 128)))), tailBytes };
}

export interface ListWriter {
  /** In ascending order. */
  add(high: number, low: number): void;
  /** Room for what was added since, when there is much of it; to be called now and then. */
  flush(): Promise<void>;
  /** Writes what is left, the index and the head, and makes all of it durable. */
  finish(): Promise<ListFacts>;
}

/** Writes a list into an empty file. Memory: a buffer and a number for each bucket. */
export function writeList(file: FileHandle, shape: ListShape): ListWriter {
  const { prefixBits, tailBytes } = shape;
  const counts = new Uint32Array(2 ** prefixBits);
  let buffer = Buffer.allocUnsafe(WRITE_BYTES);
  let used = 0;
  let count = 0;
  let at = entriesAt(shape);
  const flush = async () => {
    await file.write(buffer, 0, used, at);
    at += used;
    used = 0;
  };
  return {
    add(high, low) {
      if (used + tailBytes > buffer.length)
        buffer = Buffer.concat([buffer, Buffer.allocUnsafe(buffer.length)]);
      buffer.writeUIntBE(tailOf(high, low, shape), used, tailBytes);
      used += tailBytes;
      count += 1;
      const prefix = high >>> (32 - prefixBits);
      counts[prefix] = (counts[prefix] ?? 0) + 1;
    },
    async flush() {
      if (used >= WRITE_BYTES / 2) await flush();
    },
    async finish() {
      await flush();
      const index = Buffer.alloc((counts.length + 1) * INDEX_BYTES);
      let before = 0;
      for (let prefix = 0; prefix <= counts.length; prefix += 1) {
        index.writeUIntBE(before, prefix * INDEX_BYTES, INDEX_BYTES);
        before += counts[prefix] ?? 0;
      }
      await file.write(index, 0, index.length, HEAD_BYTES);
      const head = Buffer.alloc(HEAD_BYTES);
      head.write(MAGIC, 'latin1');
      head.set([VERSION, prefixBits, tailBytes], MAGIC.length);
      head.writeBigUInt64BE(BigInt(count), 16);
      await file.write(head, 0, head.length, 0);
      await file.sync();
      return { ...shape, count };
    },
  };
}

function tailOf(high: number, low: number, { prefixBits, tailBytes }: ListShape): number {
  const after = ((high << prefixBits) | (low >>> (32 - prefixBits))) >>> 0;
  return after >>> (32 - 8 * tailBytes);
}

function entriesAt({ prefixBits }: ListShape): number {
  return HEAD_BYTES + INDEX_BYTES * (2 ** prefixBits + 1);
}

async function readFacts(file: FileHandle, path: string): Promise<ListFacts> {
  const head = await readExactly(file, path, HEAD_BYTES, 0);
  const [version, prefixBits = 0, tailBytes = 0] = head.subarray(MAGIC.length);
  const known = head.toString('latin1', 0, MAGIC.length) === MAGIC && version === VERSION;
  if (!known || prefixBits < 4 || prefixBits > 22 || tailBytes < 3 || tailBytes > 4) throw damaged(path);
  return { prefixBits, tailBytes, count: Number(head.readBigUInt64BE(16)) };
}

async function readExactly(
  file: FileHandle,
  path: string,
  length: number,
  position: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, position);
  if (bytesRead !== length) throw damaged(path);
  return bytes;
}

function damaged(path: string): HoldfastError {
  return new HoldfastError('integrity_failure', 'The list of leaked passwords is damaged', {
    hint: 'Import it again: holdfast passwords import-breached FILE.',
    detail: path,
  });
}
