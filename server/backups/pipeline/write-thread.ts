/** A writing thread: reads, cuts, hashes, compresses and packs. Calls are synchronous; it has nothing else to do. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { openTarget } from '../targets/open-target.ts';
import { isSystemError } from '../../lib/errors.ts';
import { noteGarbage } from '../../lib/process-memory.ts';
import { CHUNK_ID_BYTES, chunkIdOf, compressChunk, sha256 } from './chunk.ts';
import { ChunkTable } from './chunk-table.ts';
import { findHoles } from './holes.ts';
import { openPackStore } from './pack-store.ts';
import type { PackKind } from './pack.ts';
import { fsPathOf } from './path-bytes.ts';
import { serveThread, tellPool, turn } from './thread-pool.ts';
import {
  EXTENT,
  type BytesBatch,
  type BytesResult,
  type ExtentBatch,
  type ExtentResults,
  type WriteEvent,
  type WriteRequest,
  type WriteResult,
  type WriteThreadData,
} from './write-messages.ts';

/** How much is worked on before writes and read-backs in flight get their turn. */
const TURN_BYTES = 1024 * 1024;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

const data = workerData as WriteThreadData;
const secret = Buffer.from(data.generation.chunkIdSecret);
const table = new ChunkTable(data.tables);
const target = await openTarget(data.target);
const tell = (event: WriteEvent): void => tellPool(event);
const packs = openPackStore({
  target,
  recipient: data.generation.recipient,
  generation: data.generation.generation,
  packBytes: data.packBytes,
  onWritten: (sizeBytes) => tell({ kind: 'written', sizeBytes }),
  onStored: (pack) => tell({ kind: 'stored', pack }),
});

let readBuffer = Buffer.alloc(0);
let sinceTurn = 0;
const added = { chunks: 0, bytesAdded: 0, bytesStored: 0 };

/** Grows as chunks of one batch come; 64 bytes each. */
class ChunkList {
  #ids: Buffer = Buffer.allocUnsafeSlow(64 * CHUNK_ID_BYTES);
  #digests: Buffer = Buffer.allocUnsafeSlow(64 * CHUNK_ID_BYTES);
  #end = 0;

  push(id: Buffer, digest: Buffer): void {
    if (this.#end === this.#ids.length) {
      this.#ids = doubled(this.#ids);
      this.#digests = doubled(this.#digests);
    }
    id.copy(this.#ids, this.#end);
    digest.copy(this.#digests, this.#end);
    this.#end += CHUNK_ID_BYTES;
  }

  take(): { ids: Uint8Array; digests: Uint8Array; transfer: ArrayBuffer[] } {
    const ids = Uint8Array.prototype.slice.call(this.#ids, 0, this.#end);
    const digests = Uint8Array.prototype.slice.call(this.#digests, 0, this.#end);
    return { ids, digests, transfer: [ids.buffer, digests.buffer] };
  }
}

function doubled(buffer: Buffer): Buffer {
  const larger = Buffer.allocUnsafeSlow(buffer.length * 2);
  buffer.copy(larger);
  return larger;
}

async function storeChunk(packKind: PackKind, chunk: Uint8Array, list: ChunkList): Promise<void> {
  const digest = sha256(chunk);
  const id = chunkIdOf(secret, digest);
  list.push(id, digest);
  if (table.claim(id)) {
    const frame = compressChunk(chunk);
    added.chunks++;
    added.bytesAdded += chunk.length;
    added.bytesStored += frame.length;
    await packs.add(packKind, id, frame, chunk.length);
    noteGarbage(chunk.length + frame.length);
  }
  sinceTurn += chunk.length;
  if (sinceTurn < TURN_BYTES) return;
  sinceTurn = 0;
  await turn();
}

/** Fills `into` from the file as far as the file goes. */
function readFully(descriptor: number, into: Buffer, position: number): number {
  let length = 0;
  while (length < into.length) {
    const count = readSync(descriptor, into, length, into.length - length, position + length);
    if (count === 0) break;
    length += count;
  }
  return length;
}

interface Extent {
  path: string;
  offset: number;
  length: number;
  sparse: boolean;
  /** Device, inode, mtime in ns, size. */
  stat: BigInt64Array;
}

interface ExtentOutcome {
  state: number;
  length: number;
  chunks: number;
  holes: [number, number][];
}

/** Keeps `outcome` true at every step: what was read before an error stays counted. */
async function readExtent(
  extent: Extent,
  chunkBytes: number,
  list: ChunkList,
  outcome: ExtentOutcome,
): Promise<void> {
  // O_NONBLOCK: a fifo that took the file's place must not hold us up.
  const descriptor = openSync(fsPathOf(extent.path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    while (outcome.length < extent.length) {
      const wanted = Math.min(chunkBytes, extent.length - outcome.length);
      const at = extent.offset + outcome.length;
      const chunk = readBuffer.subarray(0, readFully(descriptor, readBuffer.subarray(0, wanted), at));
      if (chunk.length === 0) break;
      if (extent.sparse) outcome.holes.push(...findHoles(chunk, at));
      outcome.length += chunk.length;
      outcome.chunks++;
      await storeChunk('data', chunk, list);
      if (chunk.length < wanted) break;
    }
    const now = fstatSync(descriptor, { bigint: true });
    const [device, inode, mtime, size] = extent.stat;
    const same = now.dev === device && now.ino === inode && now.mtimeNs === mtime && now.size === size;
    if (!same || outcome.length !== extent.length) outcome.state = EXTENT.changed;
  } finally {
    closeSync(descriptor);
  }
}

async function readExtents(batch: ExtentBatch): Promise<{ result: ExtentResults; transfer: ArrayBuffer[] }> {
  if (readBuffer.length < batch.chunkBytes) readBuffer = Buffer.allocUnsafeSlow(batch.chunkBytes);
  const count = batch.paths.length;
  const list = new ChunkList();
  const states = new Uint8Array(count);
  const lengths = new Float64Array(count);
  const chunkCounts = new Uint32Array(count);
  const errors: Record<number, string> = {};
  const holes: Record<number, [number, number][]> = {};
  for (const [at, path] of batch.paths.entries()) {
    const extent: Extent = {
      path,
      offset: batch.offsets[at] ?? 0,
      length: batch.lengths[at] ?? 0,
      sparse: batch.sparse[at] === 1,
      stat: batch.stats.subarray(at * 4, at * 4 + 4),
    };
    const outcome: ExtentOutcome = { state: EXTENT.ok, length: 0, chunks: 0, holes: [] };
    try {
      await readExtent(extent, batch.chunkBytes, list, outcome);
    } catch (error) {
      if (!isReadError(error)) throw error;
      const gone = isSystemError(error, 'ENOENT', 'ENOTDIR');
      outcome.state = gone ? EXTENT.vanished : EXTENT.unreadable;
      errors[at] = String(error.code);
    }
    states[at] = outcome.state;
    lengths[at] = outcome.length;
    chunkCounts[at] = outcome.chunks;
    if (outcome.holes.length > 0) holes[at] = outcome.holes;
  }
  reportAdded();
  const { ids, digests, transfer } = list.take();
  return { result: { states, errors, lengths, chunkCounts, ids, digests, holes }, transfer };
}

/** An error of reading the source; one of writing the target is a HoldfastError and ends the run. */
function isReadError(error: unknown): error is NodeJS.ErrnoException {
  return (
    error instanceof Error &&
    'syscall' in error &&
    ['open', 'read', 'fstat', 'close'].includes(String(error.syscall)) &&
    !isSystemError(error, 'EMFILE', 'ENFILE', 'ENOMEM')
  );
}

async function storeBytes(batch: BytesBatch): Promise<{ result: BytesResult; transfer: ArrayBuffer[] }> {
  const list = new ChunkList();
  for (let at = 0; at < batch.data.length; at += batch.chunkBytes) {
    await storeChunk(batch.packKind, batch.data.subarray(at, at + batch.chunkBytes), list);
  }
  reportAdded();
  const { ids, digests, transfer } = list.take();
  return { result: { ids, digests }, transfer };
}

function reportAdded(): void {
  tell({ kind: 'added', ...added });
  added.chunks = 0;
  added.bytesAdded = 0;
  added.bytesStored = 0;
}

async function handle(request: WriteRequest): Promise<{ result: WriteResult; transfer?: ArrayBuffer[] }> {
  switch (request.kind) {
    case 'extents':
      return readExtents(request);
    case 'bytes':
      return storeBytes(request);
    case 'table':
      table.attach(request.memory);
      return { result: undefined };
    case 'flush':
      await packs.flush();
      return { result: undefined };
  }
}

serveThread({ handle, close: () => target.close() });
