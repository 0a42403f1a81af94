import { randomUUID } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { recordAudit, type Actor } from '../audit/index.ts';
import { getTarget, openTarget, openTargetConfig, type TargetConfig } from '../backups/index.ts';
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readPageMark, writePageMark } from '../lib/page-mark.ts';
import { enqueueRun } from '../lib/runs.ts';
import { readKitObjects } from './open-scene.ts';
import {
  countRestoreTests,
  failOrphanedTests,
  findLastPassedAt,
  findTestableSnapshot,
  findTestSchedule,
  getRestoreTest,
  insertRestoreTest,
  listRestoreTests,
  listTargetNames,
  type RestoreTestRow,
} from './queries.ts';
import { printInThread } from './print-in-thread.ts';
import { readReport } from './report.ts';
import type {
  KitMaterial,
  Preflight,
  RestoreTest,
  RestoreTestMode,
  RestoreTestPage,
  StartRestoreTest,
} from './schema.ts';

export interface RestoreTestDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  keys: Pick<KeyClient, 'status' | 'lend'>;
  sealer: Pick<FieldSealer, 'open'>;
}

/** Room that PostgreSQL needs beside the restored files. */
const SCRATCH_MARGIN_BYTES = 256 * 1024 * 1024;
/** A test never takes the volume's last tenth. */
const KEEP_FREE_SHARE = 0.05;
/** A due test may take this long to have run. */
const OVERDUE_GRACE_MS = 24 * 3_600_000;

/**
 * Queues a test.
 *
 * @throws HoldfastError `not_found` for a snapshot that the target does not hold; `wrong_state` when a test is under way, or the
 * key source does not fit; `no_space` when scratch would not fit.
 */
export async function startRestoreTest(
  deps: RestoreTestDeps,
  actor: Actor,
  request: StartRestoreTest,
): Promise<RestoreTest> {
  await checkKeySource(deps, request);
  const preflight = await checkPreflight(deps, request);
  const bad = preflight.checks.find((check) => check.state === 'bad');
  if (bad !== undefined)
    throw new HoldfastError('no_space', bad.message, { hint: 'Free some space on the data volume.' });
  const snapshot = await findTestableSnapshot(deps.db, request.snapshotId, request.targetId);
  if (snapshot === undefined) throw noSnapshot();
  const id = randomUUID();
  const runId = randomUUID();
  const { snapshotId, targetId, mode, keySource } = request;
  const kitId = request.lent?.kitId ?? null;
  // Before the run exists: it may start the moment it does. Lent in memory only, never written.
  if (request.lent !== undefined) {
    await deps.keys.lend(runId, { kit: request.lent, target: await configOf(deps, targetId) });
  }
  await writeTransaction(deps.db, async (tx) => {
    await enqueueRun(tx, deps.clock, {
      id: runId,
      kind: 'restore-test',
      // The worker gives a run rights of the live appliance by this, and none to one that the kit opens.
      input: { restoreTestId: id, mode, keySource },
      cause: actor.kind === 'console' ? 'console' : 'person',
      requestedBy: actor.id,
    });
    await insertRestoreTest(tx, {
      ...{ id, runId, snapshotId, targetId, mode, keySource, kitId },
      snapshotTakenAt: snapshot.takenAt,
      state: 'running',
      createdAt: deps.clock.now(),
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'restore-tests.test.started',
      objectType: 'restore-test',
      objectId: id,
      detail: { snapshotId, targetId, mode, keySource, kitId },
    });
  });
  return showRestoreTest(deps, id);
}

async function checkKeySource(deps: RestoreTestDeps, request: StartRestoreTest): Promise<void> {
  const { repository } = await deps.keys.status();
  if (request.keySource === 'recovery-kit') {
    if (request.lent === undefined) {
      throw new HoldfastError('invalid_input', 'A test with the recovery kit needs what the kit opened');
    }
    if (!repository.kits.some((kit) => kit.id === request.lent?.kitId)) {
      throw new HoldfastError('wrong_key', 'This recovery kit is not one of this appliance', {
        hint: 'Take the newest kit of this appliance.',
      });
    }
    return;
  }
  if (request.lent !== undefined) {
    throw new HoldfastError('invalid_input', 'Keys are lent only to a test with the recovery kit');
  }
  if (repository.writeOnly) {
    throw new HoldfastError('wrong_state', 'This appliance keeps no key that opens its backups', {
      hint: 'Run the test with the recovery kit.',
    });
  }
}

/** What a test would need, and what there is. */
export async function checkPreflight(
  deps: RestoreTestDeps,
  request: { snapshotId: string; targetId: string; mode: RestoreTestMode },
): Promise<Preflight> {
  const snapshot = await findTestableSnapshot(deps.db, request.snapshotId, request.targetId);
  if (snapshot === undefined) throw noSnapshot();
  const volume = await statfs(deps.dataDir);
  const freeBytes = volume.bavail * volume.bsize;
  const keptBytes = volume.blocks * volume.bsize * KEEP_FREE_SHARE;
  const needsBytes = databaseBytes(snapshot.sources) + SCRATCH_MARGIN_BYTES;
  const fits = freeBytes - needsBytes >= Math.min(keptBytes, 1024 ** 3);
  const mib = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2)} MiB`;
  const checks: Preflight['checks'] = [
    {
      name: 'space',
      state: fits ? 'ok' : 'bad',
      message: fits
        ? `The test unpacks the database on the data volume: ${mib(needsBytes)} of ${mib(freeBytes)} free`
        : `The test needs ${mib(needsBytes)} on the data volume, which has ${mib(freeBytes)} free`,
    },
  ];
  checks.push(await reachTarget(deps, request.targetId));
  return { ok: checks.every((check) => check.state !== 'bad'), needsBytes, freeBytes, checks };
}

async function reachTarget(deps: RestoreTestDeps, id: string): Promise<Preflight['checks'][number]> {
  try {
    const target = await openTarget(await configOf(deps, id));
    await target.close();
    return { name: 'target', state: 'ok', message: 'The target can be reached' };
  } catch {
    return { name: 'target', state: 'warn', message: 'The target cannot be reached: the test would fail' };
  }
}

async function configOf(deps: RestoreTestDeps, targetId: string): Promise<TargetConfig> {
  return openTargetConfig(deps, await getTarget(deps.db, targetId));
}

/** Only the database is unpacked; files are read as a stream. */
function databaseBytes(sources: unknown): number {
  const list = Array.isArray(sources) ? (sources as { kind?: string; sizeBytes?: number }[]) : [];
  return list
    .filter((source) => source.kind === 'postgres')
    .reduce((sum, source) => sum + (source.sizeBytes ?? 0), 0);
}

/** What the page opens with the kit. Nothing secret: all of it is encrypted to the kits. */
export async function readKitMaterial(deps: RestoreTestDeps, targetId: string): Promise<KitMaterial> {
  const { repository } = await deps.keys.status();
  if (repository.repositoryId === null || repository.trustRoot === null) throw noSnapshot();
  const target = await openTarget(await configOf(deps, targetId));
  try {
    const names = { keys: [] as string[], keyring: [] as string[] };
    for (const kind of ['keys', 'keyring'] as const) {
      for await (const object of target.list(`${kind}/`)) names[kind].push(object.name);
    }
    const found = await readKitObjects(target, names);
    return {
      repositoryId: repository.repositoryId,
      trustRoot: repository.trustRoot,
      keysObjectName: found.keysObjectName,
      keysObject: found.keysObject.toString('base64'),
      keyring: found.keyring.map(({ name, header }) => ({ name, header: header.toString('base64') })),
    };
  } finally {
    await target.close();
  }
}

export async function showRestoreTest(deps: Pick<RestoreTestDeps, 'db'>, id: string): Promise<RestoreTest> {
  return toRestoreTest(await getRestoreTest(deps.db, id), await listTargetNames(deps.db));
}

/** The report as it was signed. @throws HoldfastError `not_found` while there is none. */
export async function readRestoreTestReport(deps: Pick<RestoreTestDeps, 'db'>, id: string): Promise<Buffer> {
  const { report } = await getRestoreTest(deps.db, id);
  if (report !== null) return report;
  throw new HoldfastError('not_found', 'This restore test has no report', {
    hint: 'It still runs, was cancelled, or could not be started.',
  });
}

/** The same as pages to read and print, with the signed report attached. @throws HoldfastError `not_found` while there is none. */
export async function printRestoreTestReport(deps: Pick<RestoreTestDeps, 'db'>, id: string): Promise<Buffer> {
  return printInThread(await readRestoreTestReport(deps, id));
}

export async function showRestoreTests(
  deps: Pick<RestoreTestDeps, 'db' | 'clock'>,
  request: { cursor?: string; limit?: number },
): Promise<RestoreTestPage> {
  const limit = request.limit ?? 50;
  const before = request.cursor === undefined ? undefined : readPageMark(request.cursor);
  const rows = await listRestoreTests(deps.db, { limit: limit + 1, before });
  const names = await listTargetNames(deps.db);
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    items: page.map((row) => toRestoreTest(row, names)),
    total: await countRestoreTests(deps.db),
    nextCursor:
      rows.length > limit && last !== undefined ? writePageMark({ at: last.created_at, id: last.id }) : null,
    ...(await readTestSchedule(deps)),
  };
}

/** When a test is due next, and whether the last due one is missing. */
export async function readTestSchedule(
  deps: Pick<RestoreTestDeps, 'db' | 'clock'>,
): Promise<{ nextDueAt: string | null; overdue: boolean; lastPassedAt?: string }> {
  const schedule = await findTestSchedule(deps.db);
  const lastPassedAt = await findLastPassedAt(deps.db);
  return {
    nextDueAt: schedule?.enabled ? (schedule.nextDueAt?.toISOString() ?? null) : null,
    overdue: schedule?.enabled === true && isOverdue(schedule, lastPassedAt, deps.clock.now()),
  };
}

/**
 * Due, and not passed since, a day after it was due; also when the time it was due has gone by without anyone queueing it. A test
 * that failed or waits for a kit does not count. Pure.
 */
export function isOverdue(
  schedule: { nextDueAt: Date | null; lastDueAt: Date | null },
  lastPassedAt: Date | undefined,
  now: Date,
): boolean {
  const due = [schedule.lastDueAt, schedule.nextDueAt]
    .filter((at) => at !== null)
    .filter((at) => now.getTime() - at.getTime() > OVERDUE_GRACE_MS);
  return due.some((at) => lastPassedAt === undefined || lastPassedAt < at);
}

/** Ends tests whose run was ended without them, such as by a crash. Called at start and by a chore. */
export async function settleRestoreTests(deps: Pick<RestoreTestDeps, 'db' | 'clock'>): Promise<string[]> {
  return writeTransaction(deps.db, (tx) => failOrphanedTests(tx, deps.clock.now()));
}

function toRestoreTest(row: RestoreTestRow, names: Map<string, string>): RestoreTest {
  return {
    id: row.id,
    runId: row.run_id,
    snapshotId: row.snapshot_id,
    snapshotTakenAt: row.snapshot_taken_at.toISOString(),
    targetId: row.target_id,
    targetName: names.get(row.target_id) ?? 'a target that was removed',
    mode: row.mode as RestoreTest['mode'],
    keySource: row.key_source as RestoreTest['keySource'],
    kitId: row.kit_id,
    state: row.state as RestoreTest['state'],
    grade: row.grade as RestoreTest['grade'],
    createdAt: row.created_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
    rtoMs: row.rto_ms === null ? null : Number(row.rto_ms),
    rpoMs: row.rpo_ms === null ? null : Number(row.rpo_ms),
    ...factsOf(row.report),
    reportSha256: row.report_sha256?.toString('hex') ?? null,
  };
}

function factsOf(report: Buffer | null): Pick<RestoreTest, 'rtoBasis' | 'checks'> {
  if (report === null) return { rtoBasis: null, checks: [] };
  const { rtoBasis, checks } = readReport(report);
  return { rtoBasis, checks };
}

function noSnapshot(): HoldfastError {
  return new HoldfastError('not_found', 'This target does not hold that snapshot', {
    hint: 'Choose one from the list of snapshots.',
  });
}
