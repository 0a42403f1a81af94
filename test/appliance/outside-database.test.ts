import { readdir } from 'node:fs/promises';
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
  claimAppliance,
  makeFolder,
  proveOneFile,
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
    const proven = await proveOneFile(appliance, join(folder, 'target'));

    expect(proven).toMatchObject({ state: 'passed', grade: 'data-proven' });
    expect(await readdir(appliance.dataDir)).not.toContain('postgres');
  }, 180_000);
});
