/**
 * Makes the benchmark's data from a seed: the same bytes on every machine. Half of it compresses (made-up prose and
 * records), half does not; small files from a few bytes to some 100 KiB in folders of about a hundred, and one large file.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface CorpusSize {
  smallFiles: number;
  /** Of one large file. */
  largeBytes: number;
  /** Default 1. */
  largeFiles?: number;
  /** Of the small files together, approximately. */
  smallBytes: number;
}

const MIB = 1024 * 1024;
export const CORPUS_SIZES: Record<string, CorpusSize> = {
  small: { smallFiles: 2000, largeBytes: 100 * MIB, smallBytes: 40 * MIB },
  /** For a whole appliance: what people have, several large files rather than one. */
  appliance: { smallFiles: 20_000, largeBytes: 150 * MIB, largeFiles: 4, smallBytes: 400 * MIB },
  full: { smallFiles: 20_000, largeBytes: 1024 * MIB, smallBytes: 400 * MIB },
  tenfold: { smallFiles: 200_000, largeBytes: 10 * 1024 * MIB, smallBytes: 4000 * MIB },
};

const FILES_PER_FOLDER = 100;
const BLOCK_BYTES = 64 * 1024;

/** Deterministic bytes: AES-256-CTR under a key made of the seed. */
class SeededBytes {
  readonly #cipher;

  constructor(seed: string) {
    this.#cipher = createCipheriv(
      'aes-256-ctr',
      createHash('sha256').update(seed).digest(),
      Buffer.alloc(16),
    );
  }

  take(length: number): Buffer {
    return this.#cipher.update(Buffer.alloc(length));
  }

  /** Between 0 and `below`. */
  number(below: number): number {
    return Math.floor((this.take(4).readUInt32LE() / 2 ** 32) * below);
  }
}

/** Words of the made-up language: frequent ones short, as in real text. */
function makeWords(random: SeededBytes): string[] {
  const words: string[] = [];
  for (let at = 0; at < 4096; at++) {
    const length = 2 + random.number(3) + Math.floor(Math.log2(at + 1) / 2);
    words.push(Array.from(random.take(length), (byte) => String.fromCharCode(97 + (byte % 26))).join(''));
  }
  return words;
}

function makeProse(random: SeededBytes, words: readonly string[], bytes: number): Buffer {
  const parts: string[] = [];
  let length = 0;
  const choices = random.take(Math.ceil(bytes / 2) + 64);
  for (let at = 0; length < bytes; at = (at + 3) % (choices.length - 4)) {
    // The product of two uniform numbers favours low ones, as words do.
    const a = (choices[at] ?? 0) / 256;
    const b = choices.readUInt16LE(at + 1) / 65_536;
    const word = words[Math.floor(a * b * words.length)] ?? '';
    const separator = (choices[at + 1] ?? 0) < 12 ? '\n' : ' ';
    parts.push(word, separator);
    length += word.length + 1;
  }
  return Buffer.from(parts.join('').slice(0, bytes));
}

function smallSize(random: SeededBytes, average: number): number {
  // Most files far below the average, a few far above.
  const skew = random.number(1000) / 1000;
  return Math.max(1, Math.floor(average * 4 * skew ** 3 + random.number(512)));
}

/** Creates the corpus below `root`, which must not exist. @returns bytes written */
export function makeCorpus(root: string, size: CorpusSize, seed: string): number {
  const random = new SeededBytes(seed);
  const words = makeWords(random);
  mkdirSync(root, { recursive: true });
  const average = size.smallBytes / size.smallFiles;
  let total = 0;
  const prose = makeProse(random, words, 16 * MIB);
  for (let at = 0; at < size.smallFiles; at++) {
    const path = smallFilePath(root, at);
    if (at % FILES_PER_FOLDER === 0) mkdirSync(dirname(path), { recursive: true });
    const length = smallSize(random, average);
    const offset = random.number(Math.max(1, prose.length - length - 1));
    const data = at % 2 === 0 ? shuffled(prose, offset, length, random) : random.take(length);
    writeFileSync(path, data);
    total += length;
  }
  total += makeLarge(join(root, 'large.bin'), size.largeBytes, random, words);
  for (let number = 2; number <= (size.largeFiles ?? 1); number++) {
    total += makeLarge(join(root, `large-${number}.bin`), size.largeBytes, random, words);
  }
  settleTimes(root, size.smallFiles);
  return total;
}

export function smallFilePath(root: string, at: number): string {
  const folder = Math.floor(at / FILES_PER_FOLDER);
  return join(
    root,
    `part-${Math.floor(folder / 20)}`,
    `folder-${folder}`,
    `file-${String(at).padStart(7, '0')}.dat`,
  );
}

/** Two stretches of the prose in an order of their own, so that no two files are alike and none de-duplicates. */
function shuffled(prose: Buffer, offset: number, length: number, random: SeededBytes): Buffer {
  const head = Buffer.from(`${random.take(8).toString('hex')}\n`);
  return Buffer.concat([head, prose.subarray(offset, offset + length)]).subarray(0, Math.max(1, length));
}

function makeLarge(path: string, bytes: number, random: SeededBytes, words: readonly string[]): number {
  const descriptor = openSync(path, 'w');
  try {
    let written = 0;
    for (let block = 0; written < bytes; block++) {
      const length = Math.min(MIB, bytes - written);
      const data = block % 2 === 0 ? makeProse(random, words, length) : random.take(length);
      for (let at = 0; at < length; at += BLOCK_BYTES)
        writeSync(descriptor, data, at, Math.min(BLOCK_BYTES, length - at));
      written += length;
    }
    return written;
  } finally {
    closeSync(descriptor);
  }
}

/** Times in the past, so that no tool has to read a file again because it is too fresh. */
function settleTimes(root: string, smallFiles: number): void {
  const past = 1_700_000_000;
  for (let at = 0; at < smallFiles; at++) utimesSync(smallFilePath(root, at), past + at, past + at);
  utimesSync(join(root, 'large.bin'), past, past);
}

/** Rewrites one small file in a hundred and a hundredth of the large one, spread over all of it. */
export function changeOnePercent(root: string, size: CorpusSize, seed: string): void {
  const random = new SeededBytes(`${seed}/change`);
  for (let at = 0; at < size.smallFiles; at += 100)
    writeFileSync(smallFilePath(root, at), random.take(20_000));
  const descriptor = openSync(join(root, 'large.bin'), 'r+');
  try {
    for (let at = 0; at < size.largeBytes; at += 100 * MIB) {
      const data = random.take(Math.min(MIB, size.largeBytes - at));
      writeSync(descriptor, data, 0, data.length, at);
    }
  } finally {
    closeSync(descriptor);
  }
}
