/**
 * Where bundles wait: a folder on the data volume that only root may enter. One that is received grows in a file of its own
 * and counts only when it is whole, on disk, and found good; one that is cut off goes on where it stopped.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Value } from 'typebox/value';
import type { Clock } from '../../../lib/clock.ts';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError, isSystemError } from '../../../lib/errors.ts';
import {
  explainWriteError,
  makePrivateDirectory,
  readFileIfPresent,
  syncDirectory,
  writeFileDurably,
} from '../../../lib/files.ts';
import type { BundleReader } from './rauc.ts';
import { inspectBundle } from './bundle.ts';
import { Bundle, type PartialBundle, type UploadQuery } from './schema.ts';

/** An image is to stay below 1.2 GiB; a bundle holds one. */
export const BUNDLE_LIMIT_BYTES = 4 * 1024 ** 3;
/** Kept free for the database while a bundle arrives. */
const RESERVE_BYTES = 512 * 1024 ** 2;
/** What was cut off longer ago is not gone on with. */
const PARTIAL_LIFE_MS = 7 * 24 * 3_600_000;
const FOREIGN_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,120}\.raucb$/;

interface StoreDeps {
  /** `/data/system` */
  systemDir: string;
  reader: BundleReader;
  clock: Clock;
}

export interface BundleStore {
  readonly folder: string;
  path(sha256: string): string;
  list(): Promise<Bundle[]>;
  get(sha256: string): Promise<Bundle>;
  partial(key: string): Promise<PartialBundle>;
  /** Takes bytes in. @throws HoldfastError `unavailable` when the stream ended early: what came is kept; `integrity_failure`. */
  receive(query: UploadQuery, body: Readable): Promise<Bundle>;
  /** Takes a file that is whole, and moves it here. @throws HoldfastError when it is refused; it is removed then. */
  adopt(file: string, source: Bundle['source']): Promise<Bundle>;
  /** Takes what somebody put into the folder `incoming` by other ways. */
  collect(): Promise<{ taken: Bundle[]; refused: { name: string; reason: string }[] }>;
  remove(sha256: string): Promise<void>;
}

export function openBundleStore(deps: StoreDeps): BundleStore {
  const folder = join(deps.systemDir, 'updates');
  const path = (sha256: string) => join(folder, `${sha256}.raucb`);
  const list = () => listBundles(folder);
  return {
    folder,
    path,
    list,
    async get(sha256) {
      const found = (await list()).find((bundle) => bundle.sha256 === sha256);
      if (found !== undefined) return found;
      throw new HoldfastError('not_found', 'There is no such update on this appliance', {
        hint: 'Upload it again.',
      });
    },
    partial: (key) => readPartial(folder, key),
    async receive(query, body) {
      await makePrivateDirectory(folder);
      await dropOldPartials(folder, deps.clock);
      const file = await appendBody(folder, query, body);
      return take(deps, folder, file, query.source);
    },
    adopt: (file, source) => take(deps, folder, file, source),
    collect: () => collect(deps, folder),
    async remove(sha256) {
      await rm(join(folder, `${sha256}.json`), { force: true });
      await rm(path(sha256), { force: true });
      await syncDirectory(folder);
    },
  };
}

async function listBundles(folder: string): Promise<Bundle[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const bundles: Bundle[] = [];
  for (const name of names.filter((one) => /^[0-9a-f]{64}\.json$/.test(one))) {
    const facts = parse(await readFileIfPresent(join(folder, name)));
    const there = await stat(join(folder, name.replace('.json', '.raucb'))).catch(() => undefined);
    if (Value.Check(Bundle, facts) && there?.size === facts.sizeBytes) bundles.push(facts);
  }
  return bundles.sort((a, b) => a.receivedAt.localeCompare(b.receivedAt));
}

function parse(content: Buffer | undefined): unknown {
  try {
    return content === undefined ? undefined : (JSON.parse(content.toString('utf8')) as unknown);
  } catch {
    return undefined;
  }
}

async function readPartial(folder: string, key: string): Promise<PartialBundle> {
  const found = await stat(join(folder, `${key}.part`)).catch(() => undefined);
  const tag = await readFileIfPresent(join(folder, `${key}.tag`));
  return { offset: found?.size ?? 0, tag: tag === undefined ? null : tag.toString('utf8') };
}

async function dropOldPartials(folder: string, clock: Clock): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!/\.(part|tag)$/.test(name)) continue;
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found !== undefined && clock.now().getTime() - found.mtimeMs > PARTIAL_LIFE_MS)
      await rm(join(folder, name), { force: true });
  }
}

/** @returns the whole file, synced. */
async function appendBody(folder: string, query: UploadQuery, body: Readable): Promise<string> {
  const { key } = query;
  const [offset, total] = [Number(query.offset), Number(query.total)];
  const file = join(folder, `${key}.part`);
  if (total > BUNDLE_LIMIT_BYTES) throw tooLarge();
  const before = await readPartial(folder, key);
  if (offset > 0 && (before.offset !== offset || before.tag !== (query.tag ?? null))) {
    throw new HoldfastError('conflict', 'This upload cannot go on there', {
      hint: `Start over, or go on at byte ${String(before.offset)}.`,
    });
  }
  await checkSpace(folder, total - offset);
  if (query.tag === undefined) await rm(join(folder, `${key}.tag`), { force: true });
  else await writeFileDurably(join(folder, `${key}.tag`), query.tag);
  const handle = await open(file, offset === 0 ? 'w' : 'a', 0o600);
  let at = offset;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      at += part.length;
      if (at > total) throw tooLarge();
      await handle.writeFile(part);
    }
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    if (!isSystemError(error, 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR'))
      throw explainWriteError(error, file);
  } finally {
    await handle.sync();
    await handle.close();
  }
  crashPoint('update.upload.synced');
  if (at === total) return file;
  throw new HoldfastError('unavailable', `The upload was cut off at byte ${String(at)} of ${String(total)}`, {
    hint: 'Send it again: it goes on where it stopped.',
  });
}

/** @throws HoldfastError `no_space` when so much more would leave too little for the database. */
export async function checkSpace(folder: string, wanted: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free - wanted >= RESERVE_BYTES) return;
  const mebi = (bytes: number) => `${String(Math.ceil(bytes / 1024 ** 2))} MiB`;
  throw new HoldfastError('no_space', `The update needs ${mebi(wanted)}; ${mebi(free)} are free`, {
    hint: `Give the data volume at least ${mebi(wanted + RESERVE_BYTES - free)} more, or delete something.`,
  });
}

/** @throws HoldfastError `too_large` beyond the limit of a bundle. */
export function refuseTooLarge(sizeBytes: number): void {
  if (sizeBytes > BUNDLE_LIMIT_BYTES) throw tooLarge();
}

function tooLarge(): HoldfastError {
  return new HoldfastError('too_large', 'The update is larger than was said, or than 4 GiB', {
    hint: 'A bundle of Holdfast is below 2 GiB. Is this the right file?',
  });
}

/** Hashes, inspects and publishes; what is refused is removed. */
async function take(
  deps: StoreDeps,
  folder: string,
  file: string,
  source: Bundle['source'],
): Promise<Bundle> {
  try {
    const facts = await inspectBundle(deps.reader, file);
    const sha256 = await hashFile(file);
    const bundle: Bundle = {
      sha256,
      version: facts.version,
      compatible: facts.compatible,
      from: facts.from,
      build: facts.build,
      signedBy: facts.signedBy,
      sizeBytes: (await stat(file)).size,
      receivedAt: deps.clock.now().toISOString(),
      source,
    };
    await rename(file, join(folder, `${sha256}.raucb`));
    crashPoint('update.bundle.renamed');
    await writeFileDurably(join(folder, `${sha256}.json`), `${JSON.stringify(bundle)}\n`, {
      step: 'update.bundle',
    });
    return bundle;
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await rm(file.replace(/\.part$/, '.tag'), { force: true });
  }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(part as Buffer);
  return hash.digest('hex');
}

async function collect(
  deps: StoreDeps,
  folder: string,
): Promise<Awaited<ReturnType<BundleStore['collect']>>> {
  const incoming = join(folder, 'incoming');
  await makePrivateDirectory(incoming);
  const taken: Bundle[] = [];
  const refused: { name: string; reason: string }[] = [];
  for (const entry of await readdir(incoming, { withFileTypes: true })) {
    // A link could name any file of the machine.
    if (!entry.isFile() || !FOREIGN_NAME.test(entry.name)) continue;
    const file = join(folder, `${createHash('sha256').update(entry.name).digest('hex')}.part`);
    await rename(join(incoming, entry.name), file);
    try {
      taken.push(await take(deps, folder, file, 'disk'));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      refused.push({ name: entry.name, reason: `${error.message}. ${error.hint ?? ''}`.trim() });
    }
  }
  return { taken, refused };
}
