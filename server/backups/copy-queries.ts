/** Which snapshots lie on which target, and how far each target got with those that it lacks. */
import { sql } from 'kysely';
import type { Database, WriteTransaction } from '../lib/db.ts';
import type { ExpiredParts } from './objects/head-object.ts';
import { forgetWhereNowhere, type TargetRow } from './queries.ts';
import { isSmallPart } from './retention/parts.ts';

/** @returns a number that no snapshot on any target has, `atLeast` or more; it is used up, whatever becomes of the snapshot. */
export async function reserveNumber(db: Database, atLeast: number): Promise<number> {
  const row = await db
    .updateTable('copy_rule')
    .set({ last_number: sql`greatest(last_number + 1, ${atLeast})` })
    .returning('last_number')
    .executeTakeFirstOrThrow();
  return Number(row.last_number);
}

/** Snapshots up to this number are known on some target. */
export async function raiseNumber(db: Database, number: number): Promise<void> {
  await db
    .updateTable('copy_rule')
    .set({ last_number: number })
    .where('last_number', '<', String(number))
    .execute();
}

/** Of the newest snapshot that is not forgotten; 0 for none. */
export async function findNewestNumber(db: Database): Promise<number> {
  const row = await db
    .selectFrom('snapshots')
    .select((eb) => eb.fn.max('number').as('newest'))
    .where('state', '!=', 'forgotten')
    .executeTakeFirst();
  return Number(row?.newest ?? 0);
}

/** On how many targets a snapshot has to be; null for all in use. */
export async function findNeeded(db: Database): Promise<number | null> {
  const row = await db.selectFrom('copy_rule').select('needed').executeTakeFirst();
  return row?.needed ?? null;
}

export async function setNeeded(tx: WriteTransaction, needed: number | null): Promise<void> {
  await tx.updateTable('copy_rule').set({ needed }).execute();
}

/**
 * Rows of snapshots that a head lists say so, and what of them is kept no more; one that was taken for forgotten is not, when it is there. Of one
 * that has lost more than small parts the row says `reduced`, and whatever looks for a snapshot to restore passes it over.
 */
export async function placeListed(
  tx: WriteTransaction,
  place: {
    targetId: string;
    repositoryId: string;
    listed: readonly string[];
    expired: readonly ExpiredParts[];
    now: Date;
  },
): Promise<void> {
  const { targetId, repositoryId, expired, now } = place;
  const reduced = new Set(
    expired.filter((one) => !one.sections.every(isSmallPart)).map((one) => one.snapshot.sha256),
  );
  const listed = sql`${[...place.listed]}::text[]`;
  const reducedIds = sql`${[...reduced]}::text[]`;
  const lost = sql`${JSON.stringify(byId(expired))}::jsonb`;
  await sql`
    insert into snapshot_targets (snapshot_id, target_id, state, stored_at, expired)
    select id, ${targetId}, case when id = any(${reducedIds}) then 'reduced' else 'stored' end, ${now}, ${lost} -> id
    from snapshots where repository_id = ${repositoryId} and id = any(${listed})
    on conflict (snapshot_id, target_id)
      do update set state = excluded.state, expired = excluded.expired,
        forgotten_at = case when excluded.state = 'reduced' then coalesce(snapshot_targets.forgotten_at, ${now}) end,
        forgotten_because = case when excluded.state = 'reduced' then excluded.expired -> 0 ->> 'because' end
      where snapshot_targets.state <> excluded.state or snapshot_targets.expired is distinct from excluded.expired
    `.execute(tx);
  await sql`
    update snapshots set forgotten_at = null, forgotten_because = null,
      state = case when jsonb_array_length(problems) > 0 then 'partial' else 'stored' end
    where state = 'forgotten' and id = any(${listed}) and id <> all(${reducedIds})`.execute(tx);
  for (const id of reduced) {
    const because = expired.find((one) => one.snapshot.sha256 === id)?.because ?? '';
    await forgetWhereNowhere(tx, [id], { at: now, because });
  }
}

/** As the rows have it. */
function byId(expired: readonly ExpiredParts[]): Record<string, PlacedExpiry[]> {
  const found: Record<string, PlacedExpiry[]> = {};
  for (const { snapshot, ...lost } of expired) (found[snapshot.sha256] ??= []).push(lost);
  return found;
}

/** What a row says of parts that are kept no more there. */
export type PlacedExpiry = Omit<ExpiredParts, 'snapshot'>;

/** Moves targets into this order; those that are not named follow in the order that they had. */
export async function setOrder(tx: WriteTransaction, ids: readonly string[]): Promise<void> {
  await sql`
    update targets set position = place.number, version = version + 1
    from (
      select id, row_number() over (
        order by array_position(${[...ids]}::uuid[], id) nulls last, position, created_at
      ) as number
      from targets where state = 'active'
    ) place
    where place.id = targets.id`.execute(tx);
}

export async function setPrice(
  tx: WriteTransaction,
  id: string,
  price: { perGbMonth: number; currency: string } | null,
): Promise<void> {
  await tx
    .updateTable('targets')
    .set({
      price_per_gb_month: price?.perGbMonth ?? null,
      currency: price?.currency ?? null,
      version: sql`version + 1`,
    })
    .where('id', '=', id)
    .execute();
}

/** Ids of snapshots that another target in use has, that this one has not, and that were never forgotten on it. */
export async function listWanting(db: Database, target: Pick<TargetRow, 'id' | 'catalogue' | 'copy_from'>) {
  const { rows } = await sql<{ id: string }>`
    select id from snapshots s
    where state <> 'forgotten' and number >= ${target.copy_from}
      and exists (
        select from snapshot_targets p join targets t on t.id = p.target_id
        where p.snapshot_id = s.id and p.state = 'stored' and t.state = 'active' and t.id <> ${target.id})
      and not exists (
        select from snapshot_targets p join targets t on t.id = p.target_id
        where p.snapshot_id = s.id
          and ((p.state = 'stored' and t.id = ${target.id})
            or (p.state in ('forgotten', 'reduced') and t.catalogue = ${target.catalogue})))
    `.execute(db);
  return rows.map((row) => row.id);
}

export async function listStoredOn(db: Database, targetId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('snapshot_targets')
    .select('snapshot_id')
    .where('target_id', '=', targetId)
    .where('state', '=', 'stored')
    .execute();
  return rows.map((row) => row.snapshot_id);
}

/** Targets in use that have a snapshot, in their order. */
export async function listHolders(db: Database, snapshotId: string): Promise<TargetRow[]> {
  return (
    db
      .selectFrom('targets')
      .innerJoin('snapshot_targets', 'snapshot_targets.target_id', 'targets.id')
      .selectAll('targets')
      .where('snapshot_targets.snapshot_id', '=', snapshotId)
      .where('snapshot_targets.state', '=', 'stored')
      .where('targets.state', '=', 'active')
      // From one that has all of it, where there is one.
      .orderBy(sql`snapshot_targets.expired is not null`)
      .orderBy('targets.position')
      .orderBy('targets.created_at')
      .execute()
  );
}

export async function noteCopied(tx: WriteTransaction, targetId: string, now: Date): Promise<void> {
  await tx
    .updateTable('targets')
    .set({ copy_failures: 0, copy_tried_at: now, copy_problem: null })
    .where('id', '=', targetId)
    .execute();
}

/** Its hours ended under way: no failure, and no success. @param arrived whether anything came to it. */
export async function noteTurnOver(
  tx: WriteTransaction,
  targetId: string,
  now: Date,
  arrived: boolean,
): Promise<void> {
  await tx
    .updateTable('targets')
    .set({ copy_tried_at: now, ...(arrived ? { copy_failures: 0 } : {}) })
    .where('id', '=', targetId)
    .execute();
}

/** @returns how many tries in a row have failed now. */
export async function noteCopyProblem(
  tx: WriteTransaction,
  targetId: string,
  failure: { problem: object; now: Date },
): Promise<number> {
  const row = await tx
    .updateTable('targets')
    .set((eb) => ({
      copy_failures: eb('copy_failures', '+', 1),
      copy_tried_at: failure.now,
      copy_problem: JSON.stringify(failure.problem),
    }))
    .where('id', '=', targetId)
    .returning('copy_failures')
    .executeTakeFirstOrThrow();
  return row.copy_failures;
}

/** What lies on a target, by the rows. */
export async function findHolding(db: Database, targetId: string, since: Date) {
  const placed = db
    .selectFrom('snapshot_targets')
    .innerJoin('snapshots', 'snapshots.id', 'snapshot_targets.snapshot_id')
    .where('snapshot_targets.target_id', '=', targetId)
    .where('snapshot_targets.state', '=', 'stored')
    .where('snapshots.state', '!=', 'forgotten');
  const [newest, sums, proof] = await Promise.all([
    placed
      .select(['snapshots.id', 'snapshots.number', 'snapshots.taken_at', 'snapshots.repository_id'])
      .orderBy('snapshots.number', 'desc')
      .limit(1)
      .executeTakeFirst(),
    placed
      .select((eb) => [
        eb.fn.countAll<string>().as('count'),
        eb.fn.sum<string | null>('snapshots.stored_bytes').as('bytes'),
        eb.fn
          .sum<string | null>('snapshots.stored_bytes')
          .filterWhere('snapshots.taken_at', '>', since)
          .as('grown'),
      ])
      .executeTakeFirstOrThrow(),
    db
      .selectFrom('restore_tests')
      .select((eb) => eb.fn.max('finished_at').as('at'))
      .where('target_id', '=', targetId)
      .where('state', '=', 'passed')
      .executeTakeFirst(),
  ]);
  return {
    newest,
    count: Number(sums.count),
    storedBytes: Number(sums.bytes ?? 0),
    grownBytes: Number(sums.grown ?? 0),
    provenAt: proof?.at ?? null,
  };
}

/** The run that copies to a target now, or is queued to. */
export async function findCopyRun(db: Database, targetId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('runs')
    .select('id')
    .where('kind', '=', 'copy')
    .where('state', 'in', ['queued', 'running'])
    .where(sql<boolean>`input ->> 'targetId' = ${targetId}`)
    .executeTakeFirst();
  return row?.id;
}

/** Whether some run may be at work on a target; one on another does not count, such as copying for days. */
export async function hasOpenWork(db: Database, targetId: string): Promise<boolean> {
  const row = await db
    .selectFrom('runs')
    .select('id')
    .where('state', 'in', ['queued', 'running'])
    .where(sql<boolean>`coalesce(input ->> 'targetId', ${targetId}::text) = ${targetId}::text`)
    .executeTakeFirst();
  return row !== undefined;
}

/** Which of these no row tells of. */
export async function listUnknown(db: Database, ids: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from unnest(${[...ids]}::text[]) as listed (id)
    where not exists (select from snapshots where snapshots.id = listed.id)`.execute(db);
  return rows.map((row) => row.id);
}
