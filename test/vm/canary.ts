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

/** Those of the words that the file holds anywhere. */
export async function wordsInFile(file: string, words: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  const longest = Math.max(...words.map((word) => Buffer.byteLength(word)));
  let tail = Buffer.alloc(0);
  for await (const part of createReadStream(file, { highWaterMark: 4 * 1024 * 1024 })) {
    const data = Buffer.concat([tail, part as Buffer]);
    for (const word of words) if (data.includes(word)) found.add(word);
    tail = data.subarray(Math.max(0, data.length - longest + 1));
  }
  return [...found];
}
