/**
 * The SQL of the catalogue (SQLite). One row per chunk costs about 70 bytes; a pack keeps its own chunk list as one blob, so
 * that all ids can be handed out, and a pack dropped, without a row object per chunk.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';

/** Changes with the tables: a file of another version is thrown away and rebuilt. */
export const CATALOGUE_VERSION = 3;

export const createTables = `
  create table facts (name text primary key, value text not null) without rowid;
  create table indexes (
    number integer not null, sha256 blob not null, size_bytes integer not null, supersedes text not null,
    primary key (number, sha256)
  ) without rowid;
  create table packs (
    id integer primary key, sha256 blob not null unique, kind text not null, size_bytes integer not null,
    header_length integer not null, generation integer not null, index_number integer not null, index_sha256 blob not null,
    state integer not null default 0, chunk_count integer not null, chunks blob not null
  );
  create index packs_index on packs (index_number, index_sha256);
  create table chunks (
    id blob primary key, pack integer not null, offset integer not null,
    stored_length integer not null, original_length integer not null
  ) without rowid;
  create table removals (
    name text not null, since text not null, head integer not null, index_number integer not null,
    index_sha256 blob not null, primary key (name, index_number, index_sha256)
  ) without rowid;
  create table snapshots (number integer not null, sha256 blob not null, content text not null,
    primary key (number, sha256)) without rowid;
  create table segments (id blob not null, part integer not null, chunks blob not null, primary key (id, part)) without rowid;
`;

/** Prepared once per open file. */
export function prepareQueries(db: DatabaseSync) {
  const q = (text: string): StatementSync => db.prepare(text);
  return {
    findFact: q('select value from facts where name = ?'),
    upsertFact: q(
      'insert into facts (name, value) values (?, ?) on conflict (name) do update set value = excluded.value',
    ),
    latestFact: q('select max(value) as value from facts where name glob ?'),
    listFacts: q('select name from facts where name glob ?'),
    deleteFact: q('delete from facts where name = ?'),

    listIndexes: q('select number, sha256, size_bytes, supersedes from indexes order by number, sha256'),
    insertIndex: q(
      'insert or ignore into indexes (number, sha256, size_bytes, supersedes) values (?, ?, ?, ?)',
    ),
    deleteIndex: q('delete from indexes where number = ? and sha256 = ?'),

    findPack: q('select id from packs where sha256 = ?'),
    insertPack: q(`
      insert into packs (sha256, kind, size_bytes, header_length, generation, index_number, index_sha256, chunk_count, chunks)
      values (?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    movePack: q('update packs set index_number = ?, index_sha256 = ? where id = ? and index_number < ?'),
    listReadablePacks: q('select id from packs where state <> 1 order by state desc, id'),
    listPacksOfIndex: q('select id, sha256, chunks from packs where index_number = ? and index_sha256 = ?'),
    getPack: q(`
      select id, sha256, kind, size_bytes, header_length, generation, index_number, index_sha256, state, chunk_count, chunks
      from packs where id = ?`),
    listPackSummaries: q(`
      select id, sha256, kind, size_bytes, index_number, index_sha256, state, chunk_count from packs order by id`),
    setPackState: q('update packs set state = ? where id = ?'),
    deletePack: q('delete from packs where id = ?'),
    listPackChunks: q('select chunks from packs where state = 0 order by id'),
    sumPacks: q('select count(*), coalesce(sum(size_bytes), 0) from packs'),

    insertChunk: q(`
      insert or ignore into chunks (id, pack, offset, stored_length, original_length) values (?, ?, ?, ?, ?)`),
    replaceChunk: q(`
      update chunks set pack = ?, offset = ?, stored_length = ?, original_length = ? where id = ?`),
    deleteChunk: q('delete from chunks where id = ? and pack = ?'),
    clearChunks: q('delete from chunks'),
    locateChunk: q(`
      select p.sha256, p.size_bytes, p.header_length, p.generation, c.offset, c.stored_length, c.original_length
      from chunks c join packs p on p.id = c.pack where c.id = ?`),
    findChunkPack: q('select pack from chunks where id = ?'),
    countChunks: q('select count(*) from chunks'),

    listRemovals: q('select name, min(since), min(head) from removals group by name order by name'),
    insertRemoval: q(`
      insert or ignore into removals (name, since, head, index_number, index_sha256) values (?, ?, ?, ?, ?)`),
    deleteRemovalsOfIndex: q('delete from removals where index_number = ? and index_sha256 = ?'),
    listIndexesWithRemovals: q('select distinct index_number, index_sha256 from removals'),

    listSnapshots: q('select number, sha256, content from snapshots order by number, sha256'),
    findSnapshot: q('select content from snapshots where number = ? and sha256 = ?'),
    insertSnapshot: q('insert or replace into snapshots (number, sha256, content) values (?, ?, ?)'),
    deleteSnapshot: q('delete from snapshots where number = ? and sha256 = ?'),

    listSegmentParts: q('select chunks from segments where id = ? order by part'),
    insertSegmentPart: q('insert into segments (id, part, chunks) values (?, ?, ?)'),
    hasSegment: q('select 1 from segments where id = ? and part = 0'),
    listSegmentIds: q('select id from segments where part = 0'),
    deleteSegment: q('delete from segments where id = ?'),
  };
}

export type CatalogueQueries = ReturnType<typeof prepareQueries>;
