import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../lib/db.ts';
import type { JsonValue, SnapshotHolds, TargetRetention, Targets } from '../lib/tables.ts';
import { forgetWhereNowhere } from './queries.ts';
import type { RetainedSnapshot } from './retention/decide.ts';
import { LOG_PART } from './retention/parts.ts';
import type { RetentionPolicy } from './retention/policy.ts';
import { KEEP_EVERYTHING } from './retention/policy-words.ts';

export type RetentionRow = Selectable<TargetRetention>;
export type HoldRow = Selectable<SnapshotHolds>;

export const policyOf = (row: RetentionRow | undefined): RetentionPolicy =>
  row === undefined ? KEEP_EVERYTHING : (row.policy as unknown as RetentionPolicy);

export async function findRetention(db: Database, targetId: string): Promise<RetentionRow | undefined> {
  return db.selectFrom('target_retention').selectAll().where('target_id', '=', targetId).executeTakeFirst();
}

/** Held until the transaction ends. A target without a row is locked by its own. */
export async function lockRetention(
  tx: WriteTransaction,
  targetId: string,
): Promise<RetentionRow | undefined> {
  await tx.selectFrom('targets').select('id').where('id', '=', targetId).forUpdate().execute();
  return tx
    .selectFrom('target_retention')
    .selectAll()
    .where('target_id', '=', targetId)
    .forUpdate()
    .executeTakeFirst();
}

/** Another policy: what was agreed and asked under the one before is void. */
export async function setPolicy(
  tx: WriteTransaction,
  targetId: string,
  { policy, agreed, now }: { policy: RetentionPolicy; agreed: readonly string[]; now: Date },
): Promise<void> {
  const values = {
    policy: JSON.stringify(policy),
    agreed: JSON.stringify(agreed),
    changed_at: now,
    waiting: null,
    problem: null,
  };
  await tx
    .insertInto('target_retention')
    .values({ target_id: targetId, ...values })
    .onConflict((conflict) => conflict.column('target_id').doUpdateSet(values))
    .execute();
}

/** Json columns are given as they are. */
export interface RetentionProgress {
  agreed?: readonly string[];
  waiting?: object | null;
  problem?: object | null;
  triedAt?: Date;
  appliedAt?: Date;
  changedAt?: Date;
  /** Null: what was agreed to is the new beginning. */
  baseline?: { count: number; at: Date } | null;
  nextPruneAt?: Date | null;
  lockedUntil?: Date | null;
  waitingBytes?: number;
  reclaimedMore?: number;
}

const json = (value: object | null): string | null => (value === null ? null : JSON.stringify(value));

export async function updateRetention(
  tx: WriteTransaction,
  targetId: string,
  change: RetentionProgress,
): Promise<void> {
  const set = {
    ...(change.agreed === undefined ? {} : { agreed: JSON.stringify(change.agreed) }),
    ...(change.waiting === undefined ? {} : { waiting: json(change.waiting) }),
    ...(change.problem === undefined ? {} : { problem: json(change.problem) }),
    ...(change.triedAt === undefined ? {} : { tried_at: change.triedAt }),
    ...(change.appliedAt === undefined ? {} : { applied_at: change.appliedAt }),
    ...(change.changedAt === undefined ? {} : { changed_at: change.changedAt }),
    ...(change.baseline === undefined
      ? {}
      : { baseline_count: change.baseline?.count ?? null, baseline_at: change.baseline?.at ?? null }),
    ...(change.nextPruneAt === undefined ? {} : { next_prune_at: change.nextPruneAt }),
    ...(change.lockedUntil === undefined ? {} : { locked_until: change.lockedUntil }),
    ...(change.waitingBytes === undefined ? {} : { waiting_bytes: change.waitingBytes }),
    ...(change.reclaimedMore === undefined
      ? {}
      : { reclaimed_bytes: sql<string>`reclaimed_bytes + ${change.reclaimedMore}` }),
  };
  await tx.updateTable('target_retention').set(set).where('target_id', '=', targetId).execute();
}

export interface RetainedRow extends RetainedSnapshot {
  repositoryId: string;
  storedBytes: number;
}

/**
 * Snapshots of a target that are not forgotten, with what decides about them.
 *
 * @param only of these ids, wherever the rows say that they lie.
 */
export async function listRetained(
  db: Database,
  targetId: string,
  only?: readonly string[],
): Promise<RetainedRow[]> {
  if (only?.length === 0) return [];
  let query = db
    .selectFrom('snapshots')
    .leftJoin('snapshot_holds', 'snapshot_holds.snapshot_id', 'snapshots.id')
    .leftJoin('snapshot_targets as place', (join) =>
      join.onRef('place.snapshot_id', '=', 'snapshots.id').on('place.target_id', '=', targetId),
    )
    .select([
      sql<boolean>`jsonb_array_length(snapshots.problems) > 0`.as('has_problems'),
      sql<string[]>`jsonb_path_query_array(snapshots.sources, '$[*].name')`.as('parts'),
      sql<string[] | null>`jsonb_path_query_array(place.expired, '$[*].sections[*]')`.as('expired'),
      'snapshots.id',
      'snapshots.number',
      'snapshots.taken_at',
      'snapshots.stored_bytes',
      'snapshots.repository_id',
      'snapshot_holds.reason',
    ])
    .select((eb) =>
      eb
        .selectFrom('restore_tests')
        .select((test) => test.fn.max('restore_tests.grade').as('grade'))
        .whereRef('restore_tests.snapshot_id', '=', 'snapshots.id')
        .where('restore_tests.target_id', '=', targetId)
        .where('restore_tests.state', '=', 'passed')
        .as('grade'),
    )
    .where((eb) => eb.or([eb('snapshots.state', '!=', 'forgotten'), eb('place.state', '=', 'reduced')]));
  query =
    only === undefined
      ? query.where('place.state', 'in', ['stored', 'reduced'])
      : query.where(sql<boolean>`snapshots.id = any(${[...only]}::text[])`);
  return (await query.execute()).map((row) => ({
    id: row.id,
    number: Number(row.number),
    takenAt: row.taken_at,
    state: row.has_problems ? 'partial' : 'stored',
    proof: row.grade as RetainedSnapshot['proof'],
    hold: row.reason === null ? null : { reason: row.reason },
    ...{ parts: row.parts, expired: row.expired ?? [] },
    storedBytes: Number(row.stored_bytes),
    repositoryId: row.repository_id,
  }));
}

export async function listHolds(db: Database, ids: readonly string[]): Promise<HoldRow[]> {
  if (ids.length === 0) return [];
  return db.selectFrom('snapshot_holds').selectAll().where('snapshot_id', 'in', ids).execute();
}

export async function findHold(db: Database, snapshotId: string): Promise<HoldRow | undefined> {
  return (await listHolds(db, [snapshotId]))[0];
}

/** @returns false when it is held already. */
export async function insertHold(tx: WriteTransaction, hold: HoldRow): Promise<boolean> {
  const result = await tx
    .insertInto('snapshot_holds')
    .values(hold)
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function deleteHold(tx: WriteTransaction, snapshotId: string): Promise<void> {
  await tx.deleteFrom('snapshot_holds').where('snapshot_id', '=', snapshotId).execute();
}

/**
 * Whoever holds one and whoever forgets it wait for each other. `forgetting`: it is being forgotten on a target in use, and is whole on no
 * other: a target that is away keeps what it noted until it is back, and must not keep a hold off for as long.
 */
export async function lockSnapshots(
  tx: WriteTransaction,
  ids: readonly string[],
): Promise<{ id: string; state: string; forgetting: boolean }[]> {
  return tx
    .selectFrom('snapshots')
    .select([
      'id',
      'state',
      sql<boolean>`exists (
        select from snapshot_targets
        join targets on targets.id = snapshot_targets.target_id and targets.state = 'active'
        where snapshot_id = snapshots.id and forgetting is not null
      ) and not exists (
        select from snapshot_targets
        join targets on targets.id = snapshot_targets.target_id and targets.state = 'active'
        where snapshot_id = snapshots.id and snapshot_targets.state = 'stored' and forgetting is null
      )`.as('forgetting'),
    ])
    .where(sql<boolean>`id = any(${[...ids]}::text[])`)
    .orderBy('id')
    .forUpdate()
    .execute();
}

/** What is noted of a snapshot on a target before the head that leaves it out is published there. */
export type Forgetting = {
  reason: string;
  /** Only these parts of it go. */
  sections?: readonly string[];
  runId: string;
  by: string;
};

export async function noteForgetting(
  tx: WriteTransaction,
  place: { snapshotId: string; targetId: string },
  note: Forgetting,
): Promise<void> {
  const noted = { forgetting: JSON.stringify(note) };
  await tx
    .insertInto('snapshot_targets')
    .values({ snapshot_id: place.snapshotId, target_id: place.targetId, state: 'stored', ...noted })
    .onConflict((conflict) => conflict.columns(['snapshot_id', 'target_id']).doUpdateSet(noted))
    .execute();
}

export async function listForgetting(
  db: Database,
  targetId: string,
): Promise<{ id: string; note: Forgetting }[]> {
  const rows = await db
    .selectFrom('snapshot_targets')
    .select(['snapshot_id', 'forgetting'])
    .where('target_id', '=', targetId)
    .where('forgetting', 'is not', null)
    .orderBy('snapshot_id')
    .execute();
  return rows.map((row) => ({ id: row.snapshot_id, note: row.forgetting as unknown as Forgetting }));
}

export async function clearForgetting(
  tx: WriteTransaction,
  targetId: string,
  ids: readonly string[],
): Promise<void> {
  await tx
    .updateTable('snapshot_targets')
    .set({ forgetting: null })
    .where('target_id', '=', targetId)
    .where(sql<boolean>`snapshot_id = any(${[...ids]}::text[])`)
    .execute();
}

/** On that target; altogether, when no other target in use has it. */
export async function setForgotten(
  tx: WriteTransaction,
  place: { snapshotId: string; targetId: string },
  forgotten: { at: Date; because: string },
): Promise<void> {
  await tx
    .updateTable('snapshot_targets')
    .set({
      state: 'forgotten',
      forgetting: null,
      // What was left of it goes: it was no snapshot to go back to any more.
      expired: sql<JsonValue | null>`case when state = 'reduced' then expired || ${JSON.stringify([
        { sections: [LOG_PART], at: forgotten.at.toISOString(), because: forgotten.because },
      ])}::jsonb else expired end`,
      forgotten_at: sql<Date>`case when state = 'reduced' then forgotten_at else ${forgotten.at} end`,
      forgotten_because: forgotten.because,
    })
    .where('snapshot_id', '=', place.snapshotId)
    .where('target_id', '=', place.targetId)
    .execute();
  await forgetWhereNowhere(tx, [place.snapshotId], forgotten);
}

/** Targets in use whose policy removes something, with what says whether it is due. */
export async function listRetentionOfActive(
  db: Database,
): Promise<(RetentionRow & Pick<Selectable<Targets>, 'work_hours'>)[]> {
  return (
    db
      .selectFrom('target_retention')
      .innerJoin('targets', 'targets.id', 'target_retention.target_id')
      .selectAll('target_retention')
      .select('targets.work_hours')
      .where('targets.state', '=', 'active')
      // Where nothing was ever stored there is nothing to forget, and the first snapshot should not wait for that.
      .where((eb) =>
        eb.or([
          eb('targets.last_ok_at', 'is not', null),
          // The same place under an earlier name.
          eb.exists(
            eb
              .selectFrom('snapshot_targets')
              .innerJoin('targets as other', 'other.id', 'snapshot_targets.target_id')
              .select('snapshot_targets.snapshot_id')
              .whereRef('other.catalogue', '=', 'targets.catalogue'),
          ),
        ]),
      )
      .where(sql<boolean>`target_retention.policy ->> 'kind' = 'rules'`)
      .execute()
  );
}

/** On that target: only some of its parts are left there, as its head says. */
export async function setReduced(
  tx: WriteTransaction,
  place: { snapshotId: string; targetId: string },
  reduced: { at: Date; because: string; expired: readonly object[]; restoresNothing: boolean },
): Promise<void> {
  const { at, because, expired, restoresNothing } = reduced;
  await tx
    .updateTable('snapshot_targets')
    .set({
      forgetting: null,
      expired: JSON.stringify(expired),
      ...(restoresNothing ? { state: 'reduced', forgotten_at: at, forgotten_because: because } : {}),
    })
    .where('snapshot_id', '=', place.snapshotId)
    .where('target_id', '=', place.targetId)
    .execute();
  if (restoresNothing) await forgetWhereNowhere(tx, [place.snapshotId], { at, because });
}

/** How many snapshots lost their logs and configuration on a target since an instant, and were not forgotten whole by that. */
export async function countPartsLost(db: Database, targetId: string, since: Date): Promise<number> {
  const { rows } = await sql<{ count: string }>`
    select count(*) as count from snapshot_targets
    where target_id = ${targetId} and jsonb_path_exists(expired,
      '$[*] ? (@.at > $since && @.sections[*] == $part)',
      jsonb_build_object('since', ${since.toISOString()}::text, 'part', ${LOG_PART}::text))`.execute(db);
  return Number(rows[0]?.count ?? 0);
}

/** Snapshots in a place, whichever target it is or was, and those that were forgotten there since an instant. */
export async function countSince(db: Database, catalogue: string, since: Date): Promise<number> {
  const { count } = await db
    .selectFrom('snapshot_targets')
    .innerJoin('targets', 'targets.id', 'snapshot_targets.target_id')
    .innerJoin('snapshots', 'snapshots.id', 'snapshot_targets.snapshot_id')
    .select((eb) => eb.fn.count<string>('snapshot_targets.snapshot_id').distinct().as('count'))
    .where('targets.catalogue', '=', catalogue)
    .where((eb) =>
      eb.or([
        eb.and([eb('snapshot_targets.state', '=', 'stored'), eb('snapshots.state', '!=', 'forgotten')]),
        eb('snapshot_targets.forgotten_at', '>', since),
      ]),
    )
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** When this appliance was last made again from a snapshot. */
export async function findRecoveredAt(db: Database): Promise<Date | undefined> {
  const row = await db.selectFrom('appliance').select('recovered_at').executeTakeFirst();
  return row?.recovered_at ?? undefined;
}
