/**
 * The log of requests as files of lines, oldest names first. Guarantees: a request waits for none of it; a kill loses the last
 * second at most and leaves what is before readable (a torn last line is passed over); it grows neither older nor larger than said.
 * It lies beside the database, in no snapshot: it is about the machine's present, and says more about people than it is worth later.
 */
import { open, readdir, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { isSystemError } from '../../lib/errors.ts';
import { makePrivateDirectory } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const FLUSH_MS = 500;
const SEGMENT_BYTES = 4 * 1024 * 1024;
/** Lines that may wait for the disk; more are counted and dropped. */
const MOST_WAITING = 20_000;
const DAY_MS = 86_400_000;
/** `requests-1795363200000.jsonl`, with `.zst` once nothing more is added to it. */
const NAME = /^requests-(\d{13})\.jsonl(\.zst)?$/;

export interface LogLimits {
  days: number;
  mostBytes: number;
}

export interface Segment {
  name: string;
  startMs: number;
}

export interface LogFiles {
  /** One line, without its end. Never throws and never waits. */
  add(line: string): void;
  /** Newest first. */
  segments(): Promise<Segment[]>;
  /** The lines of one; empty where it went meanwhile. */
  read(segment: Segment): Promise<string[]>;
  usedBytes(): Promise<number>;
  /** Takes away what is too old or too much, now and at each new file. */
  bound(limits: LogLimits): Promise<void>;
  lost(): number;
  close(): Promise<void>;
}

export async function openLogFiles(
  folder: string,
  { clock, log }: { clock: Clock; log: Logger },
  first: LogLimits,
  segmentBytes = SEGMENT_BYTES,
): Promise<LogFiles> {
  await makePrivateDirectory(folder);
  let limits = first;
  let waiting: string[] = [];
  let lost = 0;
  let current: { handle: FileHandle; name: string; startMs: number; bytes: number } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let work: Promise<void> = Promise.resolve();

  const segments = async (): Promise<Segment[]> => {
    const found = new Map<number, Segment>();
    for (const name of (await readdir(folder)).sort()) {
      const startMs = Number(NAME.exec(name)?.[1] ?? Number.NaN);
      // Of a pair that a kill left, the compressed one is whole: it got its name by a rename.
      if (Number.isFinite(startMs)) found.set(startMs, { name, startMs });
    }
    return [...found.values()].sort((one, other) => other.startMs - one.startMs);
  };
  const read = async ({ name }: Segment): Promise<string[]> => {
    try {
      const content = await readFile(join(folder, name));
      const text = (name.endsWith('.zst') ? await decompress(content) : content).toString('utf8');
      return text.split('\n');
    } catch (error) {
      if (!isSystemError(error, 'ENOENT'))
        log.warn({ err: error, name }, 'A file of the request log cannot be read');
      return [];
    }
  };
  const close = async () => {
    const done = current;
    current = undefined;
    await done?.handle.close();
  };
  let bounded = false;
  const settle = async () => {
    // Before packing, which needs room. At the opening nobody has said yet how much is kept.
    if (bounded) await removeSpent(folder, await segments(), current?.name, limits, clock);
    const names = await readdir(folder);
    for (const name of names) {
      const spent = name.endsWith('.tmp') || names.includes(`${name}.zst`);
      if (spent) await rm(join(folder, name), { force: true });
      else if (name.endsWith('.jsonl') && name !== current?.name)
        await pack(folder, name).catch((error: unknown) => {
          log.warn({ err: error, name }, 'A file of the request log could not be packed');
        });
    }
  };
  const flush = async () => {
    timer = undefined;
    const lines = waiting;
    if (lines.length === 0) return;
    waiting = [];
    const nowMs = clock.now().getTime();
    const spent =
      current !== undefined &&
      (current.bytes >= segmentBytes || Math.floor(nowMs / DAY_MS) !== Math.floor(current.startMs / DAY_MS));
    try {
      if (spent) {
        await close();
        await settle();
      }
      current ??= await begin(folder, nowMs);
      const bytes = Buffer.from(`${lines.join('\n')}\n`);
      await current.handle.appendFile(bytes);
      current.bytes += bytes.length;
    } catch (error) {
      lost += lines.length;
      await close().catch(() => undefined);
      log.warn({ err: error, lost }, 'Requests could not be written to their log');
    }
  };
  const queue = (act: () => Promise<void>): Promise<void> => {
    work = work.then(act, act);
    return work;
  };
  // What a kill left open. The server starts without it as well.
  await settle().catch((error: unknown) => {
    log.warn({ err: error }, 'The request log could not be put in order');
  });
  return {
    add: (line) => {
      if (waiting.length >= MOST_WAITING) {
        lost += 1;
        return;
      }
      waiting.push(line);
      timer ??= setTimeout(() => void queue(flush), FLUSH_MS).unref();
    },
    segments: async () => {
      await queue(flush);
      return segments();
    },
    read,
    usedBytes: async () => sum((await sizesOf(folder, await segments())).map(({ bytes }) => bytes)),
    bound: async (next) => {
      limits = next;
      bounded = true;
      await queue(settle);
    },
    lost: () => lost,
    close: async () => {
      clearTimeout(timer);
      await queue(flush);
      await queue(close);
    },
  };
}

async function begin(folder: string, nowMs: number) {
  for (let startMs = nowMs; ; startMs += 1) {
    const name = `requests-${String(startMs).padStart(13, '0')}.jsonl`;
    try {
      const handle = await open(join(folder, name), 'ax', 0o600);
      return { handle, name, startMs, bytes: 0 };
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
    }
  }
}

/** The packed file takes the place of the plain one; a kill leaves either or both whole. */
async function pack(folder: string, name: string): Promise<void> {
  const path = join(folder, name);
  const packed = await compress(await readFile(path));
  const handle = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await handle.writeFile(packed);
    await handle.sync();
  } finally {
    await handle.close();
  }
  crashPoint('request-log.segment.packed');
  await rename(`${path}.tmp`, `${path}.zst`);
  crashPoint('request-log.segment.renamed');
  await rm(path, { force: true });
}

async function removeSpent(
  folder: string,
  newestFirst: readonly Segment[],
  kept: string | undefined,
  limits: LogLimits,
  clock: Clock,
): Promise<void> {
  const oldestMs = clock.now().getTime() - limits.days * DAY_MS;
  let bytes = 0;
  let newer: Segment | undefined;
  for (const segment of await sizesOf(folder, newestFirst)) {
    bytes += segment.bytes;
    // All in it is older than the next one's beginning.
    const old = newer !== undefined && newer.startMs < oldestMs;
    const stale = newer === undefined && segment.startMs < oldestMs - DAY_MS;
    if ((old || stale || bytes > limits.mostBytes) && segment.name !== kept)
      await rm(join(folder, segment.name), { force: true });
    newer = segment;
  }
}

async function sizesOf(folder: string, segments: readonly Segment[]) {
  return Promise.all(
    segments.map(async (segment) => ({
      ...segment,
      bytes: (await stat(join(folder, segment.name)).catch(() => undefined))?.size ?? 0,
    })),
  );
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
