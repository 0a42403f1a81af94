/**
 * A running appliance on a new machine, from a target and a recovery kit alone.
 *
 * Guarantees: the data folder says that it is incomplete until everything in it is whole and on disk, so that a crash anywhere
 * leaves a folder on which nothing starts and on which recovery can start over. The target gets one object, the new writer's
 * claim; it is not changed otherwise, and not at all where an appliance is set back or waits in quarantine. Nothing is believed that the trust root in
 * the kit does not vouch for.
 */
import { randomUUID } from 'node:crypto';
import type { RepositoryWriteKeys } from '../keys/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError } from '../lib/errors.ts';
import { lockProcess } from '../lib/process-lock.ts';
import type { SourceSection } from './engine.ts';
import { openChunkReader, type ChunkReader } from './pipeline/index.ts';
import { choosePoint, chooseSnapshot, openWithKit } from './recover-choose.ts';
import { recoverDatabase } from './recover-database.ts';
import { emptyAgain, openEmptyFolder, publishFolder, startOver } from './recover-folder.ts';
import { recoverKeyring } from './recover-keyring.ts';
import { sectionOf, type RecoverOptions, type RecoveryParts, type RecoveryReport } from './recover-plan.ts';
import type { Repository } from './repository/open-repository.ts';
import { openWriter } from './repository/writer.ts';
import { bornUntil } from './wal/open-point.ts';

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
  let begun = false;
  try {
    await startOver(options.dataDir);
    options.step?.('Opening the repository');
    repository = await openWithKit(options);
    const point =
      options.point === undefined ? undefined : await choosePoint(repository, options, options.point);
    const snapshot = point?.snapshot ?? (await chooseSnapshot(repository, options));
    const { target, keys, catalogue } = repository;
    reader = await openChunkReader({ target: target.config, generations: keys.generations, catalogue });
    begun = true;
    return await recoverParts({ options, repository, reader, snapshot, point });
  } catch (error) {
    // Before the first part there is nothing to keep: a wrong kit leaves an empty folder, not an incomplete one.
    if (!begun && !options.signal.aborted) await emptyAgain(options.dataDir);
    throw error;
  } finally {
    await reader?.close();
    await repository?.close();
    lock.release();
  }
}

async function recoverParts(parts: RecoveryParts): Promise<RecoveryReport> {
  const { options, repository, snapshot } = parts;
  const paths = dataPaths(options.dataDir);
  const applianceId = options.setBack?.applianceId ?? randomUUID();
  const keyring = options.setBack === undefined ? await restoreKeyringPart(parts) : undefined;
  options.step?.('Restoring the files');
  const files = await restorePart(parts, sectionOf(snapshot, 'files'), paths.files);
  await restoreBorn(parts, files);
  crashPoint('recover.files.restored');
  options.step?.('Restoring the database');
  await restorePart(parts, sectionOf(snapshot, 'database'), paths.postgres);
  crashPoint('recover.database.restored');
  options.step?.('Recovering the database');
  const { point, ...changed } = await recoverDatabase(parts, applianceId);
  crashPoint('recover.database.recovered');
  if (keyring !== undefined && options.beside !== true) {
    options.step?.('Taking over the repository');
    await takeRepository(parts, keyring.writeKeys, applianceId);
    crashPoint('recover.writer.claimed');
  }
  options.step?.('Making everything durable');
  await publishFolder(options.dataDir, applianceId);
  return {
    applianceId,
    snapshotId: snapshot.id,
    snapshotNumber: snapshot.number,
    takenAt: snapshot.takenAt,
    keys: keyring?.count ?? 0,
    files: files.files,
    bytes: files.bytes,
    ...changed,
    warnings: repository.warnings,
    ...(point === undefined ? {} : { point }),
  };
}

/** Of a chosen moment: files that came after the snapshot. Those that a later snapshot lists too are the same. */
async function restoreBorn(parts: RecoveryParts, files: { files: number; bytes: number }): Promise<void> {
  if (parts.point === undefined) return;
  for (const section of await bornUntil(parts.repository, parts.point)) {
    const born = await restorePart(parts, section, dataPaths(parts.options.dataDir).files, 'replace');
    files.files += born.files;
    files.bytes += born.bytes;
  }
}

async function restoreKeyringPart(parts: RecoveryParts): ReturnType<typeof recoverKeyring> {
  parts.options.step?.('Restoring the keyring');
  const keyring = await recoverKeyring(parts);
  crashPoint('recover.keyring.restored');
  return keyring;
}

async function restorePart(
  parts: RecoveryParts,
  section: SourceSection,
  to: string,
  existing: 'refuse' | 'replace' = 'refuse',
): Promise<{ files: number; bytes: number }> {
  const { options, reader } = parts;
  const uid = process.getuid?.();
  const report = await reader.restoreSection(section, to, {
    existing,
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

/** The next writer number: the old machine, should it come back, finds that it may write no more. */
async function takeRepository(
  parts: RecoveryParts,
  keys: RepositoryWriteKeys,
  applianceId: string,
): Promise<void> {
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
