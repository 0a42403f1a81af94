/** Looks for words on a disk as somebody would who took it away. */
import { createReadStream, rmSync } from 'node:fs';
import { join } from 'node:path';
import { must } from './machine.ts';

/** Whether the disk, read as raw bytes, holds the words anywhere. The machine must be off. */
export async function diskHolds(disk: string, folder: string, words: Buffer): Promise<boolean> {
  const raw = join(folder, 'scan.raw');
  rmSync(raw, { force: true });
  await must('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk, raw]);
  try {
    return await fileHolds(raw, words);
  } finally {
    rmSync(raw, { force: true });
  }
}

export async function fileHolds(file: string, words: Buffer): Promise<boolean> {
  let tail = Buffer.alloc(0);
  for await (const part of createReadStream(file, { highWaterMark: 4 * 1024 * 1024 })) {
    const data = Buffer.concat([tail, part as Buffer]);
    if (data.includes(words)) return true;
    tail = data.subarray(Math.max(0, data.length - words.length + 1));
  }
  return false;
}
