import { sql } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { KeyEvent } from './fold.ts';

/** In their order. */
export async function listKeyEvents(db: Database): Promise<KeyEvent[]> {
  const rows = await db.selectFrom('key_events').selectAll().orderBy('at').orderBy('id').execute();
  return rows.map((row) => ({
    ...{ kind: row.kind as KeyEvent['kind'], at: row.at, kitId: row.kit_id, generations: row.generations },
  }));
}

export async function insertKeyEvents(db: Database, events: readonly KeyEvent[], now: Date): Promise<void> {
  if (events.length === 0) return;
  await db
    .insertInto('key_events')
    .values(
      events.map(({ kind, at, kitId, generations }) => ({
        ...{ kind, at, kit_id: kitId, generations: generations === null ? null : [...generations] },
        recorded_at: now,
      })),
    )
    .execute();
}

/** Days are text: a day has no time zone. */
export interface KeepingRow {
  id: string;
  kitId: string;
  subjectKeyId: string;
  words: Buffer;
  handedOverOn: string | null;
  reviewOn: string | null;
  recordedAt: Date;
}

/** Of all kits, or of one, oldest first. */
export async function listKeepings(db: Database, kitId?: string): Promise<KeepingRow[]> {
  const query = db
    .selectFrom('kit_keepings')
    .select(['id', 'kit_id as kitId', 'subject_key_id as subjectKeyId', 'words_sealed as words'])
    .select([
      'recorded_at as recordedAt',
      sql<string | null>`handed_over_on::text`.as('handedOverOn'),
      sql<string | null>`review_on::text`.as('reviewOn'),
    ])
    .orderBy('recorded_at')
    .orderBy('id');
  return (kitId === undefined ? query : query.where('kit_id', '=', kitId)).execute();
}

export async function insertKeeping(db: Database, row: KeepingRow): Promise<void> {
  await db
    .insertInto('kit_keepings')
    .values({
      ...{ id: row.id, kit_id: row.kitId, subject_key_id: row.subjectKeyId, words_sealed: row.words },
      ...{ handed_over_on: row.handedOverOn, review_on: row.reviewOn, recorded_at: row.recordedAt },
    })
    .execute();
}

/** When a restore test that the kit opened passed: each time, oldest first. */
export async function listKitTests(db: Database): Promise<{ kitId: string; at: Date }[]> {
  const rows = await db
    .selectFrom('restore_tests')
    .select(['kit_id', 'finished_at'])
    .where('key_source', '=', 'recovery-kit')
    .where('state', '=', 'passed')
    .where('kit_id', 'is not', null)
    .where('finished_at', 'is not', null)
    .orderBy('finished_at')
    .execute();
  return rows.flatMap(({ kit_id: kitId, finished_at: at }) =>
    kitId === null || at === null ? [] : [{ kitId, at }],
  );
}
