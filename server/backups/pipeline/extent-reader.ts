/**
 * Has file contents read by the threads: small files many to a batch, large ones in stretches that both threads work on.
 */
import type { FileEntry } from '../engine.ts';
import type { WaitingEntry } from './tree-source.ts';
import type { WriterCore } from './chunk-writer.ts';
import { joinHoles } from './holes.ts';
import type { ByteString } from './path-bytes.ts';
import type { ProblemList } from './problem-list.ts';
import { reasonOf, type ScannedEntry } from './scan-directory.ts';
import { contentKeys, inlineContentKeys } from './stream-source.ts';
import { EXTENT, type ExtentBatch, type ExtentResults } from './write-messages.ts';
import { createFirstFailure } from './first-failure.ts';

const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_FILES = 256;
/** Stretch of a large file that one batch reads, in chunks. */
const STRETCH_CHUNKS = 8;

export interface ExtentReader {
  /** Queues a file; its entry becomes ready when its content is stored. */
  read(scanned: ScannedEntry, waiting: WaitingEntry): Promise<void>;
  /** Another name of the same file: gets the same content. */
  copy(from: WaitingEntry, to: WaitingEntry): void;
  /** Sends what is gathered, even if it is little. */
  dispatch(): Promise<void>;
  /** Resolves when some batch has ended. */
  oneDone(): Promise<void>;
  /** Sends the rest and waits for all. @throws what failed */
  finish(): Promise<void>;
  /** Waits until nothing is under way, whatever failed. */
  settle(): Promise<void>;
}

interface FileState {
  scanned: ScannedEntry;
  waiting: WaitingEntry;
  copies: WaitingEntry[];
  /** Stretches still under way, and whether more will come. */
  open: number;
  complete: boolean;
  parts: {
    offset: number;
    length: number;
    ids: Uint8Array;
    digests: Uint8Array;
    holes: [number, number][];
  }[];
  state: number;
  error: string | undefined;
}

interface Extent {
  file: FileState;
  offset: number;
  length: number;
}

export function openExtentReader(core: WriterCore, problems: ProblemList): ExtentReader {
  const chunkBytes = core.options.generation.chunking.fileChunkBytes;
  const stretchBytes = chunkBytes * STRETCH_CHUNKS;
  const states = new Map<WaitingEntry, FileState>();
  const underWay = new Set<Promise<void>>();
  let gathered: Extent[] = [];
  let gatheredBytes = 0;
  const failure = createFirstFailure();

  const oneDone = async (): Promise<void> => {
    if (underWay.size > 0) await Promise.race(underWay);
    failure.check();
  };

  const dispatch = async (): Promise<void> => {
    if (gathered.length === 0) return;
    while (underWay.size >= core.width) await oneDone();
    core.check();
    const extents = gathered;
    gathered = [];
    gatheredBytes = 0;
    const way: Promise<void> = core
      .readExtents(batchOf(extents, chunkBytes))
      .then((results) => settleExtents(extents, results))
      .catch((error: unknown) => {
        failure.note(error);
      })
      .finally(() => underWay.delete(way));
    underWay.add(way);
  };

  const settleExtents = async (extents: Extent[], results: ExtentResults): Promise<void> => {
    let chunkStart = 0;
    for (const [at, { file, offset }] of extents.entries()) {
      const chunkEnd = chunkStart + (results.chunkCounts[at] ?? 0) * 32;
      const length = results.lengths[at] ?? 0;
      file.parts.push({
        offset,
        length,
        ids: results.ids.subarray(chunkStart, chunkEnd),
        digests: results.digests.subarray(chunkStart, chunkEnd),
        holes: results.holes[at] ?? [],
      });
      chunkStart = chunkEnd;
      file.state = Math.max(file.state, results.states[at] ?? EXTENT.unreadable);
      file.error ??= results.errors[at];
      core.progress.add({ bytesDone: length });
      if (--file.open === 0 && file.complete) await settleFile(file);
    }
  };

  const settleFile = async (file: FileState): Promise<void> => {
    const { waiting } = file;
    states.delete(waiting);
    const whole = file.state === EXTENT.ok || file.state === EXTENT.changed;
    if (whole) await fillIn(core, file);
    if (file.state !== EXTENT.ok) problems.add(waiting.path, describeProblem(file));
    for (const copy of file.copies) {
      copyContent(waiting.entry, copy.entry);
      copy.gone = !whole;
      copy.ready = true;
    }
    waiting.gone = !whole;
    waiting.ready = true;
    core.progress.add({ filesDone: 1 + file.copies.length });
  };

  return {
    async read(scanned, waiting) {
      const size = Number(scanned.stats.size);
      const file: FileState = {
        scanned,
        waiting,
        copies: [],
        open: 0,
        complete: false,
        parts: [],
        state: EXTENT.ok,
        error: undefined,
      };
      waiting.ready = false;
      states.set(waiting, file);
      for (let offset = 0; offset === 0 || offset < size; offset += stretchBytes) {
        const length = Math.min(stretchBytes, size - offset);
        if (gathered.length > 0 && gatheredBytes + length > BATCH_BYTES) await dispatch();
        gathered.push({ file, offset, length });
        gatheredBytes += length;
        file.open++;
        file.complete = offset + length >= size;
        if (gatheredBytes >= BATCH_BYTES || gathered.length >= BATCH_FILES) await dispatch();
      }
    },
    copy(from, to) {
      const file = states.get(from);
      if (file === undefined) {
        copyContent(from.entry, to.entry);
        to.gone = from.gone;
      } else {
        to.ready = false;
        file.copies.push(to);
      }
    },
    dispatch,
    oneDone,
    async finish() {
      await dispatch();
      while (underWay.size > 0) await oneDone();
      failure.check();
    },
    async settle() {
      while (underWay.size > 0) await Promise.race(underWay);
    },
  };
}

function copyContent(from: FileEntry, to: FileEntry): void {
  for (const key of ['size', 'holes', 'chunks', 'chunkLists', 'hash'] as const) {
    if (from[key] !== undefined) Object.assign(to, { [key]: from[key] });
  }
}

function batchOf(extents: readonly Extent[], chunkBytes: number): ExtentBatch {
  const paths: ByteString[] = [];
  const offsets = new Float64Array(extents.length);
  const lengths = new Float64Array(extents.length);
  const stats = new BigInt64Array(extents.length * 4);
  const sparse = new Uint8Array(extents.length);
  for (const [at, { file, offset, length }] of extents.entries()) {
    const scanned = file.scanned.stats;
    paths.push(file.scanned.absolute);
    offsets[at] = offset;
    lengths[at] = length;
    stats.set([scanned.dev, scanned.ino, scanned.mtimeNs, scanned.size], at * 4);
    sparse[at] = scanned.blocks * 512n < scanned.size ? 1 : 0;
  }
  return { kind: 'extents', chunkBytes, paths, offsets, lengths, stats, sparse };
}

/** What was read is what the entry says: its size is the sum of its chunks, even when the file changed meanwhile. */
async function fillIn(core: WriterCore, file: FileState): Promise<void> {
  const parts = file.parts.sort((a, b) => a.offset - b.offset);
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const [only] = parts;
  const single = parts.length === 1 && only !== undefined;
  const ids = single ? only.ids : Buffer.concat(parts.map((part) => part.ids));
  const digests = single ? only.digests : Buffer.concat(parts.map((part) => part.digests));
  const inline = inlineContentKeys(size, ids, digests);
  const { entry } = file.waiting;
  Object.assign(entry, inline ?? (await contentKeys(core, size, ids, digests)));
  const holes = joinHoles(parts.flatMap((part) => part.holes));
  if (holes.length > 0 && file.state === EXTENT.ok) entry.holes = holes;
}

function describeProblem(file: FileState): string {
  if (file.state === EXTENT.changed) return 'changed while it was read; the copy may mix old and new content';
  if (file.state === EXTENT.vanished) return 'vanished before it was read';
  return reasonOf(Object.assign(new Error(), { code: file.error }));
}
