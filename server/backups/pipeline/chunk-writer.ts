/**
 * The bulk writer of one run: sources go in, packs come out on the target, and their places are handed to whoever
 * publishes indexes. Chunks that the repository has are not stored again.
 *
 * Guarantees: `onPacks` is told of a pack only when it is durable and was read back; `finish` resolves when it was told of
 * all. Stopped at any point, the repository holds at most packs that no index names, which prune sweeps.
 * Memory does not depend on the number of files; it holds 20 bytes per chunk of the repository, for looking them up.
 */
import { systemClock, type Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type {
  ChunkCatalogue,
  ReportProgress,
  RepositoryGeneration,
  SourceSection,
  TargetConfig,
  WrittenPack,
} from '../engine.ts';
import { chunkIdOf, MAX_CHUNK_BYTES } from './chunk.ts';
import { ChunkTable } from './chunk-table.ts';
import { MAX_PACK_BYTES } from './pack.ts';
import type { PackKind } from './pack.ts';
import { createProgressMeter } from './progress-meter.ts';
import { chunksInLines, createSectionBuilder, type SectionBuilder } from './section-builder.ts';
import { openStreamSource, type SourceWriter } from './stream-source.ts';
import { BULK_THREADS, openThreadPool } from './thread-pool.ts';
import { addTree, type TreeOptions } from './tree-source.ts';
import type {
  BytesResult,
  ExtentBatch,
  ExtentResults,
  WriteEvent,
  WriteRequest,
  WriteResult,
  WriteThreadData,
} from './write-messages.ts';
import { createFirstFailure } from './first-failure.ts';

/** Packs are handed to the index when so many chunks or packs have gathered. */
const INDEX_CHUNKS = 40_000;
const INDEX_PACKS = 128;

export interface ChunkWriterOptions {
  target: TargetConfig;
  /** The newest; its recipient is written to, its secret makes the chunk ids. */
  generation: RepositoryGeneration;
  /** All that may be read: for unchanged files the parent's file list is needed. Just `generation` when absent. */
  generations?: readonly RepositoryGeneration[];
  catalogue: ChunkCatalogue;
  /** Publishes an index of these packs; the next call waits for it. */
  onPacks: (packs: WrittenPack[]) => Promise<void>;
  signal?: AbortSignal;
  progress?: ReportProgress;
  clock?: Clock;
  /** Threads that do the bulk work. */
  threads?: number;
}

export interface WriteTotals {
  packs: number;
  /** Chunks that were new. */
  chunks: number;
  /** Their length before compression. */
  bytesAdded: number;
  /** Length of the packs as stored. */
  bytesStored: number;
  /** From opening the writer to the last durable pack, ms. */
  writtenAfterMs: number;
  /** From opening the writer until the last pack was read back, ms. */
  storedAfterMs: number;
}

export interface ChunkWriter {
  /** Backs up a directory tree. `root` is absolute. @throws cancelled, and what a target or the root itself may throw. */
  addTree(root: string, options: TreeOptions): Promise<SourceSection>;
  /** A source whose entries and contents come from the caller, in any order of paths. */
  openSource(name: string, kind: SourceSection['kind'], facts: Record<string, unknown>): SourceWriter;
  /** Whether the repository, with what this run has added, holds these chunks. */
  has(ids: readonly string[]): boolean[];
  /** Everything stored and handed over. The writer is closed afterwards. */
  finish(): Promise<WriteTotals>;
  /** Stops without publishing more; what is on its way ends first. Safe to call at any time, and after `finish`. */
  abort(): Promise<void>;
}

/** What sources need of the writer. */
export interface WriterCore {
  readonly options: ChunkWriterOptions;
  readonly clock: Clock;
  readonly progress: ReturnType<typeof createProgressMeter>;
  /** Pending jobs and how many make sense. */
  readonly pending: number;
  readonly width: number;
  has(id: Buffer): boolean;
  storeBytes(packKind: PackKind, data: Uint8Array, chunkBytes: number): Promise<BytesResult>;
  readExtents(batch: ExtentBatch): Promise<ExtentResults>;
  openSection(): SectionBuilder;
  /** @throws cancelled, or what failed behind the caller's back */
  check(): void;
}

export function openChunkWriter(options: ChunkWriterOptions): ChunkWriter {
  checkChunking(options.generation);
  const clock = options.clock ?? systemClock;
  const startedMs = clock.monotonicMs();
  const totals: WriteTotals = {
    packs: 0,
    chunks: 0,
    bytesAdded: 0,
    bytesStored: 0,
    writtenAfterMs: 0,
    storedAfterMs: 0,
  };
  const progress = createProgressMeter(clock, options.progress);
  const memories = [loadTable(options.catalogue)];
  const table = new ChunkTable(memories);
  const secret = Buffer.from(options.generation.chunkIdSecret);
  const failure = createFirstFailure();
  let closed = false;

  const publisher = createPublisher(options.onPacks, (error) => {
    failure.note(error);
  });

  const onEvent = (event: unknown): void => {
    const told = event as WriteEvent;
    if (told.kind === 'added') {
      totals.chunks += told.chunks;
      totals.bytesAdded += told.bytesAdded;
      progress.add({ bytesAdded: told.bytesAdded });
    } else if (told.kind === 'written') {
      totals.bytesStored += told.sizeBytes;
      totals.writtenAfterMs = clock.monotonicMs() - startedMs;
      progress.add({ bytesStored: told.sizeBytes });
    } else {
      totals.packs++;
      totals.storedAfterMs = clock.monotonicMs() - startedMs;
      publisher.add(told.pack);
    }
  };

  const { generation, recipient, chunkIdSecret } = options.generation;
  const pool = openThreadPool<WriteRequest, WriteResult>({
    script: new URL('./write-thread.ts', import.meta.url),
    threads: options.threads ?? BULK_THREADS,
    workerData: {
      target: options.target,
      generation: { generation, recipient, chunkIdSecret },
      packBytes: options.generation.chunking.packBytes,
      // The same array each time: a thread that starts late gets the tables that were added meanwhile.
      tables: memories,
    } satisfies WriteThreadData,
    onEvent,
  });

  const check = (): void => {
    if (options.signal?.aborted === true) throw new HoldfastError('cancelled', 'The run was cancelled');
    failure.check();
    if (closed) throw new HoldfastError('internal', 'The writer is closed');
  };

  const run = async (request: WriteRequest, transfer: ArrayBuffer[] = []): Promise<WriteResult> => {
    check();
    const more = table.next();
    if (more !== undefined) {
      memories.push(more);
      table.attach(more);
      await pool.runOnEach({ kind: 'table', memory: more });
    }
    return pool.run(request, transfer);
  };

  const core: WriterCore = {
    options,
    clock,
    progress,
    get pending() {
      return pool.pending;
    },
    width: pool.width,
    has: (id) => table.has(id),
    storeBytes: async (packKind, data, chunkBytes) =>
      (await run({ kind: 'bytes', packKind, chunkBytes, data }, [data.buffer as ArrayBuffer])) as BytesResult,
    readExtents: async (batch) =>
      (await run(batch, [
        batch.offsets.buffer as ArrayBuffer,
        batch.lengths.buffer as ArrayBuffer,
        batch.stats.buffer as ArrayBuffer,
        batch.sparse.buffer as ArrayBuffer,
      ])) as ExtentResults,
    openSection: () =>
      createSectionBuilder(async (segment, digest) => {
        const id = chunkIdOf(secret, digest);
        options.catalogue.noteSegment(id.toString('hex'), chunksInLines(segment));
        if (!table.has(id)) await core.storeBytes('tree', ownBytes(segment), MAX_CHUNK_BYTES);
        return id.toString('hex');
      }),
    check,
  };

  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    await pool.close();
    await publisher.idle();
  };

  return {
    addTree: (root, treeOptions) => addTree(core, root, treeOptions),
    openSource: (name, kind, facts) => openStreamSource(core, name, kind, facts),
    has: (ids) => ids.map((id) => table.has(Buffer.from(id, 'hex'))),
    async finish() {
      try {
        check();
        progress.step('storing');
        await pool.runOnEach({ kind: 'flush' });
        publisher.publish();
        await publisher.idle();
        check();
      } finally {
        await close();
      }
      progress.flush();
      return totals;
    },
    abort: close,
  };
}

/** Bytes with a buffer of their own, so that it can be handed to another thread. */
export function ownBytes(data: Uint8Array): Uint8Array {
  const alone = data.byteOffset === 0 && data.byteLength === data.buffer.byteLength;
  return alone && data.constructor === Uint8Array ? data : Uint8Array.from(data);
}

function loadTable(catalogue: ChunkCatalogue): SharedArrayBuffer {
  const known = catalogue.count();
  const memory = ChunkTable.allocate(known);
  if (known === 0) return memory;
  const table = new ChunkTable([memory]);
  for (const id of catalogue.ids()) table.claim(Buffer.from(id.buffer, id.byteOffset, id.byteLength));
  return memory;
}

function checkChunking({ chunking }: RepositoryGeneration): void {
  const { fileChunkBytes, relationChunkBytes, packBytes } = chunking;
  const whole = [fileChunkBytes, relationChunkBytes, packBytes].every(
    (bytes) => Number.isSafeInteger(bytes) && bytes >= 4096,
  );
  if (whole && fileChunkBytes <= MAX_CHUNK_BYTES && relationChunkBytes <= MAX_CHUNK_BYTES) {
    if (packBytes <= MAX_PACK_BYTES - 2 * MAX_CHUNK_BYTES) return;
  }
  throw new HoldfastError('invalid_input', 'The repository has impossible chunk or pack sizes');
}

/** Hands packs on in batches, one after another. */
function createPublisher(onPacks: ChunkWriterOptions['onPacks'], onFailure: (error: unknown) => void) {
  let gathered: WrittenPack[] = [];
  let chunks = 0;
  let chain: Promise<void> = Promise.resolve();
  let failed = false;

  const publish = (): void => {
    if (gathered.length === 0) return;
    const batch = gathered;
    gathered = [];
    chunks = 0;
    chain = chain.then(async () => {
      if (failed) return;
      try {
        await onPacks(batch);
        crashPoint('backups.packs.indexed');
      } catch (error) {
        failed = true;
        onFailure(error);
      }
    });
  };

  return {
    add(pack: WrittenPack): void {
      gathered.push(pack);
      chunks += pack.chunks.length;
      if (chunks >= INDEX_CHUNKS || gathered.length >= INDEX_PACKS) publish();
    },
    publish,
    idle: () => chain,
  };
}
