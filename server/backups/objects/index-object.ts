/** `index/<number>-<hash>.age`: which packs there are, and where in them each chunk lies. @see FORMAT.md "Index" */
import { HoldfastError } from '../../lib/errors.ts';
import type { VerifyKey } from '../../keys/index.ts';
import type { PackChunk, WrittenPack } from '../engine.ts';
import { MAX_CHUNK_BYTES } from '../pipeline/chunk.ts';
import {
  damagedObject,
  isCount,
  isHash,
  type JsonRecord,
  readCount,
  readHash,
  readInstant,
  readList,
  readText,
} from './object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from './object-lines.ts';

/** Most chunks that one index object lists. */
export const MAX_INDEX_CHUNKS = 50_000;

/** An object that is to be deleted once its wait is over. */
export interface RemovalMark {
  name: string;
  /** When it was marked, RFC 3339. */
  since: string;
  /** The head under which it was marked. */
  head: number;
}

export interface RepositoryIndex {
  number: number;
  packs: WrittenPack[];
  /** Names of index objects that this one replaces. */
  supersedes: string[];
  removals: RemovalMark[];
}

/** @throws internal when it lists more chunks than a reader takes. */
export async function encodeIndex(
  repositoryId: string,
  index: RepositoryIndex,
  signer: ObjectSigner,
): Promise<Buffer> {
  const chunkCount = index.packs.reduce((sum, pack) => sum + pack.chunks.length, 0);
  if (chunkCount > MAX_INDEX_CHUNKS) {
    throw new HoldfastError('internal', 'An index object would list too many chunks', {
      detail: `${String(chunkCount)} chunks`,
    });
  }
  return encodeObject({ type: 'index', repositoryId, number: index.number }, linesOf(index), signer);
}

function* linesOf(index: RepositoryIndex): Iterable<object> {
  if (index.supersedes.length > 0) yield { supersedes: index.supersedes };
  for (const pack of index.packs) yield packLine(pack);
  for (const mark of index.removals) yield { remove: mark.name, since: mark.since, head: mark.head };
}

/** A pack as index objects and lists of born files name it. */
export function packLine(pack: WrittenPack): object {
  return {
    pack: pack.id,
    kind: pack.kind,
    sizeBytes: pack.sizeBytes,
    headerLength: pack.headerLength,
    generation: pack.generation,
    chunks: pack.chunks.map((chunk) => [chunk.id, chunk.offset, chunk.storedLength, chunk.originalLength]),
  };
}

/** @throws as `decodeObject`. */
export function decodeIndex(
  plaintext: Uint8Array,
  expected: { repositoryId: string; number: number },
  keys: readonly VerifyKey[],
): RepositoryIndex {
  const index: RepositoryIndex = { number: expected.number, packs: [], supersedes: [], removals: [] };
  let chunkCount = 0;
  for (const record of decodeObject(plaintext, { type: 'index', ...expected }, keys)) {
    if ('pack' in record) {
      const pack = readPack(record);
      chunkCount += pack.chunks.length;
      if (chunkCount > MAX_INDEX_CHUNKS) throw damagedObject('an index lists too many chunks');
      index.packs.push(pack);
    } else if ('supersedes' in record) {
      index.supersedes.push(...readList(record, 'supersedes').map(String));
    } else if ('remove' in record) {
      index.removals.push({
        name: readText(record, 'remove'),
        since: readInstant(record, 'since'),
        head: readCount(record, 'head'),
      });
    }
  }
  return index;
}

/** @see packLine */
export function readPack(record: JsonRecord): WrittenPack {
  const kind = record.kind;
  if (kind !== 'data' && kind !== 'tree') throw damagedObject('a pack is of no known kind');
  return {
    id: readHash(record, 'pack'),
    kind,
    sizeBytes: readCount(record, 'sizeBytes'),
    headerLength: readCount(record, 'headerLength'),
    generation: readCount(record, 'generation'),
    chunks: readList(record, 'chunks').map(readChunk),
  };
}

function readChunk(value: unknown): PackChunk {
  if (!Array.isArray(value)) throw damagedObject('a chunk is not a list');
  const [id, offset, storedLength, originalLength] = value as unknown[];
  if (!isHash(id) || !isCount(offset) || !isCount(storedLength) || !isCount(originalLength)) {
    throw damagedObject('a chunk is not valid');
  }
  if (originalLength > MAX_CHUNK_BYTES) throw damagedObject('a chunk is longer than any chunk may be');
  return { id, offset, storedLength, originalLength };
}

/** Splits packs into groups that each fit an index object. @throws internal for a pack that fits none. */
export function groupForIndex(packs: readonly WrittenPack[]): WrittenPack[][] {
  const groups: WrittenPack[][] = [];
  let room = 0;
  for (const pack of packs) {
    if (pack.chunks.length > MAX_INDEX_CHUNKS) {
      throw new HoldfastError('internal', 'A pack holds more chunks than an index object may list');
    }
    const last = groups.at(-1);
    if (last !== undefined && pack.chunks.length <= room) {
      last.push(pack);
      room -= pack.chunks.length;
    } else {
      groups.push([pack]);
      room = MAX_INDEX_CHUNKS - pack.chunks.length;
    }
  }
  return groups;
}
