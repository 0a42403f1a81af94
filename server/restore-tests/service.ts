import { randomUUID } from 'node:crypto';
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import {
  findPoint,
  getTarget,
  openTarget,
  openTargetConfig,
  parsePoint,
  type TargetConfig,
} from '../backups/index.ts';
import type { PeopleDeps } from '../identity/index.ts';
import { needsKit, type KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readPageMark, writePageMark } from '../lib/page-mark.ts';
import { printInThread } from '../lib/print-in-thread.ts';
import { enqueueRun } from '../lib/runs.ts';
import { chooseCopies } from './choose-copy.ts';
import { readKitObjects } from './open-scene.ts';
import { opensItself } from './opens-itself.ts';
import { checkPreflight, type PlannedTest } from './preflight.ts';
import {
  countRestoreTests,
  failOrphanedTests,
  failUnopened,
  getRestoreTest,
  insertRestoreTest,
  listRestoreTests,
  listTargetNames,
  type RestoreTestRow,
} from './queries.ts';
import { readReport } from './report.ts';
import { KIT_GRACE_MS, readTestSchedule } from './test-schedules.ts';
import type {
  CopyChoice,
  KitMaterial,
  RestoreTest,
  RestoreTestPage,
  StartPointTest,
  StartRestoreTest,
} from './schema.ts';

const PRINT_THREAD = new URL('./print-thread.ts', import.meta.url);

export interface RestoreTestDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  keys: Pick<KeyClient, 'status' | 'lend' | 'keysObjects'>;
  sealer: PeopleDeps['sealer'];
}

/**
 * Queues a test of one copy, or of several one after the other.
 *
 * @returns the first.
 * @throws HoldfastError `not_found` when there is no such copy; `invalid_input` for a choice that does not say enough; `wrong_state`
 * when a test is under way; `needs_kit` for a copy that this appliance cannot open itself; `no_space` when scratch would not fit.
 */
export async function startRestoreTest(
  deps: RestoreTestDeps,
  actor: Actor,
  request: StartRestoreTest,
  point: { time?: Date | undefined; lsn?: string | undefined } = {},
): Promise<RestoreTest> {
  const { mode, keySource, lent } = request;
  const choice: CopyChoice = { ...request, choice: request.choice ?? 'certain' };
  await checkKeySource(deps, request);
  if (lent !== undefined && choice.targetId === undefined) {
    throw new HoldfastError('invalid_input', 'What a kit opened is lent for one target', {
      hint: 'Name the target.',
    });
  }
  await checkRoom(deps, { ...choice, mode, keySource });
  const copies = await chooseCopies(deps.db, { ...choice, mode });
  if (keySource !== 'recovery-kit') await requireOwnKey(deps, copies);
  const runId = randomUUID();
  const kitId = lent?.kitId ?? null;
  const tests = copies.map((copy) => ({ ...copy, id: randomUUID() }));
  const [first] = tests;
  if (first === undefined) throw new HoldfastError('internal', 'No copy was chosen');
  // Before the run exists: it may start the moment it does. Lent in memory only, never written.
  if (lent !== undefined)
    await deps.keys.lend(runId, { kit: lent, target: await configOf(deps, first.targetId) });
  await writeTransaction(deps.db, async (tx) => {
    await enqueueRun(tx, deps.clock, {
      id: runId,
      kind: 'restore-test',
      // The worker gives a run rights of the live appliance by this, and none to one that the kit opens.
      input: { restoreTestIds: tests.map(({ id }) => id), mode, keySource },
      cause: actor.kind === 'console' ? 'console' : 'person',
      requestedBy: actor.id,
    });
    for (const test of tests) {
      const { id, snapshotId, targetId, drawnFrom, newest } = test;
      await insertRestoreTest(tx, {
        ...{ id, runId, snapshotId, targetId, mode, keySource, kitId },
        ...{ choice: test.choice, drawnFrom, newest, drill: false },
        snapshotTakenAt: test.takenAt,
        state: 'running',
        createdAt: deps.clock.now(),
        ...{ pointTime: point.time, pointLsn: point.lsn },
      });
      await recordAudit(tx, deps.clock, actor, {
        action: 'restore-tests.test.started',
        objectType: 'restore-test',
        objectId: id,
        detail: {
          ...{ snapshotId, targetId, mode, keySource, kitId, choice: test.choice, drawnFrom, newest },
          ...(point.time === undefined ? {} : { time: point.time.toISOString() }),
          ...(point.lsn === undefined ? {} : { lsn: point.lsn }),
        },
      });
    }
  });
  return showRestoreTest(deps, first.id);
}

/**
 * Queues a test of a chosen moment: from the newest snapshot before it, through the log that was shipped since.
 *
 * @throws HoldfastError `not_found` with the nearest moments that can be restored; as `startRestoreTest`
 */
export async function startPointTest(
  deps: RestoreTestDeps,
  actor: Actor,
  { targetId, mode, lent, ...wanted }: StartPointTest,
): Promise<RestoreTest> {
  const chosen = parsePoint(wanted);
  const { base } = await findPoint(deps, targetId, chosen);
  const point = chosen.kind === 'time' ? { time: chosen.at } : { lsn: wanted.lsn };
  const copy = { choice: 'certain' as const, snapshotId: base.id, targetId };
  const key =
    lent === undefined
      ? { keySource: 'test-identity' as const }
      : { keySource: 'recovery-kit' as const, lent };
  return startRestoreTest(deps, actor, { ...copy, mode, ...key }, point);
}

/** Another test that is under way is `enqueueRun`'s to refuse, with the same words for every kind of run. */
async function checkRoom(deps: RestoreTestDeps, planned: PlannedTest): Promise<void> {
  const { checks } = await checkPreflight(deps, planned);
  const bad = checks.find(({ name, state }) => name === 'space' && state === 'bad');
  if (bad !== undefined)
    throw new HoldfastError('no_space', bad.message, { hint: 'Free some space on the data volume.' });
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
  if (!repository.generations.some((one) => one.testIdentity)) throw needsKit();
}

async function requireOwnKey(
  { keys }: Pick<RestoreTestDeps, 'keys'>,
  copies: readonly { takenAt: Date }[],
): Promise<void> {
  const { repository } = await keys.status();
  if (copies.every(({ takenAt }) => opensItself(repository, takenAt))) return;
  throw needsKit();
}

async function configOf(deps: RestoreTestDeps, targetId: string): Promise<TargetConfig> {
  return openTargetConfig(deps, await getTarget(deps.db, targetId));
}

/** What the page opens with the kit. Nothing secret: all of it is encrypted to the kits. */
export async function readKitMaterial(deps: RestoreTestDeps, targetId: string): Promise<KitMaterial> {
  const { repository } = await deps.keys.status();
  if (repository.repositoryId === null || repository.trustRoot === null) throw noRepository();
  const target = await openTarget(await configOf(deps, targetId));
  try {
    const names = { keys: [] as string[], keyring: [] as string[] };
    for (const kind of ['keys', 'keyring'] as const) {
      for await (const object of target.list(`${kind}/`)) names[kind].push(object.name);
    }
    const present = (await deps.keys.keysObjects()).map(({ name }) => name);
    const found = await readKitObjects(target, names, present);
    return {
      repositoryId: repository.repositoryId,
      trustRoot: repository.trustRoot,
      keysObjectName: found.keysObjectName,
      keysObject: found.keysObject.toString('base64'),
      olderKeysObjects: found.older.map((object) => object.toString('base64')),
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
  return printInThread(PRINT_THREAD, await readRestoreTestReport(deps, id));
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

/**
 * Ends tests whose run was ended without them, such as by a crash, and those that waited a week for a kit in vain. Called at start and by a
 * chore.
 */
export async function settleRestoreTests({
  db,
  clock,
}: Pick<RestoreTestDeps, 'db' | 'clock'>): Promise<string[]> {
  const now = clock.now();
  return writeTransaction(db, async (tx) => {
    const orphaned = await failOrphanedTests(tx, now);
    const unopened = await failUnopened(tx, new Date(now.getTime() - KIT_GRACE_MS), now);
    for (const objectId of unopened) {
      await recordAudit(tx, clock, systemActor('restore tests'), {
        ...{ action: 'restore-tests.test.unopened', objectType: 'restore-test', objectId, result: 'failed' },
      });
    }
    return [...orphaned, ...unopened];
  });
}

function toRestoreTest(row: RestoreTestRow, names: Map<string, string>): RestoreTest {
  return {
    id: row.id,
    runId: row.run_id,
    snapshotId: row.snapshot_id,
    snapshotTakenAt: row.snapshot_taken_at.toISOString(),
    choice: row.choice as RestoreTest['choice'],
    ...{ drawnFrom: row.drawn_from, newest: row.newest, drill: row.drill },
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
    rtoObjectiveMs: row.rto_objective_ms === null ? null : Number(row.rto_objective_ms),
    rpoObjectiveMs: row.rpo_objective_ms === null ? null : Number(row.rpo_objective_ms),
    ...factsOf(row.report),
    reportSha256: row.report_sha256?.toString('hex') ?? null,
    point:
      row.point_time === null && row.point_lsn === null
        ? null
        : {
            time: row.point_time?.toISOString() ?? null,
            lsn: row.point_lsn,
            reachedAt: row.reached_at?.toISOString() ?? null,
          },
  };
}

function factsOf(report: Buffer | null): Pick<RestoreTest, 'rtoBasis' | 'checks'> {
  if (report === null) return { rtoBasis: null, checks: [] };
  const { rtoBasis, checks } = readReport(report);
  return { rtoBasis, checks };
}

function noRepository(): HoldfastError {
  return new HoldfastError('not_found', 'This target holds no repository yet', {
    hint: 'Take a snapshot first.',
  });
}
