/** Chunks by id, for what one thread can do: segments, chunk lists, single files. */
import { HoldfastError } from '../../lib/errors.ts';
import type { ChunkCatalogue, ChunkLocation } from '../engine.ts';
import { CHUNK_ID_BYTES, CHUNK_LIST_IDS } from './chunk.ts';
import { openStoredChunk, planSlices, SLICE_BYTES, type PackReader } from './pack-reader.ts';

/** Ids that are looked up at once. */
const LOOK_UP = 64;

export interface LocatedChunk extends ChunkLocation {
  id: string;
}

/** @throws integrity_failure when one is in no index */
export function locateAll(catalogue: Pick<ChunkCatalogue, 'locate'>, ids: readonly string[]): LocatedChunk[] {
  const locations = catalogue.locate(ids);
  return ids.map((id, at) => {
    const location = locations[at];
    if (location === undefined) throw missingChunk(id);
    return { id, ...location };
  });
}

export function missingChunk(id: string): HoldfastError {
  return new HoldfastError('integrity_failure', 'A chunk that a snapshot names is in no index', {
    hint: 'Run verify to see which files it touches, and restore from another target.',
    detail: id,
  });
}

export interface ReadChunk {
  id: string;
  /** The caller's own. */
  data: Buffer;
  /** SHA-256 of `data`. */
  digest: Buffer;
}

/** In the order asked for, each checked. @throws integrity_failure, not_found, wrong_key */
export async function* readChunks(
  packs: PackReader,
  catalogue: Pick<ChunkCatalogue, 'locate'>,
  ids: Iterable<string>,
): AsyncIterable<ReadChunk> {
  for (const batch of batches(ids, LOOK_UP)) {
    for (const run of runsOf(locateAll(catalogue, batch))) {
      const [first] = run;
      if (first === undefined) continue;
      const { secret } = await packs.key(first);
      for (const slice of planSlices(run)) {
        const plain = await packs.readPlain(first, slice.offset, slice.length);
        for (const part of slice.parts) {
          const { chunk, digest } = openStoredChunk(slice, plain, part, secret);
          yield { id: part.id, data: chunk, digest };
        }
      }
    }
  }
}

/** Consecutive chunks that also follow each other in one pack, up to a slice. */
function* runsOf(chunks: readonly LocatedChunk[]): Iterable<LocatedChunk[]> {
  let run: LocatedChunk[] = [];
  for (const chunk of chunks) {
    const [first] = run;
    const last = run.at(-1);
    const follows =
      first?.packId === chunk.packId &&
      chunk.offset > (last?.offset ?? 0) &&
      chunk.offset + chunk.storedLength - first.offset <= SLICE_BYTES;
    if (!follows && run.length > 0) {
      yield run;
      run = [];
    }
    run.push(chunk);
  }
  if (run.length > 0) yield run;
}

export function* batches<Item>(items: Iterable<Item>, size: number): Iterable<Item[]> {
  let batch: Item[] = [];
  for (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Ids, 32 bytes each back to back, as the lists that a file with many chunks names instead of them. */
export function* cutChunkLists(ids: Uint8Array): Iterable<Uint8Array> {
  const bytes = CHUNK_LIST_IDS * CHUNK_ID_BYTES;
  for (let at = 0; at < ids.length; at += bytes) yield ids.subarray(at, at + bytes);
}

/** @throws integrity_failure */
export function decodeChunkList(list: Buffer): string[] {
  if (list.length === 0 || list.length % CHUNK_ID_BYTES !== 0) {
    throw new HoldfastError('integrity_failure', 'A list of chunks has an impossible length');
  }
  const ids: string[] = [];
  for (let at = 0; at < list.length; at += CHUNK_ID_BYTES)
    ids.push(list.toString('hex', at, at + CHUNK_ID_BYTES));
  return ids;
}

/** Every chunk id of a file's content, lists opened on the way. */
export async function* chunkIdsOf(
  entry: { chunks?: string[]; chunkLists?: string[] },
  packs: PackReader,
  catalogue: ChunkCatalogue,
): AsyncIterable<string> {
  if (entry.chunkLists === undefined) {
    yield* entry.chunks ?? [];
    return;
  }
  for await (const list of readChunks(packs, catalogue, entry.chunkLists)) yield* decodeChunkList(list.data);
}
