import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN_ROLE,
  ensureDatabase,
  socketAddress,
  startPostgres,
  withClient,
  type PostgresServer,
} from '../../server/lib/postgres/index.ts';
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
    const target = join(folder, 'target');
    await mkdir(target);
    const targetId = await addDirectoryTarget(appliance, target);
    type Workspaces = { items: { rootFolderId: string }[] };
    const { items } = await expectStatus(appliance.call<Workspaces>('GET', '/workspaces'), 200);
    const path = `/folders/${items[0]?.rootFolderId ?? ''}/files?name=note.txt`;
    await expectStatus(appliance.call('PUT', path, Buffer.from('kept elsewhere')), 201);

    const snapshot = await finishRun(appliance, appliance.call('POST', '/snapshots'));
    const test = await expectStatus(
      appliance.call<{ id: string; runId: string }>('POST', '/restore-tests', {
        snapshotId: snapshot.result.snapshotId,
        targetId,
        mode: 'full',
        keySource: 'test-identity',
      }),
      202,
    );
    await finishRunOf(appliance, test.runId);
    const proven = await expectStatus(
      appliance.call<{ state: string; grade: string }>('GET', `/restore-tests/${test.id}`),
      200,
    );

    expect(snapshot.state).toBe('succeeded');
    expect(proven).toMatchObject({ state: 'passed', grade: 'data-proven' });
    expect(await readdir(appliance.dataDir)).not.toContain('postgres');
  }, 180_000);
});
