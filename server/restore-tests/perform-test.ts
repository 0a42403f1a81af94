/**
 * Runs the checks of one test in order. A check that fails does not stop the others, except those that stand on it; a check
 * that could not be run counts as failed. Scratch is wiped before this returns, whatever happened.
 */
import { HoldfastError } from '../lib/errors.ts';
import type { RunProgress } from '../lib/run-schema.ts';
import { wipeScratch } from '../lib/data-folder.ts';
import { makePrivateDirectory } from '../lib/files.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { auditCheck } from './checks/audit-checks.ts';
import {
  heapCheck,
  indexCheck,
  recoverDatabaseCheck,
  restoreDatabaseCheck,
  rowsCheck,
} from './checks/database-checks.ts';
import { decryptCheck, filesCheck, namesCheck } from './checks/file-checks.ts';
import {
  factsCheck,
  freshnessCheck,
  keyringCheck,
  openRepositoryCheck,
  snapshotCheck,
} from './checks/repository-checks.ts';
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
];

export interface TestVerdict {
  passed: boolean;
  checks: CheckResult[];
  /** From the start until the database had recovered and the files were read; null when it did not come that far. */
  rtoMs: number | null;
  /** `extrapolated` where only a sample of the files was read. */
  rtoBasis: 'measured' | 'extrapolated' | null;
  /** What would have been lost: from the snapshot to the start of the test. */
  rpoMs: number | null;
}

type Steps = NonNullable<RunProgress['steps']>;

interface Watcher {
  steps(steps: Steps): void;
  log(level: 'info' | 'error', message: string): Promise<void>;
}

/** @throws what cancelled it, or `no_space`; a failed check is a result. */
export async function performTest(scene: Scene, watcher: Watcher): Promise<TestVerdict> {
  const startedAt = scene.clock.monotonicMs();
  const steps: Steps = CHECKS.map(({ id, label }) => ({ id, label, state: 'waiting' }));
  const checks: CheckResult[] = [];
  let recoveredMs: number | null = null;
  try {
    await makePrivateDirectory(scene.scratchDir);
    crashPoint('restore-test.scratch.made');
    for (const [index, check] of CHECKS.entries()) {
      scene.signal.throwIfAborted();
      markStep(steps, index, { state: 'running' });
      watcher.steps(steps);
      const result = await runCheck(scene, check);
      checks.push(result);
      markStep(steps, index, { state: result.state, durationMs: result.durationMs, note: result.found });
      watcher.steps(steps);
      await watcher.log(
        result.state === 'failed' ? 'error' : 'info',
        `${check.label}: ${result.state}; ${result.found}`,
      );
      if (check === recoverDatabaseCheck && result.state === 'passed')
        recoveredMs = scene.clock.monotonicMs() - startedAt;
      crashPoint(`restore-test.check.${check.id}`);
    }
  } finally {
    await closeScene(scene);
  }
  const passed = checks.every((check) => check.state === 'passed');
  return { passed, checks, ...measure(scene, recoveredMs) };
}

async function runCheck(scene: Scene, check: Check): Promise<CheckResult> {
  const startedAt = scene.clock.monotonicMs();
  const { id, label } = check;
  const done = () => Math.round(scene.clock.monotonicMs() - startedAt);
  try {
    const { passed, expected, found } = await check.run(scene);
    return { id, label, state: passed ? 'passed' : 'failed', expected, found, durationMs: done() };
  } catch (error) {
    // A full disk of ours says nothing about what is stored.
    const full = error instanceof HoldfastError && error.code === 'no_space';
    if (scene.signal.aborted || full) throw error;
    const state = error instanceof GroundMissing ? 'skipped' : 'failed';
    return { id, label, state, expected: 'the check can be run', found: describe(error), durationMs: done() };
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

/** Reading every file is what a restore would take longest for; a quick test reads some and reckons up. */
function measure(
  scene: Scene,
  recoveredMs: number | null,
): Pick<TestVerdict, 'rtoMs' | 'rtoBasis' | 'rpoMs'> {
  const { snapshot, filesRead } = scene;
  const rpoMs =
    snapshot === undefined ? null : Math.max(0, scene.startedAt.getTime() - Date.parse(snapshot.takenAt));
  if (recoveredMs === null || filesRead === undefined) return { rtoMs: null, rtoBasis: null, rpoMs };
  const whole = filesRead.bytes >= filesRead.totalBytes;
  const filesMs = whole ? filesRead.ms : (filesRead.ms * filesRead.totalBytes) / Math.max(1, filesRead.bytes);
  return { rtoMs: Math.round(recoveredMs + filesMs), rtoBasis: whole ? 'measured' : 'extrapolated', rpoMs };
}

async function closeScene(scene: Scene): Promise<void> {
  await scene.contentKeys?.close().catch(() => undefined);
  await scene.stopDatabase?.().catch(() => undefined);
  await scene.reader?.close();
  await scene.repository?.close();
  await wipeScratch(scene.scratchDir);
}
