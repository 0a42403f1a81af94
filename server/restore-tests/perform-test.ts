/**
 * Runs the checks of one test in order. A check that fails does not stop the others, except those that stand on it; a check
 * that could not be run counts as failed. Scratch is wiped before this returns, whatever happened.
 */
import { HoldfastError } from '../lib/errors.ts';
import type { RunProgress } from '../lib/run-schema.ts';
import { wipeScratch } from '../lib/data-folder.ts';
import { makePrivateDirectory } from '../lib/files.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { assertionChecks } from './checks/assertion-checks.ts';
import { auditCheck } from './checks/audit-checks.ts';
import {
  heapCheck,
  indexCheck,
  recoverDatabaseCheck,
  restoreDatabaseCheck,
  rowsCheck,
} from './checks/database-checks.ts';
import { decryptCheck, filesCheck, namesCheck } from './checks/file-checks.ts';
import { logCheck } from './checks/point-checks.ts';
import { residencyCheck } from './checks/residency-check.ts';
import { schemaCheck } from './checks/schema-checks.ts';
import { objectiveChecks } from './checks/objective-checks.ts';
import {
  factsCheck,
  freshnessCheck,
  keyringCheck,
  openRepositoryCheck,
  snapshotCheck,
} from './checks/repository-checks.ts';
import {
  applianceContentCheck,
  systemContentCheck,
  systemFilesCheck,
  versionCheck,
} from './checks/system-checks.ts';
import { measure, type Measures } from './measure.ts';
import { GroundMissing, type Check, type Scene } from './scene.ts';
import type { CheckResult } from './schema.ts';

export const CHECKS: readonly Check[] = [
  openRepositoryCheck,
  snapshotCheck,
  freshnessCheck,
  keyringCheck,
  factsCheck,
  restoreDatabaseCheck,
  recoverDatabaseCheck,
  indexCheck,
  heapCheck,
  rowsCheck,
  filesCheck,
  decryptCheck,
  namesCheck,
  auditCheck,
  // From here on it is not the database of the snapshot any more, and people's own are asked of the present schema.
  schemaCheck,
];

/** Of the scope `system`: nothing of the data is fetched. */
const SYSTEM_CHECKS: readonly Check[] = [
  openRepositoryCheck,
  snapshotCheck,
  freshnessCheck,
  keyringCheck,
  factsCheck,
  applianceContentCheck,
  versionCheck,
  systemFilesCheck,
  systemContentCheck,
];

export interface TestVerdict extends Measures {
  passed: boolean;
  checks: CheckResult[];
}

type Steps = NonNullable<RunProgress['steps']>;

export interface Watcher {
  steps(steps: Steps): void;
  log(level: 'info' | 'warn' | 'error', message: string): Promise<void>;
}

/** @throws what cancelled it, or `no_space`; a failed check is a result. */
export async function performTest(
  scene: Scene,
  watcher: Watcher,
  all: readonly Check[] = checksOf(scene),
): Promise<TestVerdict> {
  const startedAt = scene.clock.monotonicMs();
  const steps: Steps = all.map(({ id, label }) => ({ id, label, state: 'waiting' }));
  const checks: CheckResult[] = [];
  try {
    await makePrivateDirectory(scene.scratchDir);
    crashPoint('restore-test.scratch.made');
    for (const [index, check] of all.entries()) {
      scene.signal.throwIfAborted();
      markStep(steps, index, { state: 'running' });
      watcher.steps(steps);
      const result = await runCheck(scene, check);
      checks.push(result);
      markStep(steps, index, { state: result.state, durationMs: result.durationMs, note: result.found });
      watcher.steps(steps);
      await watcher.log(
        result.state === 'failed' ? 'error' : result.state === 'warned' ? 'warn' : 'info',
        `${check.label}: ${result.state}; ${result.found}`,
      );
      if (check === recoverDatabaseCheck && result.state === 'passed')
        scene.recoveredMs = scene.clock.monotonicMs() - startedAt;
      crashPoint(`restore-test.check.${check.id}`);
    }
  } finally {
    await closeScene(scene);
  }
  return { passed: checks.every(hasPassed), checks, ...measure(scene) };
}

/** People's own come last: what they may do to the scratch database then disturbs no other. */
function checksOf(scene: Scene): Check[] {
  const { assertions, objectives, residency } = scene.asked;
  const lies = residency === undefined ? [] : [residencyCheck(residency.of, residency.targetId)];
  if (scene.mode === 'system') return [...SYSTEM_CHECKS, ...lies];
  // A chosen moment is reached through the log, after the snapshot's database is there.
  const checks =
    scene.chosen === undefined
      ? CHECKS
      : CHECKS.flatMap((check) => (check === recoverDatabaseCheck ? [logCheck, check] : [check]));
  return [...checks, ...lies, ...assertionChecks(assertions), ...objectiveChecks(objectives)];
}

/** A warning is something to know, such as a missed objective; the copy is whole all the same. */
export function hasPassed({ state }: Pick<CheckResult, 'state'>): boolean {
  return state === 'passed' || state === 'warned';
}

async function runCheck(scene: Scene, check: Check): Promise<CheckResult> {
  const startedAt = scene.clock.monotonicMs();
  const { id, label, assertion } = check;
  const common = { id, label, ...(assertion === undefined ? {} : { assertion }) };
  const done = () => Math.round(scene.clock.monotonicMs() - startedAt);
  try {
    const { passed, warned, expected, found } = await check.run(scene);
    const state = passed ? (warned === true ? 'warned' : 'passed') : 'failed';
    return { ...common, state, expected, found, durationMs: done() };
  } catch (error) {
    // A full disk of ours says nothing about what is stored.
    const full = error instanceof HoldfastError && error.code === 'no_space';
    if (scene.signal.aborted || full) throw error;
    const state = error instanceof GroundMissing ? 'skipped' : 'failed';
    return {
      ...common,
      ...{ state, expected: 'the check can be run', found: describe(error), durationMs: done() },
    };
  }
}

function describe(error: unknown): string {
  if (!(error instanceof HoldfastError)) return 'An unexpected error; the log of the run says more';
  return error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
}

function markStep(steps: Steps, index: number, change: Partial<Steps[number]>): void {
  const step = steps[index];
  if (step !== undefined) steps[index] = { ...step, ...change };
}

async function closeScene(scene: Scene): Promise<void> {
  await scene.contentKeys?.close().catch(() => undefined);
  await scene.stopDatabase?.().catch(() => undefined);
  await scene.reader?.close();
  await scene.repository?.close();
  await wipeScratch(scene.scratchDir);
}
