/** PostgreSQL crashes beneath a running appliance: it recovers by itself, and nobody stands before a shut door afterwards. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { ADMIN_ROLE, socketAddress, withClient } from '../../server/lib/postgres/index.ts';
import {
  callerOf,
  expectStatus,
  OWNER,
  removeFolder,
  serveAppliance,
  takeOwnership,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { originOf, signInAs } from '../helpers/sign-in.ts';
import { waitFor } from '../helpers/wait-for.ts';

const LIMIT_MS = 120_000;
let appliance: ServedAppliance;
beforeAll(async () => {
  appliance = await serveAppliance();
  await takeOwnership(appliance, OWNER);
}, LIMIT_MS);
afterAll(async () => {
  await appliance.stop();
  await removeFolder(appliance.dataDir);
}, LIMIT_MS);

/** One process of PostgreSQL dies as by the kernel's out-of-memory killer: it ends all others and recovers; unlogged tables are empty. */
async function crashDatabase(): Promise<void> {
  const address = socketAddress(dataPaths(appliance.dataDir).databaseSocket, ADMIN_ROLE, 'holdfast');
  const crash = withClient(address, 'to be killed', async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    client.on('error', () => undefined);
    process.kill(rows[0]?.pid ?? 0, 'SIGKILL');
    await client.query('select pg_sleep(60)');
  });
  await expect(crash).rejects.toThrow();
  await waitFor('the database to be back', () =>
    withClient(address, 'look', (client) => client.query('select 1')).then(
      () => true,
      () => undefined,
    ),
  );
}

test(
  'people sign in, names are found and given, and no address is given twice',
  { timeout: LIMIT_MS },
  async () => {
    type Workspaces = { items: { rootFolderId: string }[] };
    const { items } = await expectStatus(appliance.call<Workspaces>('GET', '/workspaces'), 200);
    const put = (name: string) =>
      appliance.call('PUT', `/folders/${items[0]?.rootFolderId}/files?name=${name}`, Buffer.from('content'));
    await expectStatus(put('before.txt'), 201);

    await crashDatabase();

    const fresh = callerOf(appliance.url);
    await waitFor('somebody to sign in', async () => {
      // 401 would mean that nobody is known any more.
      const { status } = await fresh.call('POST', '/session', {
        email: OWNER.email,
        password: OWNER.password,
      });
      expect(status).not.toBe(401);
      return status < 300 ? true : undefined;
    });
    await signInAs(fresh.call, originOf(appliance.url), OWNER);
    expect((await fresh.call('GET', '/session')).status).toBe(200);
    expect((await put('before.txt')).status).toBe(409);
    const again = await appliance.call('POST', '/invitations', {
      email: OWNER.email,
      role: 'member',
      teamIds: [],
    });
    expect(again.status).toBe(409);
  },
);
