/**
 * What a snapshot keeps of the machine itself, gathered where runs may read it: which image runs and its bytes, what is
 * installed, settings, the header of the data volume. With it and the data the same machine can be made again.
 *
 * No secret is among it: no way that unlocks, no password of a share, no wrapped root key.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, chown, copyFile, link, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants as zlib, createZstdCompress } from 'node:zlib';
import { isSystemError } from '../../lib/errors.ts';
import {
  makePrivateDirectory,
  readFileIfPresent,
  syncDirectory,
  temporaryBeside,
  writeFileDurably,
} from '../../lib/files.ts';
import { runProcess } from '../../lib/spawn.ts';
import type { HostDeps } from './host-app.ts';
import { readImageFacts } from './image-facts.ts';
import type { Slot } from './updates/schema.ts';

export interface SystemFactsDeps extends Pick<HostDeps, 'places' | 'clock'> {
  slots(): Promise<Slot[]>;
  /** Bundle of the version that runs, where it came by an update. */
  runningBundle(): Promise<string | undefined>;
  /** Device of the slot that runs. */
  rootDevice: string;
  /** Bytes of it that the system fills; undefined: all. */
  rootBytes: number | undefined;
  /** Group whose members take snapshots; undefined: ours. */
  readerGid: number | undefined;
}

/** Below `/data/system`; everything else there stays root's alone. */
export const SYSTEM_FACTS_FOLDER = 'snapshot';
const IMAGES = 'image';

/** Brings the folder up to date. Cheap when nothing changed; the image is copied once for each version. @returns the folder. */
export async function keepSystemFacts(deps: SystemFactsDeps): Promise<string> {
  const system = join(deps.places.data, 'system');
  const folder = join(system, SYSTEM_FACTS_FOLDER);
  await makePrivateDirectory(system);
  // Passage only: each thing in it has rights of its own.
  await chmod(system, 0o711);
  await makeFolder(deps, folder);
  await makeFolder(deps, join(folder, IMAGES));
  const image = await readImageFacts(deps.places);
  const kept = await keepImage(deps, join(folder, IMAGES), image.version);
  await keepText(deps, join(folder, 'packages.txt'), await listPackages());
  const settings = await readFileIfPresent(join(deps.places.state, 'settings.json'));
  if (settings !== undefined) await keepText(deps, join(folder, 'settings.json'), settings.toString('utf8'));
  await keepHeader(deps, join(system, 'luks-header.img'), join(folder, 'luks-header.img'));
  const facts = { format: 1, image, imageFile: kept, slots: await deps.slots() };
  await keepText(deps, join(folder, 'system.json'), `${JSON.stringify(facts, null, 2)}\n`);
  return folder;
}

async function makeFolder(deps: SystemFactsDeps, path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o750 });
  await letRead(deps, path, 0o750);
}

async function letRead(deps: SystemFactsDeps, path: string, mode: number): Promise<void> {
  if (deps.readerGid !== undefined) await chown(path, process.getuid?.() ?? 0, deps.readerGid);
  await chmod(path, mode);
}

/** A file that did not change keeps its time: the snapshot then need not read it again. */
async function keepText(deps: SystemFactsDeps, path: string, text: string): Promise<void> {
  const present = await readFileIfPresent(path);
  if (present?.toString('utf8') !== text) await writeFileDurably(path, text, { mode: 0o640 });
  await letRead(deps, path, 0o640);
}

async function keepHeader(deps: SystemFactsDeps, from: string, to: string): Promise<void> {
  const [source, copy] = await Promise.all([stat(from), stat(to)].map((one) => one.catch(() => undefined)));
  if (source === undefined || (copy !== undefined && copy.mtimeMs >= source.mtimeMs)) return;
  const unfinished = temporaryBeside(to);
  await copyFile(from, unfinished);
  await letRead(deps, unfinished, 0o640);
  await rename(unfinished, to);
}

/** @returns the name of the file with the system's own bytes, and its hash. */
async function keepImage(
  deps: SystemFactsDeps,
  folder: string,
  version: string,
): Promise<{ name: string; sha256: string }> {
  const name = `holdfast-${version.replaceAll(/[^A-Za-z0-9.+-]/g, '_')}`;
  const names = await readdir(folder);
  const present = names.find((one) => one.startsWith(`${name}.`) && !one.endsWith('.sha256'));
  const kept = present ?? (await copyImage(deps, folder, name));
  for (const old of names.filter((one) => !one.startsWith(`${name}.`))) await rm(join(folder, old));
  const path = join(folder, kept);
  const noted = (await readFileIfPresent(`${path}.sha256`))?.toString('utf8').trim();
  const sha256 = noted ?? (await hashFile(path));
  await keepText(deps, `${path}.sha256`, `${sha256}\n`);
  return { name: kept, sha256 };
}

/** The bundle that brought it, which still carries the publisher's signature; else what is in the slot, compressed. */
async function copyImage(deps: SystemFactsDeps, folder: string, name: string): Promise<string> {
  const bundle = await deps.runningBundle();
  const target = bundle === undefined ? `${name}.ext4.zst` : `${name}.raucb`;
  const unfinished = temporaryBeside(join(folder, target));
  if (bundle === undefined) {
    // Snapshots wait for it: the quick level, which costs a seventh more room.
    const zstd = createZstdCompress({ params: { [zlib.ZSTD_c_compressionLevel]: 1 } });
    const end = deps.rootBytes === undefined ? {} : { end: deps.rootBytes - 1 };
    const read = createReadStream(deps.rootDevice, { highWaterMark: 1024 * 1024, ...end });
    await pipeline(read, zstd, createWriteStream(unfinished, { mode: 0o640, flush: true }));
  } else {
    await link(bundle, unfinished).catch(async (error: unknown) => {
      if (!isSystemError(error, 'EXDEV', 'EPERM', 'ENOTSUP')) throw error;
      await copyFile(bundle, unfinished);
    });
  }
  await letRead(deps, unfinished, 0o640);
  await rename(unfinished, join(folder, target));
  await syncDirectory(folder);
  return target;
}

const VERITY_BLOCK = 4096;
/** SHA-256: hashes in a block of the tree. */
const HASHES_IN_BLOCK = VERITY_BLOCK / 32;

/**
 * Length of a slot's content, file system and hash tree, as the kernel was told by the boot loader; the rest of the slot is left
 * from what it held before. @see https://docs.kernel.org/admin-guide/device-mapper/verity.html (Hash Tree)
 *
 * @param commandLine of the kernel. @returns undefined where it names no hash tree.
 */
export function slotContentBytes(commandLine: string): number | undefined {
  const offset = Number(/(?:^| )holdfast\.hashoffset=(\d{1,15})(?: |$)/m.exec(commandLine)?.[1] ?? 0);
  if (offset === 0) return undefined;
  // The superblock of the tree comes first.
  let blocks = 1;
  for (let level = offset / VERITY_BLOCK; level > 1; blocks += level)
    level = Math.ceil(level / HASHES_IN_BLOCK);
  return offset + blocks * VERITY_BLOCK;
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(part as Buffer);
  return hash.digest('hex');
}

/** Name, version and architecture of every package; empty where the image keeps no list. */
async function listPackages(): Promise<string> {
  const format = '${Package} ${Version} ${Architecture}\n';
  const ended = await runProcess('dpkg-query', ['-W', '-f', format], {
    timeoutMs: 30_000,
    maxOutputBytes: 1024 * 1024,
  }).catch(() => undefined);
  return ended?.exitCode === 0 ? ended.stdout : '';
}
