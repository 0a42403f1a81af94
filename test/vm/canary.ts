/** Looks for words on a disk as somebody would who took it away. */
import { createReadStream, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { must } from './machine.ts';

/** A copy of what the disk holds, as raw bytes. The machine must be off. @returns the file. */
export async function takeDisk(disk: string, folder: string): Promise<string> {
  const raw = join(folder, `${basename(disk, '.qcow2')}-taken.raw`);
  rmSync(raw, { force: true });
  await must('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk, raw]);
  return raw;
}

/** Those of the words that the file holds anywhere. What was never written, or is zero, is not read. */
export async function wordsInFile(file: string, words: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  const longest = Math.max(...words.map((word) => Buffer.byteLength(word)));
  for (const { start, end } of await writtenParts(file)) {
    let tail = Buffer.alloc(0);
    for await (const part of createReadStream(file, {
      start,
      end: end - 1,
      highWaterMark: 4 * 1024 * 1024,
    })) {
      const data = Buffer.concat([tail, part as Buffer]);
      for (const word of words) if (data.includes(word)) found.add(word);
      tail = data.subarray(Math.max(0, data.length - longest + 1));
    }
  }
  return [...found];
}

interface Extent {
  start: number;
  length: number;
  zero: boolean;
}

/** Neighbours as one, so that no word lies across two. */
async function writtenParts(file: string): Promise<{ start: number; end: number }[]> {
  const map = JSON.parse(await must('qemu-img', ['map', '--output=json', '-f', 'raw', file])) as Extent[];
  const parts: { start: number; end: number }[] = [];
  for (const { start, length, zero } of map) {
    const last = parts.at(-1);
    if (zero) continue;
    if (last?.end === start) last.end = start + length;
    else parts.push({ start, end: start + length });
  }
  return parts;
}
