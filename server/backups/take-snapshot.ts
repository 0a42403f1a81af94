/**
 * Takes one snapshot on one target: the database to one restore point, what the appliance says of itself at that point, and the file
 * store, whose files are immutable and whose deletion waits meanwhile. Order on the target: packs, index, keyring, snapshot,
 * head; so a crash anywhere leaves the last snapshot whole, and objects that no head names, which a later prune removes.
 */
import { existsSync } from 'node:fs';
import { makeCheckpoint, recordAudit, systemActor, type Checkpoint } from '../audit/index.ts';
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { writeTransaction, type Database, type DatabaseAddress } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { TEMPORARY_PREFIX } from '../lib/files.ts';
import type { RunContext } from '../lib/runs.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { anchorTo, compareWhereReached } from './anchors.ts';
import { applyPolicy, noteBehind, notePruned } from './apply-retention.ts';
import { APPLIANCE_SECTION, copyApplianceFacts } from './appliance-source.ts';
import type { ChunkingParameters, SnapshotRecord, SourceSection } from './engine.ts';
import { openChunkWriter, type ChunkWriter } from './pipeline/chunk-writer.ts';
import { openLastCopy, type KeptCopy } from './database/last-copy.ts';
import { findLastCopy, putLastCopy } from './database/last-copy-queries.ts';
import { copyPostgres, type PostgresFacts } from './database/postgres-source.ts';
import { recordSnapshots } from './record-snapshots.ts';
import { findLock } from './lock-days.ts';
import { getTarget, updateTarget, type TargetRow } from './queries.ts';
import { tellLocked } from './repository/prune.ts';
import { isClosed } from './repository/object-store.ts';
import { publishKeyring } from './publish-keyring.ts';
import { toRunProgress } from './run-progress.ts';
import {
  applianceId,
  lastCopyPath,
  newestGeneration,
  withTargetRepository,
  type OpenTargetRepository,
} from './target-repository.ts';
import { lifeOfSnapshot } from './wal/life.ts';
import { noteTakenOver, takeOverBorn } from './wal/take-over-born.ts';

export const DATABASE_SECTION = 'database';
export const FILES_SECTION = 'files';
/** Of a machine image: what hostd gathers about the machine, and the image itself. */
export const SYSTEM_SECTION = 'system';

export interface SnapshotRunDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  adminAddress: DatabaseAddress;
  keys: KeyClient;
  sealer: Pick<FieldSealer, 'open'>;
  /** Folder of the section `system`; absent where Holdfast does not run on its own machine image. */
  systemDir?: string | undefined;
}

/** What came of it on the target that led. */
export interface StoredSnapshot {
  record: SnapshotRecord;
  problems: number;
  /** What the audit log had come to; the other targets get it too. */
  checkpoint: Checkpoint | undefined;
}

/** The lead failed after its head named the snapshot: that is stored, and no other target may take one in its place. */
export class FailedAfterPublishing extends Error {}

/**
 * Reads everything once and stores it on one target.
 *
 * @throws FailedAfterPublishing; else nothing counts of what was written.
 */
export async function storeOn(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  checkpoint: Checkpoint | undefined,
): Promise<StoredSnapshot> {
  return withTargetRepository(deps, target, run, async (open) => {
    const startedAt = deps.clock.monotonicMs();
    const generation = newestGeneration(open.keys);
    const born = await takeOverBorn(deps.dataDir, target.id, open.writer);
    const known = await findLastCopy(deps.db, target.id);
    const chunks = openChunkWriter({
      target: open.config,
      generation,
      generations: open.keys.generations,
      catalogue: open.repository.catalogue,
      onPacks: (packs) => open.writer.publishIndex(packs),
      signal: run.signal,
      progress: (progress) => run.report(toRunProgress(progress)),
    });
    const copy = openLastCopy(lastCopyPath(deps.dataDir, open.repository.id, target), {
      name: known,
      generation: generation.generation,
      chunkBytes: generation.chunking.relationChunkBytes,
      now: deps.clock.now(),
    });
    let published = false;
    try {
      const copied = await copySources(deps, run, {
        ...{ chunks, copy },
        chunking: generation.chunking,
        last: await lastSections(open, generation.generation),
      });
      await run.step('Storing what is left');
      const totals = await chunks.finish();
      const life = await lifeOfSnapshot(deps);
      await open.writer.flush();
      await run.step('Storing the keyring');
      const epoch = await publishKeyring(deps, open);
      await run.step('Publishing the snapshot');
      const record = await open.writer.publishSnapshot({
        takenAt: copied.facts.restorePointAt,
        durationMs: Math.round(deps.clock.monotonicMs() - startedAt),
        generation: generation.generation,
        keyringEpoch: String(epoch),
        addedBytes: totals.bytesAdded,
        storedBytes: totals.bytesStored,
        facts: {
          softwareVersion: SOFTWARE_VERSION,
          restorePoint: copied.facts.restorePoint,
          endLsn: copied.facts.endLsn,
          cause: run.cause,
          ...(checkpoint === undefined ? {} : { auditCheckpoint: checkpoint.note }),
          ...(born.bornFiles === undefined ? {} : { bornFiles: born.bornFiles }),
          ...(life === undefined ? {} : { life }),
        },
        sections: copied.sections,
      });
      crashPoint('snapshot.published');
      await open.writer.publishHead();
      published = true;
      crashPoint('snapshot.head-published');
      noteTakenOver(deps.dataDir, target.id, born);
      const problems = await recordStored(deps, run, target, { open, record, copy });
      await keepCopy(run, copy);
      await finishOn(deps, run, target, open, { checkpoint, snapshotId: record.id });
      return { record, problems, checkpoint };
    } catch (error) {
      await chunks.abort();
      throw published ? new FailedAfterPublishing('', { cause: error }) : error;
    } finally {
      copy.close();
    }
  });
}

/** What a target gets beside the snapshot, which is stored there already, whatever comes of this. */
export async function finishOn(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
  { checkpoint, snapshotId }: { checkpoint: Checkpoint | undefined; snapshotId: string },
): Promise<void> {
  await anchorLog(deps, run, target, checkpoint);
  await carryOutPolicy(deps, run, target, open, snapshotId);
  // What the policy has just let go is not locked for longer.
  await renewLocks(deps, run, target, open);
  await tidy(deps, run, target, open);
}

interface CopiedSources {
  facts: PostgresFacts;
  sections: SourceSection[];
}

async function copySources(
  deps: SnapshotRunDeps,
  run: RunContext,
  into: {
    chunks: ChunkWriter;
    copy: KeptCopy;
    chunking: ChunkingParameters;
    last: ReadonlyMap<string, SourceSection>;
  },
): Promise<CopiedSources> {
  const { chunks, copy, last } = into;
  await run.step('Copying the database');
  let appliance: SourceSection | undefined;
  const database = await copyPostgres((facts) => chunks.openSource(DATABASE_SECTION, 'postgres', facts), {
    address: deps.adminAddress,
    chunking: into.chunking,
    digests: true,
    now: () => deps.clock.now(),
    signal: run.signal,
    ...{ last: copy.last, notes: copy.notes },
    readAtPoint: async (reader) => {
      const writer = chunks.openSource(APPLIANCE_SECTION, 'directory', {});
      appliance = await copyApplianceFacts(writer, reader, {
        applianceId: await applianceId(deps.db),
        softwareVersion: SOFTWARE_VERSION,
      });
    },
  });
  if (appliance === undefined)
    throw new HoldfastError('internal', 'The database was copied without its facts');
  const facts = database.facts as unknown as PostgresFacts;
  await run.log(
    'info',
    facts.changedSince === undefined
      ? 'The whole database was read'
      : `Of the database was read what changed since the log was at ${facts.changedSince}`,
  );
  await run.step('Copying the files');
  const parent = last.get(FILES_SECTION);
  const files = await chunks.addTree(dataPaths(deps.dataDir).files, {
    name: FILES_SECTION,
    // Uploads under way: nothing names them yet.
    excludePrefix: TEMPORARY_PREFIX,
    ...(parent === undefined ? {} : { parent }),
  });
  const system = await copySystem(deps, run, into);
  const sections = [database, appliance, files, ...(system === undefined ? [] : [system])];
  return { facts, sections };
}

/** On the machine image: what makes the same machine again. hostd gathers it a minute after the volume is open. */
async function copySystem(
  deps: SnapshotRunDeps,
  run: RunContext,
  into: { chunks: ChunkWriter; last: ReadonlyMap<string, SourceSection> },
): Promise<SourceSection | undefined> {
  if (deps.systemDir === undefined) return undefined;
  if (!existsSync(deps.systemDir)) {
    await run.log('warn', 'The machine has not gathered its facts yet: they come with the next snapshot');
    return undefined;
  }
  await run.step('Copying the system');
  const parent = into.last.get(SYSTEM_SECTION);
  return into.chunks.addTree(deps.systemDir, {
    name: SYSTEM_SECTION,
    excludePrefix: TEMPORARY_PREFIX,
    ...(parent === undefined ? {} : { parent }),
  });
}

/** Before the database is copied, so that the copy holds the checkpoint. A log that cannot be signed does not stop a snapshot. */
export async function signLog(
  deps: SnapshotRunDeps,
  run: RunContext,
  targets: readonly TargetRow[],
): Promise<Checkpoint | undefined> {
  for (const target of targets) await compareWhereReached(deps, run, target);
  try {
    return await makeCheckpoint(deps);
  } catch (error) {
    await run.log('warn', `The audit log got no checkpoint: ${messageOf(error)}`);
    return undefined;
  }
}

/** The snapshot is stored by now; an anchor that does not come through is tried again by itself. */
async function anchorLog(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  checkpoint: Checkpoint | undefined,
): Promise<void> {
  if (checkpoint === undefined) return;
  try {
    await anchorTo(deps, target, checkpoint);
  } catch (error) {
    await run.log('warn', `The audit log was not anchored on ${target.name}: ${messageOf(error)}`);
  }
}

/** A snapshot names chunks of its own generation alone, so that its keys open all of it: one of an earlier generation is no help. */
async function lastSections(
  open: OpenTargetRepository,
  generation: number,
): Promise<ReadonlyMap<string, SourceSection>> {
  const newest = open.repository.snapshotReferences.at(-1);
  if (newest === undefined || open.repository.keys.generations.every((one) => one.identity === undefined)) {
    return new Map();
  }
  const record = await open.repository.findSnapshot(String(newest.number)).catch((error: unknown) => {
    if (isClosed(error, open.repository.keys)) return undefined;
    throw error;
  });
  if (record?.generation !== generation) return new Map();
  return new Map(record.sections.map((section) => [section.name, section]));
}

async function recordStored(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  stored: { open: OpenTargetRepository; record: SnapshotRecord; copy: KeptCopy },
): Promise<number> {
  const { open, record, copy } = stored;
  const problems = record.sections.reduce((sum, section) => sum + section.problemCount, 0);
  const state = problems === 0 ? 'stored' : 'partial';
  await writeTransaction(deps.db, async (tx) => {
    await recordSnapshots(tx, deps.clock, {
      repositoryId: open.repository.id,
      targetId: target.id,
      records: [record],
      runId: run.runId,
    });
    await updateTarget(tx, target.id, { lastOkAt: deps.clock.now() });
    await putLastCopy(tx, target.id, { name: copy.name, takenAt: deps.clock.now() });
    await recordAudit(tx, deps.clock, systemActor('snapshot'), {
      action: 'backups.snapshot.stored',
      objectType: 'snapshot',
      objectId: record.id,
      detail: { number: record.number, state, problems, targetId: target.id, run: run.runId },
    });
  });
  await run.log('info', `Snapshot ${record.number} is ${state} on ${target.name}`);
  return problems;
}

/** The snapshot is stored already, whatever comes of it. */
async function keepCopy(run: RunContext, copy: KeptCopy): Promise<void> {
  try {
    copy.keep();
  } catch (error) {
    await run.log('warn', `The next snapshot reads the whole database: ${messageOf(error)}`);
  }
}

/** What snapshots need stays locked as long as the target promises. The snapshot itself is stored already, whatever comes of it. */
async function renewLocks(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
): Promise<void> {
  if (open.config.kind !== 's3' || open.config.lock === undefined) return;
  await run.step('Renewing locks');
  try {
    // Not as the run found it: people may have made it longer, or its policy, in the hours since.
    const lock = (await findLock(deps.db, await getTarget(deps.db, target.id))) ?? open.config.lock;
    const report = await open.writer.renewLocks(lock);
    await run.log('info', `Locks: ${report.renewed} renewed of ${report.looked} looked at`);
    if (report.left > 0) await run.log('warn', `${report.left} locks are left for the next snapshot`);
  } catch (error) {
    await run.log('warn', `The locks of older objects were not renewed: ${messageOf(error)}`);
  }
}

/** The snapshot is stored already, whatever comes of it. */
async function carryOutPolicy(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
  snapshotId: string,
): Promise<void> {
  try {
    await applyPolicy(deps, run, target, open, [snapshotId]);
  } catch (error) {
    if (!run.signal.aborted) await noteBehind(deps, target.id, error);
    await run.log('warn', `The retention policy was not applied: ${messageOf(error)}`);
  }
}

/** What waited long enough goes. The snapshot is stored already, whatever comes of it. */
async function tidy(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
): Promise<void> {
  await run.step('Tidying the repository');
  try {
    const report = await open.writer.prune();
    await notePruned(deps, target.id, report);
    if (report.deletedObjects > 0) {
      await run.log('info', `Removed ${report.deletedObjects} objects that no snapshot needs`);
    }
    if (report.lockedObjects > 0) await run.log('info', tellLocked(report));
  } catch (error) {
    await run.log('warn', `The repository was not tidied: ${messageOf(error)}`);
  }
}
