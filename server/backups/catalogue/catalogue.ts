/**
 * The catalogue: what is known of a repository on one target, in one SQLite file. Only a cache, compared with the head and
 * the listing of the target before each run and rebuilt from there; but a write-only appliance, which cannot read its own
 * index and snapshots, finds here all that forget and prune need.
 *
 * Memory does not grow with the repository: rows are read one at a time, ids leave as views of one pack's blob.
 */
import type { DatabaseSync } from 'node:sqlite';
import { HoldfastError, isSystemError, messageOf } from '../../lib/errors.ts';
import type { ChunkCatalogue, ChunkLocation, SnapshotRecord, WrittenPack } from '../engine.ts';
import { wholeRecord, withoutExpired } from '../expired-parts.ts';
import type { ExpiredParts, KeyringState } from '../objects/head-object.ts';
import type { RemovalMark, RepositoryIndex } from '../objects/index-object.ts';
import { type ObjectReference } from '../objects/object-names.ts';
import { asBuffer, ID_BYTES, packChunkList, rawChunks, unpackChunkList } from './chunk-list.ts';
import { type CatalogueQueries, prepareQueries } from './queries.ts';

/** Beginning of the names of facts that hold the end of an object's lock. */
const LOCK = 'lock:';

/** Chunk ids in one row of a segment's list. */
const SEGMENT_PART_IDS = 4096;

/** `missing`: not on the target. `damaged`: there, but not what was written; parts of it may still be readable. */
export type PackState = 'present' | 'missing' | 'damaged';

/** As stored: the position is the number. */
const PACK_STATES: readonly PackState[] = ['present', 'missing', 'damaged'];

export interface PackSummary {
  /** Row number, for `packsOfChunks`. */
  row: number;
  id: string;
  kind: 'data' | 'tree';
  sizeBytes: number;
  index: ObjectReference;
  state: PackState;
  chunkCount: number;
}

export interface Catalogue extends ChunkCatalogue {
  /** The head that the content follows. */
  head(): ObjectReference | undefined;
  setHead(head: ObjectReference): void;
  /** The keyring objects that were published last, as our own writer noted them. */
  keyring(): KeyringState | undefined;
  setKeyring(keyring: KeyringState): void;
  /** What of the retained snapshots is kept no more, as the head says that the content follows. */
  expired(): ExpiredParts[];
  setExpired(expired: readonly ExpiredParts[]): void;
  /** Until when the target's lock holds an object, as it was last heard. */
  lockOf(name: string): Date | undefined;
  /** When the last of all locks that were heard of ends. */
  latestLock(): Date | undefined;
  noteLock(name: string, until: Date): void;
  /** Of all objects but these. */
  forgetLocks(but: ReadonlySet<string>): void;
  /** Runs `work` in one transaction. */
  transaction<T>(work: () => T): T;

  indexes(): ObjectReference[];
  /** Takes in an index object; packs known from another one move to it. */
  addIndex(reference: ObjectReference, sizeBytes: number, index: RepositoryIndex): void;
  /** Drops an index object, and the packs that only it lists. */
  dropIndex(reference: ObjectReference): void;
  /** Names of index objects that others say they replace. */
  superseded(): string[];
  removals(): RemovalMark[];
  indexesWithRemovals(): ObjectReference[];

  packs(): Iterable<PackSummary>;
  pack(row: number): WrittenPack | undefined;
  packStats(): { count: number; sizeBytes: number };
  /**
   * Chunks of a missing pack count as absent; those of a damaged one are still found, but not among `ids`. Either way the next
   * run stores them again.
   */
  setPackStates(changes: readonly { row: number; state: PackState }[]): void;
  /** Row of the pack that a chunk is read from. @param id 32 bytes. */
  packOfChunk(id: Uint8Array): number | undefined;

  /** Without what is kept of them no more. */
  snapshots(): SnapshotRecord[];
  findSnapshot(reference: ObjectReference): SnapshotRecord | undefined;
  addSnapshot(snapshot: SnapshotRecord): void;
  dropSnapshot(reference: ObjectReference): void;

  knowsSegment(segmentChunk: string): boolean;
  /** Ids of 32 bytes each, one after the other, in blobs. */
  segmentChunks(segmentChunk: string): Iterable<Uint8Array>;
  /** Forgets segments that `isLive` denies. */
  sweepSegments(isLive: (segmentChunk: string) => boolean): void;

  close(): void;
}

/** The catalogue on an open file with its tables. */
export function wrapCatalogue(db: DatabaseSync): Catalogue {
  const q = prepareQueries(db);
  q.upsertFact.run('closed', '0');
  const transaction = transactionOf(db);

  return {
    transaction,
    ...headOf(q, transaction),
    ...indexesOf(q, transaction),
    ...packsOf(q, transaction),
    ...chunksOf(q),
    ...snapshotsOf(q),
    ...segmentsOf(q, transaction),
    close() {
      if (!db.isOpen) return;
      try {
        q.upsertFact.run('closed', '1');
      } catch {
        // On a full disk, for example. The next user looks whether the file is whole.
      }
      db.close();
    },
  };
}

/** The parts that only read. */
export type CatalogueView = Pick<
  Catalogue,
  | 'count'
  | 'packs'
  | 'pack'
  | 'packStats'
  | 'locate'
  | 'packOfChunk'
  | 'findSnapshot'
  | 'expired'
  | 'knowsSegment'
  | 'segmentChunks'
  | 'lockOf'
  | 'latestLock'
>;

/** On a file that is open for reading only. */
export function viewCatalogue(db: DatabaseSync): CatalogueView {
  const q = prepareQueries(db);
  const readOnly: Transaction = (work) => work();
  return {
    ...packsOf(q, readOnly),
    ...chunksOf(q),
    ...snapshotsOf(q),
    ...segmentsOf(q, readOnly),
    ...locksOf(q),
    expired: () => expiredOf(q),
  };
}

type Transaction = <T>(work: () => T) => T;

function transactionOf(db: DatabaseSync): Transaction {
  /** Asked anew each time: SQLite may have rolled back by itself. */
  const isOpen = () => db.isTransaction;
  return (work) => {
    if (isOpen()) return work();
    db.exec('begin immediate');
    try {
      const result = work();
      db.exec('commit');
      return result;
    } catch (error) {
      if (isOpen()) db.exec('rollback');
      throw explainCatalogueError(error);
    }
  };
}

/** SQLite's "database or disk is full" and what else the disk refuses, in words. */
export function explainCatalogueError(error: unknown): unknown {
  const full = isSystemError(error, 'ENOSPC', 'EDQUOT') || messageOf(error).includes('disk is full');
  if (!full && !isSystemError(error, 'ERR_SQLITE_ERROR', 'EACCES', 'EPERM', 'EROFS')) return error;
  return new HoldfastError(full ? 'no_space' : 'unavailable', 'The catalogue of backups cannot be written', {
    hint: full
      ? 'Free some space on the disk of the data folder, then try again.'
      : 'Look at the health and the rights of the data folder, then try again.',
    cause: error,
  });
}

/** @param value of the fact `head`: number and SHA-256 with a space between. */
export function parseHead(value: unknown): ObjectReference | undefined {
  const [number, sha256] = typeof value === 'string' ? value.split(' ') : [];
  return sha256 === undefined ? undefined : { number: Number(number), sha256 };
}

function locksOf(q: CatalogueQueries): Pick<Catalogue, 'lockOf' | 'latestLock'> {
  return {
    lockOf(name) {
      const value = q.findFact.get(LOCK + name)?.value;
      return value === undefined ? undefined : new Date(String(value));
    },
    latestLock() {
      const value = q.latestFact.get(`${LOCK}*`)?.value ?? null;
      return value === null ? undefined : new Date(String(value));
    },
  };
}

function headOf(
  q: CatalogueQueries,
  transaction: Transaction,
): Pick<
  Catalogue,
  | 'head'
  | 'setHead'
  | 'keyring'
  | 'setKeyring'
  | 'expired'
  | 'setExpired'
  | 'lockOf'
  | 'latestLock'
  | 'noteLock'
  | 'forgetLocks'
> {
  return {
    ...locksOf(q),
    head: () => parseHead(q.findFact.get('head')?.value),
    setHead(head) {
      transaction(() => q.upsertFact.run('head', `${String(head.number)} ${head.sha256}`));
    },
    keyring() {
      const value = q.findFact.get('keyring')?.value;
      return value === undefined ? undefined : (JSON.parse(String(value)) as KeyringState);
    },
    setKeyring(keyring) {
      transaction(() => q.upsertFact.run('keyring', JSON.stringify(keyring)));
    },
    expired: () => expiredOf(q),
    setExpired(expired) {
      transaction(() => q.upsertFact.run('expired', JSON.stringify(expired)));
    },
    noteLock(name, until) {
      transaction(() => q.upsertFact.run(LOCK + name, until.toISOString()));
    },
    forgetLocks(but) {
      transaction(() => {
        for (const row of q.listFacts.all(`${LOCK}*`)) {
          const name = String(row.name);
          if (!but.has(name.slice(LOCK.length))) q.deleteFact.run(name);
        }
      });
    },
  };
}

function indexesOf(
  q: CatalogueQueries,
  transaction: Transaction,
): Pick<Catalogue, 'indexes' | 'addIndex' | 'dropIndex' | 'superseded' | 'removals' | 'indexesWithRemovals'> {
  return {
    indexes: () => q.listIndexes.all().map((row) => reference(row.number, row.sha256)),
    addIndex(from, sizeBytes, index) {
      transaction(() => {
        const sha256 = Buffer.from(from.sha256, 'hex');
        q.insertIndex.run(from.number, sha256, sizeBytes, JSON.stringify(index.supersedes));
        for (const pack of index.packs) insertPack(q, from.number, sha256, pack);
        for (const mark of index.removals) {
          q.insertRemoval.run(mark.name, mark.since, mark.head, from.number, sha256);
        }
      });
    },
    dropIndex(from) {
      transaction(() => {
        const sha256 = Buffer.from(from.sha256, 'hex');
        let shadowed = false;
        for (const row of q.listPacksOfIndex.all(from.number, sha256)) {
          shadowed = removeChunks(q, Number(row.id), blobOf(row.chunks)) || shadowed;
          q.deletePack.run(Number(row.id));
        }
        q.deleteRemovalsOfIndex.run(from.number, sha256);
        q.deleteIndex.run(from.number, sha256);
        if (q.findFact.get('duplicates') !== undefined || shadowed) rebuildChunks(q);
      });
    },
    superseded: () => q.listIndexes.all().flatMap((row) => JSON.parse(String(row.supersedes)) as string[]),
    removals: () =>
      q.listRemovals.all().map((row) => ({
        name: String(row.name),
        since: String(row['min(since)']),
        head: Number(row['min(head)']),
      })),
    indexesWithRemovals: () =>
      q.listIndexesWithRemovals.all().map((row) => reference(row.index_number, row.index_sha256)),
  };
}

/**
 * A pack belongs to the newest index object that lists it, in whatever order they are taken in: an older one is read again when a run
 * that replaced it was cut off, and what it lists must not go with it.
 */
function insertPack(q: CatalogueQueries, indexNumber: number, indexSha256: Buffer, pack: WrittenPack): void {
  const id = Buffer.from(pack.id, 'hex');
  const known = q.findPack.get(id);
  if (known !== undefined) {
    q.movePack.run(indexNumber, indexSha256, Number(known.id), indexNumber);
    return;
  }
  const blob = packChunkList(pack.chunks);
  const { lastInsertRowid } = q.insertPack.run(
    id,
    pack.kind,
    pack.sizeBytes,
    pack.headerLength,
    pack.generation,
    indexNumber,
    indexSha256,
    pack.chunks.length,
    blob,
  );
  insertChunks(q, Number(lastInsertRowid), blob);
}

/** Of two packs with one chunk the newer serves it: it may have been stored again for good reason. */
function insertChunks(q: CatalogueQueries, pack: number, blob: Uint8Array): void {
  let duplicates = false;
  for (const { id, offset, storedLength, originalLength } of rawChunks(blob)) {
    if (q.insertChunk.run(id, pack, offset, storedLength, originalLength).changes > 0) continue;
    q.replaceChunk.run(pack, offset, storedLength, originalLength, id);
    duplicates = true;
  }
  if (duplicates) q.upsertFact.run('duplicates', '1');
}

/** @returns true when a chunk of the pack was served by another one. */
function removeChunks(q: CatalogueQueries, pack: number, blob: Uint8Array): boolean {
  let shadowed = false;
  for (const chunk of rawChunks(blob)) {
    if (q.deleteChunk.run(chunk.id, pack).changes === 0) shadowed = true;
  }
  return shadowed;
}

function rebuildChunks(q: CatalogueQueries): void {
  q.clearChunks.run();
  q.deleteFact.run('duplicates');
  for (const row of q.listReadablePacks.all()) {
    const pack = q.getPack.get(Number(row.id));
    if (pack !== undefined) insertChunks(q, Number(row.id), blobOf(pack.chunks));
  }
}

function packsOf(
  q: CatalogueQueries,
  transaction: Transaction,
): Pick<Catalogue, 'packs' | 'pack' | 'packStats' | 'setPackStates'> {
  return {
    *packs() {
      for (const row of q.listPackSummaries.all()) {
        yield {
          row: Number(row.id),
          id: hexOf(row.sha256),
          kind: row.kind === 'tree' ? 'tree' : 'data',
          sizeBytes: Number(row.size_bytes),
          index: reference(row.index_number, row.index_sha256),
          state: PACK_STATES[Number(row.state)] ?? 'present',
          chunkCount: Number(row.chunk_count),
        };
      }
    },
    pack(row) {
      const found = q.getPack.get(row);
      if (found === undefined) return undefined;
      return {
        id: hexOf(found.sha256),
        kind: found.kind === 'tree' ? 'tree' : 'data',
        sizeBytes: Number(found.size_bytes),
        headerLength: Number(found.header_length),
        generation: Number(found.generation),
        chunks: unpackChunkList(blobOf(found.chunks)),
      };
    },
    packStats() {
      const row = q.sumPacks.get();
      return { count: Number(row?.['count(*)']), sizeBytes: Number(row?.['coalesce(sum(size_bytes), 0)']) };
    },
    setPackStates(changes) {
      if (changes.length === 0) return;
      transaction(() => {
        for (const { row, state } of changes) q.setPackState.run(PACK_STATES.indexOf(state), row);
        rebuildChunks(q);
      });
    },
  };
}

function chunksOf(q: CatalogueQueries): Pick<Catalogue, 'locate' | 'ids' | 'count' | 'packOfChunk'> {
  const locateOne = (id: string): ChunkLocation | undefined => {
    const row = q.locateChunk.get(Buffer.from(id, 'hex'));
    if (row === undefined) return undefined;
    return {
      packId: hexOf(row.sha256),
      packSizeBytes: Number(row.size_bytes),
      headerLength: Number(row.header_length),
      generation: Number(row.generation),
      offset: Number(row.offset),
      storedLength: Number(row.stored_length),
      originalLength: Number(row.original_length),
    };
  };
  return {
    locate: (ids) => ids.map(locateOne),
    *ids() {
      for (const row of q.listPackChunks.iterate()) {
        for (const chunk of rawChunks(blobOf(row.chunks))) yield chunk.id;
      }
    },
    count: () => Number(q.countChunks.get()?.['count(*)']),
    packOfChunk(id) {
      const row = q.findChunkPack.get(id);
      return row === undefined ? undefined : Number(row.pack);
    },
  };
}

function snapshotsOf(
  q: CatalogueQueries,
): Pick<Catalogue, 'snapshots' | 'findSnapshot' | 'addSnapshot' | 'dropSnapshot'> {
  const parse = (content: unknown, expired = expiredOf(q)) =>
    withoutExpired(JSON.parse(String(content)) as SnapshotRecord, expired);
  return {
    snapshots() {
      const expired = expiredOf(q);
      return q.listSnapshots.all().map((row) => parse(row.content, expired));
    },
    findSnapshot(from) {
      const row = q.findSnapshot.get(from.number, Buffer.from(from.sha256, 'hex'));
      return row && parse(row.content);
    },
    addSnapshot(snapshot) {
      const content = JSON.stringify(wholeRecord(snapshot));
      q.insertSnapshot.run(snapshot.number, Buffer.from(snapshot.id, 'hex'), content);
    },
    dropSnapshot(from) {
      q.deleteSnapshot.run(from.number, Buffer.from(from.sha256, 'hex'));
    },
  };
}

function expiredOf(q: CatalogueQueries): ExpiredParts[] {
  const value = q.findFact.get('expired')?.value;
  return value === undefined ? [] : (JSON.parse(String(value)) as ExpiredParts[]);
}

function segmentsOf(
  q: CatalogueQueries,
  transaction: Transaction,
): Pick<Catalogue, 'noteSegment' | 'knowsSegment' | 'segmentChunks' | 'sweepSegments'> {
  return {
    noteSegment(segmentChunk, chunkIds) {
      const id = Buffer.from(segmentChunk, 'hex');
      // A chunk's id is made of its content, so what it names never changes.
      if (q.hasSegment.get(id) !== undefined) return;
      const blob = Buffer.allocUnsafe(SEGMENT_PART_IDS * ID_BYTES);
      transaction(() => {
        let part = 0;
        let at = 0;
        for (const chunkId of chunkIds) {
          at += blob.write(chunkId, at, ID_BYTES, 'hex');
          if (at < blob.length) continue;
          q.insertSegmentPart.run(id, part++, blob);
          at = 0;
        }
        if (at > 0 || part === 0) q.insertSegmentPart.run(id, part, blob.subarray(0, at));
      });
    },
    knowsSegment: (segmentChunk) => q.hasSegment.get(Buffer.from(segmentChunk, 'hex')) !== undefined,
    *segmentChunks(segmentChunk) {
      for (const row of q.listSegmentParts.iterate(Buffer.from(segmentChunk, 'hex'))) {
        yield blobOf(row.chunks);
      }
    },
    sweepSegments(isLive) {
      transaction(() => {
        const dead = q.listSegmentIds.all().filter((row) => !isLive(hexOf(row.id)));
        for (const row of dead) q.deleteSegment.run(blobOf(row.id));
      });
    },
  };
}

function blobOf(value: unknown): Buffer {
  return value instanceof Uint8Array ? asBuffer(value) : Buffer.alloc(0);
}

function hexOf(value: unknown): string {
  return blobOf(value).toString('hex');
}

function reference(number: unknown, sha256: unknown): ObjectReference {
  return { number: Number(number), sha256: hexOf(sha256) };
}
