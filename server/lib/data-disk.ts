/**
 * Room on the disk of the data folder. PostgreSQL stops, and the appliance with it, when there is none left for its log; so a
 * reserve is kept that is given up in that case: people can then sign in, read, export and delete until there is room again.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HoldfastError } from './errors.ts';
import { temporaryBeside } from './files.ts';

const MIB = 1024 ** 2;

/** Some log files of PostgreSQL (16 MiB each), which is what it needs to recover from its own crash and go on. */
const RESERVE_BYTES = 64 * MIB;
/** With less than this PostgreSQL may soon refuse to write, or be unable to start. */
const TOO_LITTLE_BYTES = 32 * MIB;
/** The reserve is made when this much is left beside it. */
const PLENTY_BYTES = 512 * MIB;
const LOOK_EVERY_MS = 5_000;

/** Bytes that may still be written to the disk of a folder. */
export async function readFreeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** @param act what there is too little room for, such as "a snapshot". @throws HoldfastError `no_space` */
export async function requireFreeBytes(dataDir: string, bytes: number, act: string): Promise<void> {
  const freeBytes = await readFreeBytes(dataDir);
  if (freeBytes >= bytes) return;
  const mib = (value: number) => `${Math.floor(value / MIB)} MiB`;
  throw new HoldfastError('no_space', `The disk of this appliance is too full for ${act}`, {
    hint: `It needs ${mib(bytes)} free on the disk of the data folder, which has ${mib(freeBytes)}. Delete files that are not needed, or give it a larger disk.`,
  });
}

/** Gives up the reserve when its disk is full. @returns whether it did */
export async function giveUpReserve(reserve: string): Promise<boolean> {
  if (!existsSync(reserve) || (await readFreeBytes(dirname(reserve))) >= TOO_LITTLE_BYTES) return false;
  await rm(reserve);
  return true;
}

/** Makes the reserve where there is room for it, gives it up when there is too little, and so on. Keeps no process alive. */
export function keepReserve(reserve: string): void {
  let busy = false;
  const look = async () => {
    if (busy) return;
    busy = true;
    // What fails now, for example because the folder is gone, is tried again.
    await giveUpReserve(reserve)
      .then(() => makeReserve(reserve))
      .catch(() => undefined);
    busy = false;
  };
  void look();
  clearInterval(looking);
  looking = setInterval(() => void look(), LOOK_EVERY_MS).unref();
}

/** A process keeps one: that of its data folder. */
let looking: NodeJS.Timeout | undefined;

async function makeReserve(reserve: string): Promise<void> {
  if (existsSync(reserve) || (await readFreeBytes(dirname(reserve))) < RESERVE_BYTES + PLENTY_BYTES) return;
  const temporary = temporaryBeside(reserve);
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      // Random: a file system that compresses would keep no room for zeros.
      const part = randomBytes(MIB);
      for (let written = 0; written < RESERVE_BYTES; written += part.length) await handle.write(part);
    } finally {
      await handle.close();
    }
    await rename(temporary, reserve);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
