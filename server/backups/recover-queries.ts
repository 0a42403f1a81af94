/** What recovery changes in the recovered database, before anyone can reach it. */
import { sql } from 'kysely';
import type { WriteTransaction } from '../lib/db.ts';
import type { S3Config, TargetConfig } from './engine.ts';
import type { TargetRow } from './queries.ts';
import { describePlace, locationOf, s3SettingsOf, sftpSettingsOf } from './target-config.ts';

/**
 * The new machine is another appliance: the old one, should it still run, is not mistaken for it. Which machine it is, is learned
 * anew: the one of the snapshot would be taken for a clone of this one.
 */
export async function markRecovered(tx: WriteTransaction, applianceId: string, now: Date): Promise<void> {
  await tx
    .updateTable('appliance')
    .set({
      id: applianceId,
      recovered_at: now,
      claim_code_hash: null,
      machine_identity: null,
      version: sql`version + 1`,
    })
    .execute();
}

export interface Hold {
  kind: 'recovered' | 'beside';
  since: Date;
  reason: string;
}

/**
 * Nothing leaves the recovered appliance until an owner says so.
 *
 * @param hold absent: it goes on at once, whatever it waited for at the restore point.
 * @returns false for a snapshot of a version that knew no quarantine.
 */
export async function holdRecovered(tx: WriteTransaction, hold: Hold | undefined): Promise<boolean> {
  if (!(await hasColumn(tx, 'appliance', 'quarantined_at'))) return false;
  await tx
    .updateTable('appliance')
    .set({
      quarantined_at: hold?.since ?? null,
      quarantine_reason: hold?.reason ?? null,
      // Of a version before, it is let go on as a copy is: under another identity.
      ...((await hasColumn(tx, 'appliance', 'quarantine_kind'))
        ? { quarantine_kind: hold?.kind ?? null }
        : {}),
      version: sql`version + 1`,
    })
    .execute();
  return hold !== undefined;
}

/** @returns how many were open. */
export async function endAllSessions(tx: WriteTransaction, now: Date): Promise<number> {
  const result = await tx
    .updateTable('sessions')
    .set({ ended_at: now, end_reason: 'recovered' })
    .where('ended_at', 'is', null)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

/**
 * What was asked for at the restore point may have been refused or withdrawn since, and what was permitted used: none of it goes on by
 * itself. The snapshot may be of a version that knew neither table.
 *
 * @returns how many.
 */
export async function endApprovals(tx: WriteTransaction, now: Date): Promise<number> {
  const why = 'The appliance was recovered from a snapshot of before it was decided';
  let ended = 0;
  if (await hasTable(tx, 'approvals')) {
    const result = await tx
      .updateTable('approvals')
      .set({ state: 'failed', decided_at: now, failure: why })
      .where('state', 'in', ['open', 'waiting'])
      .executeTakeFirst();
    ended += Number(result.numUpdatedRows);
  }
  if (await hasTable(tx, 'set_back_permits')) {
    const result = await tx
      .updateTable('set_back_permits')
      .set({ state: 'void', ended_at: now })
      .where('state', '=', 'open')
      .executeTakeFirst();
    ended += Number(result.numUpdatedRows);
  }
  return ended;
}

async function hasTable(tx: WriteTransaction, name: string): Promise<boolean> {
  const { rows } = await sql<{ there: boolean }>`select to_regclass(${name}) is not null as there`.execute(
    tx,
  );
  return rows[0]?.there === true;
}

/**
 * The run that took the snapshot was under way at its restore point, and only that one of its kind can be. What came of it is the
 * snapshot itself: told as failed it would look as if the last backup had not worked.
 */
export async function finishSnapshotRun(
  tx: WriteTransaction,
  outcome: { state: 'succeeded' | 'partial'; finishedAt: Date; result: object },
): Promise<void> {
  await tx
    .updateTable('runs')
    .set({
      state: outcome.state,
      finished_at: outcome.finishedAt,
      step: null,
      result: JSON.stringify(outcome.result),
    })
    .where('kind', '=', 'snapshot')
    .where('state', '=', 'running')
    .execute();
}

/** Work that was queued or under way at the restore point will not go on. @returns how many. */
export async function failOpenRuns(tx: WriteTransaction, now: Date): Promise<number> {
  const error = {
    code: 'unavailable',
    message: 'Interrupted: the appliance was recovered from a snapshot taken while this was under way',
    hint: 'Start it again if it is still wanted.',
  };
  const result = await tx
    .updateTable('runs')
    .set({ state: 'failed', finished_at: now, error: JSON.stringify(error) })
    .where('state', 'in', ['queued', 'running'])
    .executeTakeFirst();
  await sql`update restore_tests set state = 'failed', finished_at = ${now} where state = 'running'`.execute(
    tx,
  );
  return Number(result.numUpdatedRows);
}

/**
 * A target in use now lies where recovery read it, and holds the snapshot of that time: the one that lay there already, else the first of
 * the order. How the old machine signed in to it is kept as long as it is the same server and user; else a person gives it again. The
 * others stay in use: at their first sight this appliance takes them over, since a person said that the old machine is off.
 *
 * @returns its id; undefined when there is none.
 */
export async function moveTarget(
  tx: WriteTransaction,
  target: TargetConfig,
  lastOkAt: Date,
): Promise<string | undefined> {
  const several = await hasColumn(tx, 'targets', 'position');
  let query = tx.selectFrom('targets').select(['id', 'kind', 'settings']).where('state', '=', 'active');
  if (several) query = query.orderBy('position');
  const rows = await query.orderBy('created_at').execute();
  const place = describePlace(target);
  const chosen = rows.find((row) => locationOf(row) === place) ?? rows[0];
  if (chosen === undefined) return undefined;
  await tx
    .updateTable('targets')
    .set({
      kind: target.kind,
      settings: JSON.stringify(settingsAfter(chosen, target)),
      last_ok_at: lastOkAt,
      last_error: null,
      version: sql`version + 1`,
    })
    .where('id', '=', chosen.id)
    .execute();
  if (several) {
    // The catalogue that recovery made is this target's.
    await sql`
      update targets set
        catalogue = case when id = ${chosen.id} then '' when catalogue = '' then id::text else catalogue end,
        unseen_since_recovery = state = 'active' and id <> ${chosen.id}`.execute(tx);
  }
  return chosen.id;
}

/** The snapshot may be of a version that did not have it. */
async function hasColumn(tx: WriteTransaction, table: string, column: string): Promise<boolean> {
  const { rows } = await sql`
    select from information_schema.columns
    where table_schema = current_schema() and table_name = ${table} and column_name = ${column}`.execute(tx);
  return rows.length > 0;
}

function settingsAfter(row: Pick<TargetRow, 'kind' | 'settings'>, target: TargetConfig): object {
  if (target.kind === 'directory') return { path: target.path };
  if (target.kind === 's3') return s3SettingsAfter(row, target);
  const { host, port, username, path, hostKey } = target;
  const before = row.kind === 'sftp' ? sftpSettingsOf(row) : undefined;
  const same = before?.host === host && before.port === port && before.username === username;
  const type =
    hostKey.type ?? (before?.hostKey.fingerprint === hostKey.fingerprint ? before.hostKey.type : '');
  const kept = same && before.signInId !== undefined ? { signInId: before.signInId } : {};
  return { host, port, username, path, hostKey: { type, fingerprint: hostKey.fingerprint }, ...kept };
}

/** What the command line does not say, such as a lock, is kept as long as it is the same bucket of the same server. */
function s3SettingsAfter(row: Pick<TargetRow, 'kind' | 'settings'>, target: S3Config): object {
  const { endpoint, region, bucket, prefix, pathStyle, ca, signIn } = target;
  const place = { endpoint, region, bucket, prefix, pathStyle, ...(ca === undefined ? {} : { ca }) };
  const before = row.kind === 's3' ? s3SettingsOf(row) : undefined;
  const same = before?.endpoint === place.endpoint && before.bucket === place.bucket;
  return { ...(same ? before : {}), ...place, ...(signIn?.kind === 'role' ? { role: true } : {}) };
}
