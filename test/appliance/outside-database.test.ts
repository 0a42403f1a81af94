import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_ROLE,
  ensureDatabase,
  socketAddress,
  startPostgres,
  withClient,
  type PostgresServer,
} from '../../server/lib/postgres/index.ts';
import type { PointInTimeStatus } from '../../server/backups/wal/schema.ts';
import {
  claimAppliance,
  expectStatus,
  finishRun,
  finishRunOf,
  makeFolder,
  proveOneFile,
  putFile,
  removeFolder,
  serveAppliance,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';

let folder = '';
let outside: PostgresServer;
let appliance: ServedAppliance;

beforeAll(async () => {
  folder = await makeFolder('outside');
  const socketDir = join(folder, 'socket');
  outside = await startPostgres({
    clusterDir: join(folder, 'cluster'),
    socketDir,
    logFile: join(folder, 'postgres.log'),
  });
  await withClient(socketAddress(socketDir, ADMIN_ROLE, 'postgres'), 'test', (client) =>
    ensureDatabase(client, 'vault'),
  );
  appliance = await serveAppliance({
    dataDir: join(folder, 'data'),
    env: { HOLDFAST_DATABASE_URL: `postgresql://${ADMIN_ROLE}@/vault?host=${encodeURIComponent(socketDir)}` },
  });
}, 120_000);

afterAll(async () => {
  await appliance.stop();
  await outside.stop();
  await removeFolder(folder);
});

describe('with a PostgreSQL of the operator', () => {
  it('starts none of its own, takes files in, and proves a snapshot of that database', async () => {
    await claimAppliance(appliance);
    const proven = await proveOneFile(appliance, join(folder, 'target'));

    expect(proven).toMatchObject({ state: 'passed', grade: 'data-proven' });
    expect(await readdir(appliance.dataDir)).not.toContain('postgres');
  }, 180_000);

  it('ships its log, and restores a moment after the snapshot', async () => {
    await expectStatus(
      appliance.call('PUT', '/point-in-time', {
        ...{ enabled: true, windowDays: 3, objectiveSeconds: 300, pileLimitBytes: null },
      }),
      200,
    );
    // The log goes on from a snapshot; what is stored after it is in the log alone.
    await finishRun(appliance, appliance.call('POST', '/snapshots'));
    await putFile(appliance, 'later.txt', 'only in the log');
    const at = new Date(Math.ceil(Date.now() / 1000) * 1000).toISOString();
    await sleep(1_500);
    await putFile(appliance, 'latest.txt', 'after the moment');
    const reached = await waitFor(
      'the log to reach the moment',
      async () => {
        const status = await expectStatus(appliance.call<PointInTimeStatus>('GET', '/point-in-time'), 200);
        return status.targets.find(({ windows }) => windows.some(({ from, to }) => from < at && at < to));
      },
      120_000,
      1_000,
    );

    const test = await expectStatus(
      appliance.call<{ id: string; runId: string }>('POST', '/restore-tests/point-in-time', {
        ...{ targetId: reached.targetId, time: at, mode: 'full' },
      }),
      202,
    );
    await finishRunOf(appliance, test.runId);

    expect(await expectStatus(appliance.call('GET', `/restore-tests/${test.id}`), 200)).toMatchObject({
      ...{ state: 'passed', grade: 'data-proven', point: { time: at } },
    });
  }, 240_000);
});
