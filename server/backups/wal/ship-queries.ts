/** The SQL of what shipping remembers (SQLite): no row of the shipped database may change with it, or shipping would never end. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';

/** Changes with the tables: a file of another version is begun anew, which declares a gap. */
export const SHIP_STATE_VERSION = '1';

export const createTables = `
  create table facts (name text primary key, value text not null) without rowid;
  create table targets (
    target_id text primary key, system_id text not null, timeline integer not null, segment_bytes integer not null,
    start_lsn text not null, start_ms integer not null, position text not null, complete_ms integer not null,
    number integer not null, previous text, born integer not null, gap text, last_gap text, intent text
  ) without rowid;
  create table pieces (
    target_id text not null, number integer not null, system_id text not null, timeline integer not null,
    from_lsn text not null, to_lsn text not null, at_ms integer not null, stored_bytes integer not null, sha256 text not null,
    primary key (target_id, number)
  ) without rowid;
  create table born (
    target_id text not null, number integer not null, sha256 text not null, packs text not null, taken_over integer not null,
    primary key (target_id, number)
  ) without rowid;
  create table known (
    target_id text not null, content text not null, primary key (target_id, content)
  ) without rowid;
  create table reports (target_id text primary key, content text not null) without rowid;
`;

/** How far behind a target was at worst, by the hour. */
export const createLags = `
  create table if not exists lags (
    target_id text not null, hour_ms integer not null, seconds integer not null, primary key (target_id, hour_ms)
  ) without rowid`;

export function prepareQueries(db: DatabaseSync) {
  const q = (text: string): StatementSync => db.prepare(text);
  return {
    findFact: q('select value from facts where name = ?'),
    upsertFact: q(
      'insert into facts (name, value) values (?, ?) on conflict (name) do update set value = excluded.value',
    ),
    listFacts: q('select name, value from facts where name like ?'),
    deleteFact: q('delete from facts where name = ?'),
    findTarget: q('select * from targets where target_id = ?'),
    listTargets: q('select * from targets order by target_id'),
    upsertTarget: q(`
      insert into targets (target_id, system_id, timeline, segment_bytes, start_lsn, start_ms, position, complete_ms,
        number, previous, born, gap, last_gap, intent)
      values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      on conflict (target_id) do update set system_id = excluded.system_id, timeline = excluded.timeline,
        segment_bytes = excluded.segment_bytes, start_lsn = excluded.start_lsn, start_ms = excluded.start_ms,
        position = excluded.position, complete_ms = excluded.complete_ms, number = excluded.number,
        previous = excluded.previous, born = excluded.born, gap = excluded.gap, last_gap = excluded.last_gap, intent = excluded.intent`),
    deleteTarget: q('delete from targets where target_id = ?'),
    setComplete: q('update targets set complete_ms = ? where target_id = ?'),
    insertPiece: q('insert or replace into pieces values (?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    listPieces: q('select * from pieces where target_id = ? order by number'),
    deletePiece: q('delete from pieces where target_id = ? and sha256 = ?'),
    insertBorn: q('insert or replace into born values (?, ?, ?, ?, 0)'),
    listBorn: q('select number, sha256, packs, taken_over from born where target_id = ? order by number'),
    markTakenOver: q('update born set taken_over = 1 where target_id = ? and number <= ?'),
    deleteBorn: q('delete from born where target_id = ? and sha256 = ?'),
    listKnown: q('select content from known where target_id = ? and content >= ? and content < ?'),
    insertKnown: q('insert or ignore into known values (?, ?)'),
    deleteKnown: q('delete from known where target_id = ? and content = ?'),
    forgetKnown: q('delete from known where target_id = ?'),
    forgetPieces: q('delete from pieces where target_id = ?'),
    forgetBorn: q('delete from born where target_id = ?'),
    upsertReport: q(
      'insert into reports values (?, ?) on conflict (target_id) do update set content = excluded.content',
    ),
    listReports: q('select target_id, content from reports'),
    upsertLag: q(`
      insert into lags values (?, ?, ?)
      on conflict (target_id, hour_ms) do update set seconds = max(seconds, excluded.seconds)`),
    deleteLagsBefore: q('delete from lags where hour_ms < ?'),
    worstLag: q('select max(seconds) as seconds from lags where target_id = ? and hour_ms >= ?'),
    forgetLags: q('delete from lags where target_id = ?'),
    deleteReport: q('delete from reports where target_id = ?'),
  };
}
