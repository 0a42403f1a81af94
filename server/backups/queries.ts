import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { sqlState } from '../lib/db.ts';
import type { Snapshots, SnapshotTargets, TargetSignIns, Targets, JsonValue } from '../lib/tables.ts';

export type TargetRow = Selectable<Targets>;
export type SignInRow = Selectable<TargetSignIns>;
export type SnapshotRow = Selectable<Snapshots>;
export type SnapshotTargetRow = Pick<
  Selectable<SnapshotTargets>,
  'snapshot_id' | 'state' | 'stored_at' | 'target_id' | 'forgotten_because' | 'expired'
> & { target_name: string; target_state: string };

export async function listTargets(db: Database): Promise<TargetRow[]> {
  return db.selectFrom('targets').selectAll().orderBy('state').orderBy('position').orderBy('name').execute();
}

/** In the order that people gave them: the first that can be written to leads. */
export async function listActiveTargets(db: Database): Promise<TargetRow[]> {
  return db
    .selectFrom('targets')
    .selectAll()
    .where('state', '=', 'active')
    .orderBy('position')
    .orderBy('created_at')
    .execute();
}

export async function findTarget(db: Database, id: string): Promise<TargetRow | undefined> {
  return db.selectFrom('targets').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function getTarget(db: Database, id: string): Promise<TargetRow> {
  const row = await findTarget(db, id);
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such target');
  return row;
}

/** Nobody else changes it until the transaction ends. */
export async function lockTarget(tx: WriteTransaction, id: string): Promise<TargetRow> {
  const row = await tx
    .selectFrom('targets')
    .selectAll()
    .where('id', '=', id)
    .forNoKeyUpdate()
    .executeTakeFirst();
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such target');
  return row;
}

export async function setPace(tx: WriteTransaction, id: string, pace: object | null): Promise<void> {
  await tx
    .updateTable('targets')
    .set({ version: sql`version + 1`, pace: pace === null ? null : JSON.stringify(pace) })
    .where('id', '=', id)
    .execute();
}

export async function setWorkHours(tx: WriteTransaction, id: string, hours: object | null): Promise<void> {
  await tx
    .updateTable('targets')
    .set({ version: sql`version + 1`, work_hours: hours === null ? null : JSON.stringify(hours) })
    .where('id', '=', id)
    .execute();
}

export interface NewTarget {
  id: string;
  name: string;
  regionKnownBy?: 'declared' | 'provider' | undefined;
  kind: 'directory' | 'sftp' | 's3';
  settings: object;
  region: string;
  sameDisk: boolean;
  probe: unknown;
  createdAt: Date;
  /** File that remembers the highest head: of a place that was a target before, the one that it had. */
  catalogue: string;
  /** Snapshots of this number and above are brought there. */
  copyFrom: number;
}

/** @throws HoldfastError `conflict` when an active target has the name. */
export async function insertTarget(tx: WriteTransaction, target: NewTarget): Promise<TargetRow> {
  try {
    return await tx
      .insertInto('targets')
      .values({
        id: target.id,
        name: target.name,
        kind: target.kind,
        settings: JSON.stringify(target.settings),
        region: target.region,
        region_known_by: target.regionKnownBy ?? 'declared',
        same_disk: target.sameDisk,
        probe: JSON.stringify(target.probe),
        created_at: target.createdAt,
        catalogue: target.catalogue,
        copy_from: target.copyFrom,
        position: sql<number>`(select coalesce(max(position), 0) + 1 from targets where state = 'active')`,
      })
      .returningAll()
      .executeTakeFirstOrThrow();
  } catch (error) {
    if (sqlState(error) !== '23505') throw error;
    throw new HoldfastError('conflict', `A target is called ${target.name} already`, {
      hint: 'Choose another name.',
      cause: error,
    });
  }
}

export async function updateTarget(
  tx: WriteTransaction,
  id: string,
  change: {
    state?: 'retired';
    probe?: unknown;
    /** Only what is to be different; the rest stays as it is by then. */
    settings?: object;
    withoutSignIn?: true;
    sameDisk?: boolean;
    lastOkAt?: Date;
    lastError?: unknown;
    /** After a recovery it was seen for the first time. */
    seen?: true;
    /** Since when everything is read back; how many problems there are. */
    verified?: { at?: Date; problems?: number };
  },
): Promise<TargetRow> {
  return tx
    .updateTable('targets')
    .set({
      version: sql`version + 1`,
      ...(change.state === undefined ? {} : { state: change.state }),
      ...(change.probe === undefined ? {} : { probe: JSON.stringify(change.probe) }),
      ...(change.settings === undefined && change.withoutSignIn === undefined
        ? {}
        : { settings: changedSettings(change) }),
      ...(change.sameDisk === undefined ? {} : { same_disk: change.sameDisk }),
      ...(change.lastOkAt === undefined ? {} : { last_ok_at: change.lastOkAt, last_error: null }),
      ...(change.seen === undefined ? {} : { unseen_since_recovery: false }),
      ...(change.verified?.at === undefined ? {} : { verified_at: change.verified.at }),
      ...(change.verified?.problems === undefined ? {} : { verify_problems: change.verified.problems }),
      ...(change.lastError === undefined
        ? {}
        : { last_error: change.lastError === null ? null : JSON.stringify(change.lastError) }),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Only what is new to it, so that nobody who changes the target meets another version. */
export async function noteKeysGiven(
  db: Database,
  targetId: string,
  { keys, at }: { keys: string; at: Date },
): Promise<void> {
  await db
    .updateTable('targets')
    .set({ keys_object: keys, keys_published_at: at })
    .where('id', '=', targetId)
    .where(sql<boolean>`keys_object is distinct from ${keys}`)
    .execute();
}

function changedSettings({ settings = {}, withoutSignIn }: { settings?: object; withoutSignIn?: true }) {
  const kept = withoutSignIn === true ? sql`settings - 'signInId'` : sql`settings`;
  return sql<JsonValue>`(${kept}) || ${JSON.stringify(settings)}::jsonb`;
}

export async function findSignIn(db: Database, id: string): Promise<SignInRow | undefined> {
  return db.selectFrom('target_sign_ins').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function insertSignIn(tx: WriteTransaction, row: SignInRow): Promise<void> {
  await tx.insertInto('target_sign_ins').values(row).execute();
}

/** A key that was made becomes its target's own. */
export async function updateSignInSecret(
  tx: WriteTransaction,
  row: Pick<SignInRow, 'id' | 'secret_sealed' | 'key_id'>,
): Promise<void> {
  const { id, secret_sealed, key_id } = row;
  await tx
    .updateTable('target_sign_ins')
    .set({ secret_sealed, key_id })
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
}

export async function deleteSignIn(tx: WriteTransaction, id: string): Promise<void> {
  await tx.deleteFrom('target_sign_ins').where('id', '=', id).execute();
}

/** Whether a target in use signs in by it. */
export async function isSignInUsed(db: Database, id: string): Promise<boolean> {
  const row = await db
    .selectFrom('targets')
    .select('id')
    .where('state', '=', 'active')
    .where(sql<boolean>`settings ->> 'signInId' = ${id}`)
    .executeTakeFirst();
  return row !== undefined;
}

/** Those that no target in use signs in by and that were made before an instant. */
export async function deleteUnusedSignIns(tx: WriteTransaction, before: Date): Promise<void> {
  await tx
    .deleteFrom('target_sign_ins')
    .where('created_at', '<', before)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('targets')
            .select('targets.id')
            .where('targets.state', '=', 'active')
            .where(sql<boolean>`targets.settings ->> 'signInId' = target_sign_ins.id::text`),
        ),
      ),
    )
    .execute();
}

export interface NewSnapshot {
  id: string;
  number: number;
  repositoryId: string;
  runId: string | null;
  state: 'stored' | 'partial';
  takenAt: Date;
  storedAt: Date;
  restorePoint: string | null;
  endLsn: string | null;
  keyringEpoch: string;
  fileCount: number;
  sizeBytes: number;
  addedBytes: number;
  storedBytes: number;
  durationMs: number;
  problems: unknown;
  sources: unknown;
}

/**
 * Records a snapshot that lies on a target. Known already: only its place is recorded. One whose number another has, from before a
 * recovery, is left alone: it stays on its target, and the kit opens it.
 *
 * @param targetId undefined for one of which only small parts are left there.
 */
export async function upsertSnapshot(
  tx: WriteTransaction,
  snapshot: NewSnapshot,
  targetId: string | undefined,
): Promise<void> {
  await tx
    .insertInto('snapshots')
    .values({
      id: snapshot.id,
      number: snapshot.number,
      repository_id: snapshot.repositoryId,
      run_id: snapshot.runId,
      state: snapshot.state,
      taken_at: snapshot.takenAt,
      stored_at: snapshot.storedAt,
      restore_point: snapshot.restorePoint,
      end_lsn: snapshot.endLsn,
      keyring_epoch: snapshot.keyringEpoch,
      file_count: snapshot.fileCount,
      size_bytes: snapshot.sizeBytes,
      added_bytes: snapshot.addedBytes,
      stored_bytes: snapshot.storedBytes,
      duration_ms: snapshot.durationMs,
      problems: JSON.stringify(snapshot.problems),
      sources: JSON.stringify(snapshot.sources),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  if (targetId !== undefined && (await findSnapshot(tx, snapshot.id)) !== undefined)
    await placeSnapshot(tx, snapshot.id, targetId, snapshot.storedAt);
}

/** Says that a snapshot lies on a target. */
export async function placeSnapshot(
  tx: WriteTransaction,
  snapshotId: string,
  targetId: string,
  storedAt: Date,
): Promise<void> {
  // Recovery writes this into databases of older versions too: no column that they do not have.
  const place = { state: 'stored', stored_at: storedAt };
  await tx
    .insertInto('snapshot_targets')
    .values({ snapshot_id: snapshotId, target_id: targetId, ...place })
    .onConflict((conflict) => conflict.columns(['snapshot_id', 'target_id']).doUpdateSet(place))
    .execute();
}

/** Snapshots that the head of a target does not list are not there, whatever the rows say; forgotten, when no target in use has them. */
export async function markMissing(
  tx: WriteTransaction,
  targetId: string,
  listed: readonly string[],
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    update snapshot_targets set state = 'missing'
    where target_id = ${targetId} and state in ('stored', 'reduced') and forgetting is null
      and snapshot_id <> all(${[...listed]}::text[])
    returning snapshot_id as id`.execute(tx);
  const ids = rows.map((row) => row.id);
  await forgetWhereNowhere(tx, ids);
  return ids;
}

/** A snapshot that lies on no target in use is forgotten; so is one of which only small parts are left, which restore nothing. */
export async function forgetWhereNowhere(
  tx: WriteTransaction,
  ids: readonly string[],
  forgotten?: { at: Date; because: string },
): Promise<void> {
  await sql`
    update snapshots set state = 'forgotten', forgotten_at = ${forgotten?.at ?? null},
      forgotten_because = ${forgotten?.because ?? null}
    where id = any(${[...ids]}::text[]) and state <> 'forgotten' and not exists (
      select from snapshot_targets p join targets t on t.id = p.target_id
      where p.snapshot_id = snapshots.id and p.state = 'stored' and t.state = 'active')`.execute(tx);
}

export async function findSnapshot(db: Database, id: string): Promise<SnapshotRow | undefined> {
  return db.selectFrom('snapshots').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function getSnapshot(db: Database, id: string): Promise<SnapshotRow> {
  const row = await findSnapshot(db, id);
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such snapshot');
  return row;
}

interface SnapshotFilter {
  state?: string | undefined;
  /** Only those under legal hold. */
  held?: boolean | undefined;
  order: 'asc' | 'desc';
  /** Number of the last row of the page before. */
  after?: string | undefined;
  limit: number;
}

export async function listSnapshots(db: Database, filter: SnapshotFilter): Promise<SnapshotRow[]> {
  let query = db.selectFrom('snapshots').selectAll().orderBy('number', filter.order).limit(filter.limit);
  if (filter.state !== undefined) query = query.where('state', '=', filter.state);
  if (filter.held === true) query = query.where(IS_HELD);
  if (filter.after !== undefined) {
    query = query.where('number', filter.order === 'desc' ? '<' : '>', filter.after);
  }
  return query.execute();
}

const IS_HELD = sql<boolean>`exists (select from snapshot_holds where snapshot_id = snapshots.id)`;

export async function countSnapshots(
  db: Database,
  { state, held }: Pick<SnapshotFilter, 'state' | 'held'>,
): Promise<number> {
  let query = db.selectFrom('snapshots').select((eb) => eb.fn.countAll<string>().as('count'));
  if (state !== undefined) query = query.where('state', '=', state);
  if (held === true) query = query.where(IS_HELD);
  return Number((await query.executeTakeFirstOrThrow()).count);
}

export async function listSnapshotTargets(
  db: Database,
  ids: readonly string[],
): Promise<SnapshotTargetRow[]> {
  if (ids.length === 0) return [];
  return db
    .selectFrom('snapshot_targets')
    .innerJoin('targets', 'targets.id', 'snapshot_targets.target_id')
    .select([
      'snapshot_targets.snapshot_id',
      'snapshot_targets.state',
      'snapshot_targets.stored_at',
      'snapshot_targets.target_id',
      'snapshot_targets.forgotten_because',
      'snapshot_targets.expired',
      'targets.name as target_name',
      'targets.state as target_state',
    ])
    .where('snapshot_targets.snapshot_id', 'in', ids)
    .orderBy('targets.state')
    .orderBy('targets.position')
    .execute();
}

export interface SnapshotProofRow {
  snapshot_id: string;
  id: string;
  grade: string | null;
  finished_at: Date | null;
}

/** The highest number that a snapshot of this appliance ever had, forgotten ones included; 0 for none. */
export async function findLastSnapshotNumber(db: Database): Promise<number> {
  const row = await db
    .selectFrom('snapshots')
    .select((eb) => eb.fn.max('number').as('last'))
    .executeTakeFirst();
  return Number(row?.last ?? 0);
}

/** Passed restore tests of these snapshots, the strongest and newest first. */
export async function listSnapshotProofs(db: Database, ids: readonly string[]): Promise<SnapshotProofRow[]> {
  if (ids.length === 0) return [];
  return db
    .selectFrom('restore_tests')
    .select(['snapshot_id', 'id', 'grade', 'finished_at'])
    .where('snapshot_id', 'in', ids)
    .where('state', '=', 'passed')
    .orderBy('grade', 'desc')
    .orderBy('finished_at', 'desc')
    .execute();
}

/** Which of these a restore test has proven, from any target. */
export async function findProven(db: Database, ids: readonly string[]): Promise<ReadonlySet<string>> {
  return new Set((await listSnapshotProofs(db, ids)).map((row) => row.snapshot_id));
}

/** The newest snapshot that is on a target in use. */
export async function findNewestStored(
  db: Database,
): Promise<{ snapshotId: string; takenAt: Date; targetId: string } | undefined> {
  const row = await db
    .selectFrom('snapshots')
    .innerJoin('snapshot_targets', 'snapshot_targets.snapshot_id', 'snapshots.id')
    .innerJoin('targets', 'targets.id', 'snapshot_targets.target_id')
    .select(['snapshots.id as id', 'snapshots.taken_at as taken_at', 'targets.id as target_id'])
    .where('snapshots.state', '!=', 'forgotten')
    .where('snapshot_targets.state', '=', 'stored')
    .where('targets.state', '=', 'active')
    .orderBy('snapshots.number', 'desc')
    .orderBy('targets.position')
    .limit(1)
    .executeTakeFirst();
  return row && { snapshotId: row.id, takenAt: row.taken_at, targetId: row.target_id };
}
