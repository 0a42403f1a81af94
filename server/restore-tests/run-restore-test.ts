/** The run of a restore test, in a process of its own: takes what it was lent, tests, signs the report, records how it ended. */
import { createHash, randomUUID } from 'node:crypto';
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import { shipReport, wordsOfPoint, type TargetConfig } from '../backups/index.ts';
import { readSigner, signReport } from '../keys/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import type { Problem } from '../lib/shapes.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { runTrial } from './assertions/run-trial.ts';
import { readTrial } from './assertions/trial.ts';
import type { Objectives } from './checks/objective-checks.ts';
import { chooseCopies } from './choose-copy.ts';
import { askedOf, modeOf, openScene, reportTo, whatIsNeeded, type RunRestoreTestDeps } from './open-test.ts';
import type { TestKeys } from './open-scene.ts';
import { hasPassed, performTest, type TestVerdict } from './perform-test.ts';
import { opensItself } from './opens-itself.ts';
import {
  finishRestoreTest,
  getRestoreTest,
  insertRestoreTest,
  isWaiting,
  type RestoreTestRow,
} from './queries.ts';
import { REPORT_KIND, type RestoreTestReport } from './report.ts';
import type { Scene } from './scene.ts';
import type { CopyChoice, Grade, RestoreTestMode } from './schema.ts';

/** @throws HoldfastError when no test could be started at all; a test that fails is an outcome. */
export async function runRestoreTest(deps: RunRestoreTestDeps, context: RunContext): Promise<RunOutcome> {
  const trial = readTrial(context.input);
  if (trial !== undefined) return runTrial(deps, context, trial);
  const tests = await findOrAddTests(deps, context);
  if (tests === undefined) return refusedForKit(context);
  const failed: { test: RestoreTestRow; error: Problem }[] = [];
  const opened: { keys?: TestKeys } = {};
  for (const [index, test] of tests.entries()) {
    try {
      if (tests.length > 1)
        await context.step(
          `Copy ${index + 1} of ${tests.length}: snapshot of ${test.snapshot_taken_at.toISOString()}`,
        );
      const verdict = await runOne(deps, context, test, opened);
      if (!verdict.passed) failed.push({ test, error: failureOf(verdict) });
    } catch (error) {
      const { aborted } = context.signal;
      await recordAbort(deps, test, aborted);
      if (tests.length > 1)
        await context.log('error', `This copy could not be tested: ${problemOf(error).message}`);
      if (aborted) {
        for (const unbegun of tests.slice(index + 1)) await recordAbort(deps, unbegun, aborted);
        throw error;
      }
      if (tests.length === 1) throw error;
      failed.push({ test, error: problemOf(error) });
    }
  }
  const [first] = failed;
  const restoreTestId = (first?.test ?? tests[0])?.id ?? null;
  const result = { restoreTestId, tests: tests.length, state: first === undefined ? 'passed' : 'failed' };
  if (first === undefined) return { state: 'succeeded', result };
  return { state: 'failed', result, error: first.error };
}

async function runOne(
  deps: RunRestoreTestDeps,
  context: RunContext,
  test: RestoreTestRow,
  opened: { keys?: TestKeys },
): Promise<TestVerdict> {
  const { keys, target } = await whatIsNeeded(deps, context.runId, test, opened.keys);
  // A run is given them once.
  opened.keys = keys;
  const asked = await askedOf(deps.db, test);
  const { watcher, progress } = reportTo(context);
  const scene = await openScene(deps, context, { test, target, keys, asked, progress });
  const verdict = await performTest(scene, watcher);
  const report = await buildReport(deps, scene, { test, target, verdict });
  await recordEnd(deps, test, {
    ...{ verdict, report, objectives: asked.objectives },
    reachedAt: scene.point?.reachedAt,
  });
  await ship(deps, context, { test, target }, report);
  return verdict;
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
      targetId: test.target_id,
      config: target,
    });
    if (name === undefined) await context.log('warn', 'The report was not put on the target: it is busy');
    else await context.log('info', `The report lies on the target as ${name}`);
  } catch (error) {
    await context.log('warn', `The report was not put on the target: ${messageOf(error)}`);
  }
}

/** Tests that a person started have their rows; scheduled ones get them here. @returns undefined when only a kit could open them. */
async function findOrAddTests(
  deps: RunRestoreTestDeps,
  context: RunContext,
): Promise<RestoreTestRow[] | undefined> {
  const { restoreTestId, mode, drill } = context.input;
  // One that an older version queued names its test alone.
  const given = typeof restoreTestId === 'string' ? [restoreTestId] : context.input.restoreTestIds;
  if (Array.isArray(given)) return Promise.all((given as string[]).map((id) => getRestoreTest(deps.db, id)));
  const { repository } = await deps.keys.status();
  const chosen = await chooseCopies(deps.db, scheduledChoice(context.input, repository.writeOnly));
  const needsKit = drill === true || !chosen.every(({ takenAt }) => opensItself(repository, takenAt));
  // One that is due again while it waits goes on waiting.
  if (needsKit && drill !== true && (await isWaiting(deps.db, mode === 'full' ? 'full' : 'quick')))
    return undefined;
  const copies = needsKit ? chosen.slice(0, 1) : chosen;
  const ids = copies.map(() => randomUUID());
  await writeTransaction(deps.db, async (tx) => {
    for (const [index, copy] of copies.entries()) {
      const { snapshotId, targetId, takenAt, choice, drawnFrom, newest } = copy;
      await insertRestoreTest(tx, {
        ...{
          id: ids[index] ?? randomUUID(),
          runId: context.runId,
          snapshotId,
          snapshotTakenAt: takenAt,
          targetId,
        },
        ...{ choice, drawnFrom, newest, drill: drill === true },
        mode: mode === 'full' ? 'full' : 'quick',
        keySource: needsKit ? 'recovery-kit' : 'test-identity',
        kitId: null,
        state: needsKit ? 'needs-kit' : 'running',
        createdAt: deps.clock.now(),
      });
    }
  });
  if (needsKit) return undefined;
  return Promise.all(ids.map((id) => getRestoreTest(deps.db, id)));
}

/** Whoever waits for a kit waits once, not once for each target. */
function scheduledChoice({ copy, drill }: RunContext['input'], writeOnly: boolean): CopyChoice {
  const byItself = drill !== true && !writeOnly;
  if (byItself && copy === 'random') return { choice: 'random' };
  return { choice: 'latest', everyTarget: byItself && copy === 'every-target' };
}

async function refusedForKit(context: RunContext): Promise<RunOutcome> {
  await context.log(
    'warn',
    context.input.drill === true
      ? 'The drill is due: somebody opens the newest copy with a recovery kit'
      : 'This appliance keeps no key that opens this backup: the test waits for the recovery kit',
  );
  return {
    state: 'partial',
    result: { state: 'needs-kit' },
    error: {
      code: 'needs_kit',
      message: 'A restore test is due and needs the recovery kit',
      hint: 'Open Restore tests and start one with the kit.',
    },
  };
}

async function buildReport(
  deps: RunRestoreTestDeps,
  scene: Scene,
  parts: { test: RestoreTestRow; target: TargetConfig; verdict: TestVerdict },
): Promise<Buffer> {
  const { test, target, verdict } = parts;
  const content = reportContent(scene, {
    ...(await readSigner(deps.keys)),
    id: test.id,
    keySource: test.key_source === 'recovery-kit' ? 'recovery-kit' : 'test-identity',
    kitId: test.kit_id,
    target: { id: test.target_id, kind: target.kind },
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
  return {
    kind: REPORT_KIND,
    format: 1,
    ...given,
    number: String(snapshot?.number ?? 0),
    software: SOFTWARE_VERSION,
    state: verdict.passed ? 'passed' : 'failed',
    grade: gradeOf(verdict, scene.mode, parts.keySource),
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
    ...(scene.chosen === undefined
      ? {}
      : {
          point: { ...wordsOfPoint(scene.chosen), reachedAt: scene.point?.reachedAt?.toISOString() ?? null },
        }),
    rtoMs: verdict.rtoMs,
    rtoBasis: verdict.rtoBasis,
    rpoMs: verdict.rpoMs,
    copy: scene.copy,
    objectives: scene.asked.objectives,
    checks: verdict.checks,
  };
}

/** A check of the system proves nothing of the data. */
function gradeOf({ passed }: TestVerdict, mode: RestoreTestMode, keySource: string): Grade | null {
  if (!passed || mode === 'system') return null;
  return keySource === 'recovery-kit' ? 'kit-proven' : 'data-proven';
}

async function recordEnd(
  deps: RunRestoreTestDeps,
  test: RestoreTestRow,
  {
    verdict,
    report,
    objectives,
    reachedAt,
  }: { verdict: TestVerdict; report: Buffer; objectives: Objectives; reachedAt: Date | undefined },
): Promise<void> {
  const reportSha256 = createHash('sha256').update(report).digest();
  const mode = modeOf(test);
  const state = verdict.passed ? (mode === 'system' ? 'checked' : 'passed') : 'failed';
  await writeTransaction(deps.db, async (tx) => {
    const first = await finishRestoreTest(tx, test.id, {
      state,
      grade: gradeOf(verdict, mode, test.key_source),
      finishedAt: deps.clock.now(),
      rtoMs: verdict.rtoMs,
      rpoMs: verdict.rpoMs,
      rtoObjectiveMs: objectives.rtoMs,
      rpoObjectiveMs: objectives.rpoMs,
      report,
      reportSha256,
      reachedAt,
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
    const none = { rtoMs: null, rpoMs: null, rtoObjectiveMs: null, rpoObjectiveMs: null };
    const end = { grade: null, ...none, report: null, reportSha256: null };
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

function problemOf(error: unknown): Problem {
  if (!(error instanceof HoldfastError))
    return {
      code: 'internal',
      message: 'Something went wrong inside the appliance',
      hint: 'Its log says more.',
    };
  const { code, message, hint } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

function failureOf(verdict: TestVerdict): Problem {
  const failed = verdict.checks.filter((check) => !hasPassed(check));
  const [first] = failed;
  return {
    code: 'integrity_failure',
    message: `${failed.length} of ${verdict.checks.length} checks did not pass: ${first?.label ?? ''}`,
    hint: `Found: ${first?.found ?? ''}. The report has the rest.`.slice(0, 500),
  };
}
