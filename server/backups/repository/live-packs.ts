/**
 * Which packs the retained snapshots need: their file-list segments, what those name, and what chunk lists name. What a
 * segment names is kept in the catalogue, so each is read at most once, and a write-only appliance need not read any.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { Catalogue } from '../catalogue/catalogue.ts';
import { ID_BYTES } from '../catalogue/chunk-list.ts';
import type { RepositoryReadKeys, SegmentReference } from '../engine.ts';
import { decodeChunkList, readChunks } from '../pipeline/chunk-source.ts';
import { decodeSegment } from '../pipeline/list-entries.ts';
import { openPackReader, type PackReader } from '../pipeline/pack-reader.ts';
import type { ObjectReference } from '../objects/object-names.ts';
import type { Repository } from './open-repository.ts';
import { readSnapshot } from './read-snapshot.ts';
import { isWriteOnly } from './object-store.ts';

export interface LivePacks {
  /** Row numbers in the catalogue. */
  packs: Set<number>;
  /** Chunk ids of all segments and chunk lists of retained snapshots. */
  segments: Set<string>;
  /** Chunks that a snapshot names and no pack on the target has. */
  missingChunks: number;
}

/**
 * Stops rather than guesses: as long as one retained snapshot cannot be read, nothing is known to be dead.
 *
 * @param options `readAll`: read every segment from the target, also those that the catalogue knows.
 * @throws wrong_key, needs_kit, integrity_failure
 */
export async function findLivePacks(
  repository: Repository,
  snapshots: readonly ObjectReference[],
  options: { readAll: boolean } = { readAll: false },
): Promise<LivePacks> {
  const live: LivePacks = { packs: new Set(), segments: new Set(), missingChunks: 0 };
  const reader = openPackReader(repository.target, repository.keys.generations);
  const treePacks = new Set<number>();
  for (const pack of repository.catalogue.packs()) if (pack.kind === 'tree') treePacks.add(pack.row);
  const { target, keys, catalogue } = repository;
  for (const reference of snapshots) {
    // Not asked of the repository as it was opened: the writer may have published it since.
    const snapshot = await readSnapshot(target, keys, catalogue, reference);
    for (const section of snapshot.sections) {
      for (const segment of section.segments) {
        if (live.segments.has(segment.chunk)) continue;
        if (options.readAll || !repository.catalogue.knowsSegment(segment.chunk)) {
          await learnSegment({ reader, keys, from: catalogue, into: catalogue }, segment);
        }
        countLive(catalogue, treePacks, Buffer.from(segment.chunk, 'hex'), live);
      }
    }
  }
  return live;
}

/**
 * Counts chunks, and what those of them list that are segments or chunk lists themselves.
 *
 * @param treePacks rows of the packs of kind `tree`.
 */
export function countLive(
  catalogue: Pick<Catalogue, 'packOfChunk' | 'knowsSegment' | 'segmentChunks'>,
  treePacks: ReadonlySet<number>,
  ids: Uint8Array,
  live: LivePacks,
): void {
  for (let at = 0; at < ids.length; at += ID_BYTES) {
    const id = ids.subarray(at, at + ID_BYTES);
    const row = catalogue.packOfChunk(id);
    if (row === undefined) live.missingChunks++;
    else live.packs.add(row);
    if (row !== undefined && !treePacks.has(row)) continue;
    const hex = Buffer.from(id.buffer, id.byteOffset, ID_BYTES).toString('hex');
    if (live.segments.has(hex) || !catalogue.knowsSegment(hex)) continue;
    live.segments.add(hex);
    for (const listed of [...catalogue.segmentChunks(hex)]) countLive(catalogue, treePacks, listed, live);
  }
}

interface Learning {
  reader: PackReader;
  keys: RepositoryReadKeys;
  /** Where the segment's chunk is found, and where it is noted what it names. */
  from: Pick<Catalogue, 'locate'>;
  into: Pick<Catalogue, 'noteSegment'>;
}

/** Reads a segment from the target. @throws needs_kit without a key, wrong_key without one that opens it; integrity_failure */
export async function learnSegment(
  { reader, keys, from, into }: Learning,
  segment: SegmentReference,
): Promise<void> {
  if (isWriteOnly(keys)) {
    throw new HoldfastError(
      'needs_kit',
      'The catalogue does not know all file lists, so it is not known what a snapshot needs',
      {
        hint: 'Give the recovery kit once: the catalogue is rebuilt with it.',
      },
    );
  }
  const ids: string[] = [];
  for await (const { data } of readChunks(reader, from, [segment.chunk])) {
    for (const { entry } of decodeSegment(data, segment)) {
      ids.push(...(entry.chunks ?? []), ...(entry.chunkLists ?? []));
      for await (const list of readChunks(reader, from, entry.chunkLists ?? [])) {
        into.noteSegment(list.id, decodeChunkList(list.data));
      }
    }
  }
  into.noteSegment(segment.chunk, ids);
}
