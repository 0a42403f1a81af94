/** The run of a restore test, in a process of its own: takes what it was lent, tests, signs the report, records how it ended. */
import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import {
  findNewestStored,
  getTarget,
  rememberedHead,
  shipReport,
  type TargetConfig,
  openTargetConfig,
} from '../backups/index.ts';
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { sceneOpeners, type TestKeys } from './open-scene.ts';
import { performTest, type TestVerdict } from './perform-test.ts';
import {
  findSnapshotDueAt,
  finishRestoreTest,
  getRestoreTest,
  insertRestoreTest,
  type RestoreTestRow,
} from './queries.ts';
import { REPORT_KIND, signReport, type RestoreTestReport } from './report.ts';
import type { Scene } from './scene.ts';
import type { LentKeys } from './schema.ts';

interface RunRestoreTestDeps {
  dataDir: string;
  clock: Clock;
  db: Database;
  keys: KeyClient;
  sealer: FieldSealer;
}

/** @throws HoldfastError when the test could not be started at all; a test that fails is an outcome. */
export async function runRestoreTest(deps: RunRestoreTestDeps, context: RunContext): Promise<RunOutcome> {
  const test = await findOrAddTest(deps, context);
  if (test === undefined) return refusedForKit(context);
  try {
    const { keys, target } = await whatIsNeeded(deps, context.runId, test);
    const scene = await openScene(deps, context, { test, target, keys });
    const verdict = await performTest(scene, {
      steps: (steps) => context.report({ steps: [...steps] }),
      log: (level, message) => context.log(level, message),
    });
    const report = await buildReport(deps, scene, { test, target, verdict });
    await recordEnd(deps, test, verdict, report);
    await ship(deps, context, { test, target }, report);
    return {
      state: verdict.passed ? 'succeeded' : 'failed',
      result: { restoreTestId: test.id, state: verdict.passed ? 'passed' : 'failed' },
      ...(verdict.passed ? {} : { error: failureOf(verdict) }),
    };
  } catch (error) {
    await recordAbort(deps, test, context.signal.aborted);
    throw error;
  }
}

/** The report is kept here already; beside the backups it outlives this machine. */
async function ship(
  deps: RunRestoreTestDeps,
  context: RunContext,
  { test, target }: { test: RestoreTestRow; target: TargetConfig },
  bytes: Buffer,
): Promise<void> {
  try {
    const name = await shipReport(deps, {
      id: test.id,
      kind: 'restore-test',
      bytes,
      config: target,
    });
    if (name === undefined) await context.log('warn', 'The report was not put on the target: it is busy');
    else await context.log('info', `The report lies on the target as ${name}`);
  } catch (error) {
    await context.log('warn', `The report was not put on the target: ${messageOf(error)}`);
  }
}

/** A test that a person started has its row; a scheduled one gets it here. @returns undefined when only a kit could open it. */
async function findOrAddTest(
  deps: RunRestoreTestDeps,
  context: RunContext,
): Promise<RestoreTestRow | undefined> {
  const given = context.input.restoreTestId;
  if (typeof given === 'string') return getRestoreTest(deps.db, given);
  const newest = await findNewestStored(deps.db);
  if (newest === undefined) {
    throw new HoldfastError('wrong_state', 'There is no snapshot to test', {
      hint: 'Take a snapshot first.',
    });
  }
  const { repository } = await deps.keys.status();
  const id = randomUUID();
  await writeTransaction(deps.db, async (tx) => {
    await insertRestoreTest(tx, {
      id,
      runId: context.runId,
      snapshotId: newest.snapshotId,
      snapshotTakenAt: newest.takenAt,
      targetId: newest.targetId,
      mode: context.input.mode === 'full' ? 'full' : 'quick',
      keySource: repository.writeOnly ? 'recovery-kit' : 'test-identity',
      kitId: null,
      state: repository.writeOnly ? 'needs-kit' : 'running',
      createdAt: deps.clock.now(),
    });
  });
  return repository.writeOnly ? undefined : getRestoreTest(deps.db, id);
}

async function refusedForKit(context: RunContext): Promise<RunOutcome> {
  await context.log(
    'warn',
    'This appliance keeps no key that opens its backups: the test waits for the recovery kit',
  );
  return {
    state: 'partial',
    result: { state: 'needs-kit' },
    error: {
      code: 'wrong_key',
      message: 'A restore test is due and needs the recovery kit',
      hint: 'Open Restore tests and start one with the kit.',
    },
  };
}

/** A test with the kit has no right to live keys: the server lends it the way to the target too, where that holds a secret. */
async function whatIsNeeded(
  deps: RunRestoreTestDeps,
  runId: string,
  test: RestoreTestRow,
): Promise<{ keys: TestKeys; target: TargetConfig }> {
  const row = await getTarget(deps.db, test.target_id);
  if (test.key_source !== 'recovery-kit') {
    return { keys: await testKeys(deps, runId), target: await openTargetConfig(deps, row) };
  }
  const { kit, target } = (await deps.keys.take(runId)) as { kit: LentKeys; target: TargetConfig };
  return { keys: { source: 'lent', lent: kit, ...(await trustedRepository(deps)) }, target };
}

async function trustedRepository(
  deps: RunRestoreTestDeps,
): Promise<{ repositoryId: string; trustRoot: Uint8Array }> {
  const { repository } = await deps.keys.status();
  if (repository.repositoryId === null || repository.trustRoot === null) {
    throw new HoldfastError('wrong_state', 'There is no repository yet', {
      hint: 'Finish the set-up first.',
    });
  }
  return {
    repositoryId: repository.repositoryId,
    trustRoot: Buffer.from(repository.trustRoot, 'base64'),
  };
}

async function testKeys(deps: RunRestoreTestDeps, runId: string): Promise<TestKeys> {
  const common = await trustedRepository(deps);
  const identity = await deps.keys.testIdentity(runId);
  return { source: 'test-identity', identity, keys: deps.keys, sealer: deps.sealer, ...common };
}

async function openScene(
  deps: RunRestoreTestDeps,
  context: RunContext,
  parts: { test: RestoreTestRow; target: TargetConfig; keys: TestKeys },
): Promise<Scene> {
  const scratchDir = join(dataPaths(deps.dataDir).scratch, context.runId);
  return {
    mode: parts.test.mode === 'full' ? 'full' : 'quick',
    snapshotId: parts.test.snapshot_id,
    scratchDir,
    clock: deps.clock,
    startedAt: deps.clock.now(),
    signal: context.signal,
    expectations: { snapshotDueAt: await findSnapshotDueAt(deps.db) },
    progress: () => undefined,
    ...sceneOpeners({
      target: parts.target,
      keys: parts.keys,
      scratchDir,
      knownHead: rememberedHead(deps.dataDir, parts.keys.repositoryId),
      clock: deps.clock,
    }),
  };
}

async function buildReport(
  deps: RunRestoreTestDeps,
  scene: Scene,
  parts: { test: RestoreTestRow; target: TargetConfig; verdict: TestVerdict },
): Promise<Buffer> {
  const keysObject = await deps.keys.keysObject();
  const certificate = await deps.keys.signingCertificate();
  const { repository } = await deps.keys.status();
  const { test, target, verdict } = parts;
  const content = reportContent(scene, {
    id: test.id,
    repositoryId: repository.repositoryId ?? '',
    keySource: test.key_source === 'recovery-kit' ? 'recovery-kit' : 'test-identity',
    kitId: test.kit_id,
    target: { id: test.target_id, kind: target.kind },
    keysObject: { name: keysObject.name, object: keysObject.bytes.toString('base64') },
    certificate,
    verdict,
  });
  return signReport(content, (statement) => deps.keys.signReport(statement));
}

/** What a report says of a test. */
export function reportContent(
  scene: Scene,
  parts: Pick<
    RestoreTestReport,
    'id' | 'repositoryId' | 'keySource' | 'kitId' | 'target' | 'keysObject' | 'certificate'
  > & { verdict: TestVerdict },
): RestoreTestReport {
  const { verdict, ...given } = parts;
  const { snapshot, facts, repository } = scene;
  const grade = parts.keySource === 'recovery-kit' ? 'kit-proven' : 'data-proven';
  return {
    kind: REPORT_KIND,
    format: 1,
    ...given,
    number: String(snapshot?.number ?? 0),
    software: SOFTWARE_VERSION,
    state: verdict.passed ? 'passed' : 'failed',
    grade: verdict.passed ? grade : null,
    mode: scene.mode,
    startedAt: scene.startedAt.toISOString(),
    finishedAt: scene.clock.now().toISOString(),
    snapshot: {
      id: scene.snapshotId,
      number: snapshot === undefined ? null : String(snapshot.number),
      takenAt: snapshot?.takenAt ?? null,
      restorePoint: facts?.restorePoint ?? null,
      endLsn: facts?.endLsn ?? null,
      keyringEpoch: snapshot?.keyringEpoch ?? null,
    },
    head: repository?.headReference ?? null,
    keyringObjects: scene.contentKeys?.objects ?? [],
    rtoMs: verdict.rtoMs,
    rtoBasis: verdict.rtoBasis,
    rpoMs: verdict.rpoMs,
    checks: verdict.checks,
  };
}

async function recordEnd(
  deps: RunRestoreTestDeps,
  test: RestoreTestRow,
  verdict: TestVerdict,
  report: Buffer,
): Promise<void> {
  const reportSha256 = createHash('sha256').update(report).digest();
  const state = verdict.passed ? 'passed' : 'failed';
  const grade = test.key_source === 'recovery-kit' ? 'kit-proven' : 'data-proven';
  await writeTransaction(deps.db, async (tx) => {
    const first = await finishRestoreTest(tx, test.id, {
      state,
      grade: verdict.passed ? grade : null,
      finishedAt: deps.clock.now(),
      rtoMs: verdict.rtoMs,
      rpoMs: verdict.rpoMs,
      report,
      reportSha256,
    });
    if (!first) return;
    await recordAudit(tx, deps.clock, worker, {
      action: `restore-tests.test.${state}`,
      objectType: 'restore-test',
      objectId: test.id,
      result: verdict.passed ? 'done' : 'failed',
      detail: { snapshotId: test.snapshot_id, reportSha256: reportSha256.toString('hex') },
    });
  });
  crashPoint('restore-test.report.recorded');
}

const worker: Actor = systemActor('restore test');

async function recordAbort(
  deps: RunRestoreTestDeps,
  test: RestoreTestRow,
  cancelled: boolean,
): Promise<void> {
  const state = cancelled ? 'cancelled' : 'failed';
  await writeTransaction(deps.db, async (tx) => {
    const end = { grade: null, rtoMs: null, rpoMs: null, report: null, reportSha256: null };
    const first = await finishRestoreTest(tx, test.id, { state, finishedAt: deps.clock.now(), ...end });
    if (!first) return;
    await recordAudit(tx, deps.clock, worker, {
      action: `restore-tests.test.${state}`,
      objectType: 'restore-test',
      objectId: test.id,
      result: 'failed',
      detail: { snapshotId: test.snapshot_id },
    });
  });
}

function failureOf(verdict: TestVerdict) {
  const failed = verdict.checks.filter((check) => check.state !== 'passed');
  const [first] = failed;
  return {
    code: 'integrity_failure',
    message: `${failed.length} of ${verdict.checks.length} checks did not pass: ${first?.label ?? ''}`,
    hint: `Found: ${first?.found ?? ''}. The report has the rest.`.slice(0, 500),
  };
}
