/** The database of a recovered appliance: brought to the restore point or a chosen moment, then told that it was recovered. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { accountName } from '../lib/config.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { DATABASE_NAME } from '../lib/database-setup.ts';
import { openDatabase, writeTransaction, type DatabaseAddress } from '../lib/db.ts';
import {
  ADMIN_ROLE,
  adoptCluster,
  readReached,
  recoverPostgres,
  socketAddress,
  withClient,
} from '../lib/postgres/index.ts';
import type { SnapshotRecord } from './engine.ts';
import { isReduced } from './expired-parts.ts';
import { postgresFacts } from './database/postgres-source.ts';
import { sectionOf, type RecoveryParts, type RecoveryReport } from './recover-plan.ts';
import { fetchUntil, wordsOfPoint } from './wal/open-point.ts';
import {
  endAllSessions,
  endApprovals,
  failOpenRuns,
  finishSnapshotRun,
  holdRecovered,
  type Hold,
  markRecovered,
  moveTarget,
} from './recover-queries.ts';
import { recordSnapshots } from './record-snapshots.ts';

const RECOVERY_TIMEOUT_MS = 60 * 60_000;
export async function recoverDatabase(
  parts: RecoveryParts,
  applianceId: string,
): Promise<Pick<RecoveryReport, 'endedSessions' | 'interruptedRuns' | 'quarantined' | 'point'>> {
  const { options, snapshot } = parts;
  const paths = dataPaths(options.dataDir);
  const facts = postgresFacts(sectionOf(snapshot, 'database'));
  const log = await fetchLogOf(parts);
  const server = await recoverPostgres({
    clusterDir: paths.postgres,
    socketDir: paths.databaseSocket,
    logFile: paths.postgresLog,
    binariesDir: options.binariesDir,
    until: log?.until ?? { kind: 'restore-point', name: facts.restorePoint },
    expected: facts,
    timeoutMs: RECOVERY_TIMEOUT_MS,
  });
  try {
    const { databaseSocket } = paths;
    const reached = await readReached(socketAddress(databaseSocket, facts.superuser, 'postgres'));
    await withClient(
      socketAddress(databaseSocket, facts.superuser, 'postgres'),
      'holdfast recover',
      (client) => adoptCluster(client, facts.database, DATABASE_NAME),
    );
    const address = socketAddress(databaseSocket, ADMIN_ROLE, DATABASE_NAME);
    const changed = await settleDatabase(parts, applianceId, address);
    if (log === undefined || parts.point === undefined) return changed;
    const { pieces, bytes } = log;
    const asked = wordsOfPoint(parts.point.chosen);
    return { ...changed, point: { asked, reachedAt: reached?.toISOString() ?? null, pieces, bytes } };
  } finally {
    await server.stop();
  }
}

/** The log between the snapshot and the chosen moment. */
async function fetchLogOf({ repository, point, options }: RecoveryParts) {
  if (point === undefined) return undefined;
  options.step?.('Fetching the write-ahead log');
  const clusterDir = dataPaths(options.dataDir).postgres;
  const log = await fetchUntil(repository, point, { clusterDir, signal: options.signal });
  crashPoint('recover.log.fetched');
  return log;
}

/** One transaction: the database is either as it was at the restore point, or an appliance that knows it was recovered. */
async function settleDatabase(
  parts: RecoveryParts,
  applianceId: string,
  address: DatabaseAddress,
): Promise<{ endedSessions: number; interruptedRuns: number; quarantined: boolean }> {
  const { options, repository, snapshot } = parts;
  const { clock, kit, target } = options;
  const { snapshots } = await repository.snapshots();
  const db = openDatabase(address, { name: 'holdfast recover', max: 1 });
  try {
    return await writeTransaction(db, async (tx) => {
      const now = clock.now();
      await markRecovered(tx, applianceId, now);
      const quarantined = options.setBack === undefined && (await holdRecovered(tx, holdOf(parts, now)));
      const endedSessions = await endAllSessions(tx, clock.now());
      const endedApprovals = await endApprovals(tx, clock.now());
      const storedAt = new Date(Date.parse(snapshot.takenAt) + snapshot.durationMs);
      const targetId = await moveTarget(tx, target, storedAt);
      // At a later moment it has ended in the database too; one that is under way then is another.
      if (parts.point === undefined) await finishSnapshotRun(tx, toOutcome(snapshot, storedAt, targetId));
      const interruptedRuns = await failOpenRuns(tx, clock.now());
      if (targetId !== undefined) {
        // A database of an older version does not know of those of which only small parts are left: the first run tells of them.
        const records = snapshots.filter((one) => !isReduced(one));
        await recordSnapshots(tx, clock, { repositoryId: repository.id, targetId, records });
      }
      await recordAudit(
        tx,
        clock,
        { ...systemActor(`recover by ${accountName()}`), kind: 'console' },
        {
          action: 'backups.appliance.recovered',
          objectType: 'appliance',
          objectId: applianceId,
          detail: {
            ...{ snapshotId: snapshot.id, snapshotNumber: snapshot.number, takenAt: snapshot.takenAt },
            ...{
              kitId: kit.kitId,
              ...(options.setBack === undefined ? {} : { setBack: true }),
              ...(parts.point === undefined ? {} : { point: wordsOfPoint(parts.point.chosen) }),
              headNumber: repository.head?.number ?? null,
              quarantined,
              endedSessions,
              endedApprovals,
              interruptedRuns,
            },
          },
        },
      );
      return { endedSessions, interruptedRuns, quarantined };
    });
  } finally {
    await db.destroy();
  }
}

/** @returns undefined when it goes on at once. */
function holdOf(parts: RecoveryParts, since: Date): Hold | undefined {
  const { beside, goLive } = parts.options;
  if (beside === true)
    return {
      ...{ kind: 'beside', since },
      reason: `${wordsOfRecovery(parts)}, beside an appliance that may still run`,
    };
  return goLive === true ? undefined : { kind: 'recovered', since, reason: wordsOfRecovery(parts) };
}

/** Why it waits. */
function wordsOfRecovery({ snapshot, point }: RecoveryParts): string {
  const from = `snapshot ${String(snapshot.number)} of ${snapshot.takenAt}`;
  if (point === undefined) return `it was recovered from ${from}`;
  const asked = wordsOfPoint(point.chosen);
  return `it was recovered to ${'time' in asked ? asked.time : `position ${asked.lsn} in the log`}, from ${from} on`;
}

/** As the run would have told it (`take-snapshot.ts`). */
function toOutcome(snapshot: SnapshotRecord, finishedAt: Date, targetId: string | undefined) {
  const problems = snapshot.sections.reduce((sum, section) => sum + section.problemCount, 0);
  return {
    state: problems === 0 ? ('succeeded' as const) : ('partial' as const),
    finishedAt,
    result: {
      ...{ snapshotId: snapshot.id, number: snapshot.number, problems },
      ...(targetId === undefined ? {} : { targetId }),
    },
  };
}
