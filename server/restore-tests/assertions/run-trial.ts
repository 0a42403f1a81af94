/** The run of a trial: as much of a restore test as it takes to ask, and no report. */
import { HoldfastError } from '../../lib/errors.ts';
import type { RunContext, RunOutcome } from '../../lib/runs.ts';
import { assertionChecks } from '../checks/assertion-checks.ts';
import { recoverDatabaseCheck, restoreDatabaseCheck } from '../checks/database-checks.ts';
import { openRepositoryCheck, snapshotCheck } from '../checks/repository-checks.ts';
import { openScene, reportTo, whatIsNeeded, type RunRestoreTestDeps } from '../open-test.ts';
import { findNewestCopy } from '../copy-queries.ts';
import { performTest } from '../perform-test.ts';
import { readTestSettings } from '../settings.ts';
import type { Question } from './schema.ts';

const GROUND = [openRepositoryCheck, snapshotCheck, restoreDatabaseCheck, recoverDatabaseCheck];

/** @throws HoldfastError `wrong_state` when there is no snapshot yet. */
export async function runTrial(
  deps: RunRestoreTestDeps,
  context: RunContext,
  question: Question,
): Promise<RunOutcome> {
  const newest = await findNewestCopy(deps.db);
  if (newest === undefined) {
    throw new HoldfastError('wrong_state', 'There is no snapshot to try it on', {
      hint: 'Take a snapshot first.',
    });
  }
  const { snapshotId: snapshot_id, targetId: target_id } = newest;
  const copy = { snapshot_id, target_id, mode: 'quick', key_source: 'test-identity' };
  const { keys, target } = await whatIsNeeded(deps, context.runId, copy);
  const assertion = { id: context.runId, version: 0, name: 'The statement', ...question };
  const asked = {
    assertions: [assertion],
    seconds: (await readTestSettings(deps.db)).assertionSeconds,
    objectives: { rtoMs: null, rpoMs: null },
  };
  const { watcher, progress } = reportTo(context);
  const scene = await openScene(deps, context, { test: copy, target, keys, asked, progress });
  const verdict = await performTest(scene, watcher, [...GROUND, ...assertionChecks(asked.assertions)]);
  const answer = verdict.checks.at(-1);
  const result = {
    ...{ trial: true, snapshotId: newest.snapshotId, takenAt: newest.takenAt.toISOString() },
    ...{ passed: answer?.state === 'passed', expected: answer?.expected, found: answer?.found },
  };
  if (answer?.state !== 'skipped') return { state: 'succeeded', result };
  return {
    state: 'failed',
    result,
    error: {
      code: 'integrity_failure',
      message: 'The database of the newest snapshot could not be restored, so nothing was asked',
      hint: 'Start a restore test: its report says what is wrong.',
    },
  };
}
