/**
 * A running appliance on a new machine, from a target and a recovery kit alone.
 *
 * Guarantees: the data folder says that it is incomplete until everything in it is whole and on disk, so that a crash anywhere
 * leaves a folder on which nothing starts and on which recovery can start over. The target gets one object, the new writer's
 * claim; it is not changed otherwise. Nothing is believed that the trust root in the kit does not vouch for.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { recordAudit, systemActor } from '../audit/index.ts';
import {
  keyringFromObjects,
  newestKeyringNames,
  openKeyringObject,
  restoreKeyring,
  signStatement,
  type RecoveryKit,
  type RepositoryWriteKeys,
} from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { accountName } from '../lib/config.ts';
import { dataPaths, writeMarker } from '../lib/data-folder.ts';
import { openDatabase, writeTransaction, type DatabaseAddress } from '../lib/db.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { makePrivateDirectory, syncDirectory, writeFileDurably } from '../lib/files.ts';
import {
  ADMIN_ROLE,
  adoptCluster,
  recoverPostgres,
  socketAddress,
  stopOrphan,
  withClient,
} from '../lib/postgres/index.ts';
import { DATABASE_NAME } from '../lib/database-setup.ts';
import { lockProcess } from '../lib/process-lock.ts';
import { runProcess } from '../lib/spawn.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import type { ReportProgress, SnapshotRecord, SourceSection, TargetConfig } from './engine.ts';
import { openChunkReader, type ChunkReader } from './pipeline/index.ts';
import { postgresFacts } from './postgres-source.ts';
import { endAllSessions, failOpenRuns, markRecovered, moveTarget } from './recover-queries.ts';
import { recordSnapshots } from './record-snapshots.ts';
import { openRepository, type Repository } from './repository/open-repository.ts';
import type { RepositoryWarning } from './repository/warnings.ts';
import { openWriter } from './repository/writer.ts';
import { cataloguePath } from './target-repository.ts';

/** What a person must agree to; everything else is decided by the rules. */
export type RecoveryQuestion =
  /** Something about the repository is not as it should be. */
  | { kind: 'warning'; warning: RepositoryWarning }
  /** Whether this is the state to go back to: only this target was asked, and another may know a newer one. */
  | { kind: 'snapshot'; snapshot: SnapshotRecord; headNumber: number; headAt: string; ageMs: number }
  /** Whether the old machine is off: from now on it may write no more to this repository. */
  | { kind: 'old-machine-off' };

export interface RecoverOptions {
  target: TargetConfig;
  kit: Pick<RecoveryKit, 'kitId' | 'repositoryId' | 'trustRoot' | 'ageIdentity'>;
  /** Absent, empty, or left by an interrupted recovery. */
  dataDir: string;
  /** As `Repository.findSnapshot` takes it; the newest when absent. */
  snapshot?: string | undefined;
  clock: Clock;
  /** @returns false to stop; nothing is then left behind. */
  confirm(question: RecoveryQuestion): Promise<boolean>;
  /** Told before each part, in plain words. */
  step?: (name: string) => void;
  progress?: ReportProgress;
  signal: AbortSignal;
  binariesDir?: string | undefined;
}

export interface RecoveryReport {
  applianceId: string;
  snapshotId: string;
  snapshotNumber: number;
  takenAt: string;
  keys: number;
  files: number;
  bytes: number;
  endedSessions: number;
  interruptedRuns: number;
  warnings: readonly RepositoryWarning[];
}

const RECOVERY_TIMEOUT_MS = 60 * 60_000;
const SYNC_TIMEOUT_MS = 30 * 60_000;

/**
 * @throws HoldfastError `conflict` for a folder that is not empty, `wrong_key` for a kit of another repository, `no_repository`,
 * `integrity_failure` when something that is needed is damaged or missing, `cancelled` when a question was answered with no.
 */
export async function recoverAppliance(options: RecoverOptions): Promise<RecoveryReport> {
  const paths = dataPaths(options.dataDir);
  await openEmptyFolder(options.dataDir);
  const lock = lockProcess(paths.lock, 'Recovery into this data folder');
  let repository: Repository | undefined;
  let reader: ChunkReader | undefined;
  try {
    await startOver(options.dataDir);
    options.step?.('Opening the repository');
    repository = await openWithKit(options);
    const snapshot = await chooseSnapshot(repository, options);
    const { target, keys, catalogue } = repository;
    reader = await openChunkReader({ target: target.config, generations: keys.generations, catalogue });
    return await recoverParts({ options, repository, reader, snapshot });
  } catch (error) {
    await giveUp(options, error);
    throw error;
  } finally {
    await reader?.close();
    await repository?.close();
    lock.release();
  }
}

/** Before anything is asked or written: the folder must be ours to fill. */
async function openEmptyFolder(dataDir: string): Promise<void> {
  const { incomplete } = dataPaths(dataDir);
  const found = await readdir(dataDir).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  });
  // The lock's file stays behind when a recovery was declined.
  const content = found?.filter((name) => !['lock', 'lock-journal'].includes(name)) ?? [];
  const ours = content.length === 0 || content.includes('recovery-incomplete');
  if (!ours) {
    throw new HoldfastError('conflict', `${dataDir} is not empty`, {
      hint: 'Recover into a new or empty folder. Nothing was changed.',
    });
  }
  await mkdir(dataDir, { recursive: true, mode: 0o711 });
  const note = 'A recovery into this folder has not ended. Run `holdfast recover` again; it starts over.\n';
  await writeFileDurably(incomplete, note);
  crashPoint('recover.folder.marked');
}

/** Removes what an interrupted recovery left, and its PostgreSQL. */
async function startOver(dataDir: string): Promise<void> {
  const paths = dataPaths(dataDir);
  await stopOrphan(paths.postgres);
  const keep = ['recovery-incomplete', 'lock', 'lock-journal'];
  for (const name of await readdir(dataDir)) {
    if (!keep.includes(name)) await rm(join(dataDir, name), { recursive: true, force: true });
  }
  await makePrivateDirectory(paths.catalogue);
}

/** Before the first durable part there is nothing to keep: a wrong kit leaves an empty folder, not an incomplete one. */
async function giveUp(options: RecoverOptions, error: unknown): Promise<void> {
  const paths = dataPaths(options.dataDir);
  const early =
    error instanceof HoldfastError && ['wrong_key', 'no_repository', 'cancelled'].includes(error.code);
  if (!early || options.signal.aborted) return;
  await startOver(options.dataDir);
  await rm(paths.catalogue, { recursive: true, force: true });
  await rm(paths.incomplete, { force: true });
}

async function openWithKit(options: RecoverOptions): Promise<Repository> {
  const { kit, target } = options;
  const repository = await openRepository({
    target,
    keys: {
      identity: kit.ageIdentity,
      repositoryId: kit.repositoryId,
      trustRoot: Buffer.from(kit.trustRoot, 'base64'),
    },
    cataloguePath: cataloguePath(options.dataDir, kit.repositoryId),
  });
  try {
    for (const warning of repository.warnings.filter((one) => one.confirm)) {
      await requireYes(options, { kind: 'warning', warning }, warning.message);
    }
    return repository;
  } catch (error) {
    await repository.close();
    throw error;
  }
}

async function requireYes(options: RecoverOptions, question: RecoveryQuestion, why: string): Promise<void> {
  if (await options.confirm(question)) return;
  throw new HoldfastError('cancelled', `Recovery was stopped: ${why}`, { hint: 'Nothing was recovered.' });
}

async function chooseSnapshot(repository: Repository, options: RecoverOptions): Promise<SnapshotRecord> {
  const snapshot = await repository.findSnapshot(options.snapshot ?? 'latest');
  const { head } = repository;
  await requireYes(
    options,
    {
      kind: 'snapshot',
      snapshot,
      headNumber: head?.number ?? 0,
      headAt: head?.createdAt ?? snapshot.takenAt,
      ageMs: options.clock.now().getTime() - Date.parse(snapshot.takenAt),
    },
    'the snapshot was declined',
  );
  await requireYes(options, { kind: 'old-machine-off' }, 'the old machine must be off first');
  return snapshot;
}

interface Parts {
  options: RecoverOptions;
  repository: Repository;
  reader: ChunkReader;
  snapshot: SnapshotRecord;
}

async function recoverParts(parts: Parts): Promise<RecoveryReport> {
  const { options, repository, snapshot } = parts;
  const paths = dataPaths(options.dataDir);
  const applianceId = randomUUID();
  options.step?.('Restoring the keyring');
  const keyring = await recoverKeyring(parts);
  crashPoint('recover.keyring.restored');
  options.step?.('Restoring the files');
  const files = await restorePart(parts, sectionOf(snapshot, 'files'), paths.files);
  crashPoint('recover.files.restored');
  options.step?.('Restoring the database');
  await restorePart(parts, sectionOf(snapshot, 'database'), paths.postgres);
  crashPoint('recover.database.restored');
  options.step?.('Recovering the database');
  const changed = await recoverDatabase(parts, applianceId);
  crashPoint('recover.database.recovered');
  options.step?.('Taking over the repository');
  await takeRepository(parts, keyring.writeKeys, applianceId);
  crashPoint('recover.writer.claimed');
  options.step?.('Making everything durable');
  await publishFolder(options.dataDir, applianceId);
  return {
    applianceId,
    snapshotId: snapshot.id,
    snapshotNumber: snapshot.number,
    takenAt: snapshot.takenAt,
    keys: keyring.count,
    files: files.files,
    bytes: files.bytes,
    ...changed,
    warnings: repository.warnings,
  };
}

function sectionOf(snapshot: SnapshotRecord, name: string): SourceSection {
  const section = snapshot.sections.find((candidate) => candidate.name === name);
  if (section !== undefined) return section;
  throw new HoldfastError('integrity_failure', `The snapshot has no section ${name}`, {
    hint: 'It is not a snapshot of a whole appliance. Choose another one.',
  });
}

async function recoverKeyring(parts: Parts): Promise<{ count: number; writeKeys: RepositoryWriteKeys }> {
  const { options, repository, snapshot } = parts;
  const signingKeys = repository.keys.generations.flatMap((generation) => [...generation.signingKeys]);
  const reader = { repositoryId: repository.id, signingKeys };
  const { bases, additions } = newestKeyringNames(repository.keyringObjects());
  const plaintexts: Buffer[] = [];
  for (const name of [...bases, ...additions]) {
    const stored = await repository.target.read(name);
    plaintexts.push(await openKeyringObject(stored, [options.kit.ageIdentity], { ...reader, name }));
  }
  const epoch = Number(repository.head?.keyring?.epoch ?? 0);
  if (plaintexts.length === 0 || epoch < Number(snapshot.keyringEpoch)) {
    throw new HoldfastError(
      'integrity_failure',
      'The keyring that this snapshot needs is not in the repository',
      {
        hint: 'Recover from another target, or from an older snapshot.',
        detail: `epoch ${epoch}, needed ${snapshot.keyringEpoch}`,
      },
    );
  }
  const count = await restoreKeyring({
    directory: dataPaths(options.dataDir).keyring,
    plaintexts,
    reader,
    lastHeadNumber: String(repository.highestHead),
    lastEpoch: epoch,
  });
  return { count, writeKeys: signingKeysFrom(plaintexts, reader, repository) };
}

/** Recovery signs one object itself, the writer's claim; keyd does not run yet. */
function signingKeysFrom(
  plaintexts: readonly Buffer[],
  reader: Parameters<typeof keyringFromObjects>[1],
  repository: Repository,
): RepositoryWriteKeys {
  const claim = keyringFromObjects(plaintexts, reader).repository?.claim;
  const key = claim?.signingKeys.at(-1);
  if (claim == null || key === undefined) {
    throw new HoldfastError('integrity_failure', 'The keyring holds no signing key for this repository');
  }
  const privateKey = Buffer.from(claim.signingPrivateKey, 'base64');
  return {
    ...repository.keys,
    sign: async (statement) => signStatement({ id: key.id, privateKey }, statement),
    lastHeadNumber: async () => String(repository.highestHead),
  };
}

async function restorePart(
  parts: Parts,
  section: SourceSection,
  to: string,
): Promise<{ files: number; bytes: number }> {
  const { options, reader } = parts;
  const uid = process.getuid?.();
  const report = await reader.restoreSection(section, to, {
    signal: options.signal,
    clock: options.clock,
    ...(options.progress === undefined ? {} : { progress: options.progress }),
    // Names of accounts mean nothing on another machine: all is ours.
    ...(uid === 0 ? { owner: { uid, gid: process.getgid?.() ?? 0 } } : {}),
  });
  if (report.problemCount === 0) return report;
  throw new HoldfastError(
    'integrity_failure',
    `${report.problemCount} entries of ${section.name} could not be restored`,
    {
      hint: 'Recover from another target, or choose another snapshot.',
      detail: report.problems
        .slice(0, 5)
        .map((problem) => `${problem.path}: ${problem.reason}`)
        .join('; '),
    },
  );
}

async function recoverDatabase(
  parts: Parts,
  applianceId: string,
): Promise<{ endedSessions: number; interruptedRuns: number }> {
  const { options, snapshot } = parts;
  const paths = dataPaths(options.dataDir);
  const facts = postgresFacts(sectionOf(snapshot, 'database'));
  const server = await recoverPostgres({
    clusterDir: paths.postgres,
    socketDir: paths.databaseSocket,
    logFile: paths.postgresLog,
    binariesDir: options.binariesDir,
    restorePoint: facts.restorePoint,
    expected: facts,
    timeoutMs: RECOVERY_TIMEOUT_MS,
  });
  try {
    const { databaseSocket } = paths;
    await withClient(
      socketAddress(databaseSocket, facts.superuser, 'postgres'),
      'holdfast recover',
      (client) => adoptCluster(client, facts.database, DATABASE_NAME),
    );
    return await settleDatabase(parts, applianceId, socketAddress(databaseSocket, ADMIN_ROLE, DATABASE_NAME));
  } finally {
    await server.stop();
  }
}

/** One transaction: the database is either as it was at the restore point, or an appliance that knows it was recovered. */
async function settleDatabase(
  parts: Parts,
  applianceId: string,
  address: DatabaseAddress,
): Promise<{ endedSessions: number; interruptedRuns: number }> {
  const { options, repository, snapshot } = parts;
  const { clock, kit, target } = options;
  const { snapshots } = await repository.snapshots();
  const db = openDatabase(address, { name: 'holdfast recover', max: 1 });
  try {
    return await writeTransaction(db, async (tx) => {
      await markRecovered(tx, applianceId, clock.now());
      const endedSessions = await endAllSessions(tx, clock.now());
      const interruptedRuns = await failOpenRuns(tx, clock.now());
      const targetId = await moveTarget(tx, target.path);
      if (targetId !== undefined) {
        await recordSnapshots(tx, clock, { repositoryId: repository.id, targetId, records: snapshots });
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
              headNumber: repository.head?.number ?? null,
              endedSessions,
              interruptedRuns,
            },
          },
        },
      );
      return { endedSessions, interruptedRuns };
    });
  } finally {
    await db.destroy();
  }
}

/** The next writer number: the old machine, should it come back, finds that it may write no more. */
async function takeRepository(parts: Parts, keys: RepositoryWriteKeys, applianceId: string): Promise<void> {
  const { options, repository } = parts;
  const writer = await openWriter(repository, {
    keys,
    holder: applianceId,
    clock: options.clock,
    takeOver: true,
    confirmed: repository.warnings.map((warning) => warning.code),
  });
  await writer.release();
}

/** All bytes are on disk before the mark of a complete folder is, and the mark of an incomplete one goes last. */
async function publishFolder(dataDir: string, applianceId: string): Promise<void> {
  const paths = dataPaths(dataDir);
  const synced = await runProcess('sync', ['-f', dataDir], { timeoutMs: SYNC_TIMEOUT_MS });
  if (synced.exitCode !== 0) {
    throw new HoldfastError('unavailable', 'The recovered data could not be made durable', {
      hint: 'Check the disk of the data folder, then start over.',
      detail: synced.stderr,
    });
  }
  crashPoint('recover.folder.synced');
  await writeMarker(dataDir, applianceId, SOFTWARE_VERSION);
  crashPoint('recover.folder.complete');
  await rm(paths.incomplete);
  await syncDirectory(dataDir);
}
