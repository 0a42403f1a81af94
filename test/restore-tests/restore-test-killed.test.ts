import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RestoreTest, RestoreTestPage } from '../../server/restore-tests/schema.ts';
import {
  addDirectoryTarget,
  claimAppliance,
  expectStatus,
  finishRun,
  finishRunOf,
  makeFolder,
  removeFolder,
  serveAppliance,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';

let place: string;
let appliance: ServedAppliance;

beforeAll(async () => {
  place = await makeFolder('killed-test');
  mkdirSync(join(place, 'target'));
  appliance = await serveAppliance({
    dataDir: join(place, 'data'),
    env: {
      NODE_OPTIONS: `--import ${join(import.meta.dirname, '..', 'helpers', 'crash-at.ts')}`,
      HOLDFAST_TEST_CRASH_AT: 'restore-test.check.database-recovery:1',
    },
  });
}, 120_000);

afterAll(async () => {
  await (appliance as ServedAppliance | undefined)?.stop();
  await removeFolder(place);
});

test('a restore test that is killed counts as failed, and neither its files nor its PostgreSQL stay', async () => {
  await claimAppliance(appliance);
  const targetId = await addDirectoryTarget(appliance, join(place, 'target'));
  const { result } = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  const request = { snapshotId: result.snapshotId, targetId, mode: 'quick', keySource: 'test-identity' };
  const begun = await expectStatus(appliance.call<RestoreTest>('POST', '/restore-tests', request), 202);

  const run = await finishRunOf(appliance, begun.runId);

  expect(run.state).toBe('failed');
  const scratch = join(place, 'data', 'scratch');
  await waitFor('scratch to be swept', () => readdirSync(scratch).length === 0);
  const ended = await waitFor(
    'the test to be settled',
    async () => {
      const { body } = await appliance.call<RestoreTestPage>('GET', '/restore-tests');
      return body.items[0]?.state === 'running' ? undefined : body.items[0];
    },
    90_000,
  );
  expect(ended).toMatchObject({ id: begun.id, state: 'failed', grade: null, reportSha256: null });
}, 240_000);
