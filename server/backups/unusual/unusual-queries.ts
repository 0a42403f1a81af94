import { sql, type Selectable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { SnapshotLimits, Snapshots } from '../../lib/tables.ts';

type LimitsRow = Selectable<SnapshotLimits>;
export type JudgedRow = Pick<
  Selectable<Snapshots>,
  'id' | 'number' | 'repository_id' | 'sources' | 'state' | 'unusual' | 'accepted_at'
>;

const JUDGED = ['id', 'number', 'repository_id', 'sources', 'state', 'unusual', 'accepted_at'] as const;

export async function findLimits(db: Database): Promise<LimitsRow> {
  return db.selectFrom('snapshot_limits').selectAll().executeTakeFirstOrThrow();
}

export async function saveLimits(db: Database, change: Updateable<SnapshotLimits>): Promise<void> {
  await db.updateTable('snapshot_limits').set(change).execute();
}

/** Oldest first; held until the transaction ends. */
export async function lockUnjudged(db: Database): Promise<JudgedRow[]> {
  return db
    .selectFrom('snapshots')
    .select(JUDGED)
    .where('judged_at', 'is', null)
    .where('state', '!=', 'forgotten')
    .orderBy('number')
    .limit(200)
    .forUpdate()
    .execute();
}

/** What a snapshot is compared with: the newest before it, from the last that somebody said is right on, without those in doubt. */
export async function listBefore(
  db: Database,
  { repository_id: repositoryId, number }: Pick<JudgedRow, 'repository_id' | 'number'>,
  most: number,
): Promise<JudgedRow[]> {
  const accepted = await db
    .selectFrom('snapshots')
    .select((eb) => eb.fn.max('number').as('number'))
    .where('repository_id', '=', repositoryId)
    .where('number', '<', number)
    .where('accepted_at', 'is not', null)
    .executeTakeFirst();
  return db
    .selectFrom('snapshots')
    .select(JUDGED)
    .where('repository_id', '=', repositoryId)
    .where('number', '<', number)
    .where('number', '>=', accepted?.number ?? '0')
    .where(
      sql<boolean>`(accepted_at is not null or unusual is null
        or not jsonb_path_exists(unusual, '$[*] ? (@.percent < 0)'))`,
    )
    .orderBy('number', 'desc')
    .limit(most)
    .execute();
}

export async function updateJudged(db: Database, id: string, change: Updateable<Snapshots>): Promise<void> {
  await db.updateTable('snapshots').set(change).where('id', '=', id).execute();
}

export async function lockJudged(db: Database, id: string): Promise<JudgedRow | undefined> {
  return db.selectFrom('snapshots').select(JUDGED).where('id', '=', id).forUpdate().executeTakeFirst();
}

/** The others in doubt of the same repository. */
export async function listDoubted(db: Database, repositoryId: string): Promise<JudgedRow[]> {
  return db
    .selectFrom('snapshots')
    .select(JUDGED)
    .where('repository_id', '=', repositoryId)
    .where('unusual', 'is not', null)
    .where('accepted_at', 'is', null)
    .orderBy('number')
    .execute();
}

/** Not forgotten, and much smaller than those before it: nobody has said that it is right. Oldest first. */
export async function listShrunk(db: Database): Promise<JudgedRow[]> {
  return db
    .selectFrom('snapshots')
    .select(JUDGED)
    .where('unusual', 'is not', null)
    .where('accepted_at', 'is', null)
    .where('state', '!=', 'forgotten')
    .where(sql<boolean>`jsonb_path_exists(unusual, '$[*] ? (@.percent < 0)')`)
    .orderBy('number')
    .execute();
}

export async function findNewestJudged(db: Database): Promise<JudgedRow | undefined> {
  return db
    .selectFrom('snapshots')
    .select(JUDGED)
    .where('state', '!=', 'forgotten')
    .where('judged_at', 'is not', null)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
}

/** What waited for a person's word about a snapshot is tried at the next look. */
export async function letRetentionGoOn(db: Database): Promise<void> {
  await db
    .updateTable('target_retention')
    .set({ waiting: null, tried_at: null })
    .where(sql<boolean>`waiting -> 'doubt' is not null`)
    .execute();
}
