/** Two of one appliance: a clone, and one that was set back. Neither harms the other's backups, and a person decides. */
import { cp, rename, rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { quarantine, readQuarantine } from '../../server/backups/index.ts';
import { listMigrations } from '../../server/lib/migrate.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { expectStatus, startTestKeyd } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

let appliance: StockedAppliance;
beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
});
const endings: (() => Promise<void>)[] = [];
afterAll(async () => {
  await appliance.close();
  for (const end of endings) await end();
});

async function trySnapshot() {
  await expectStatus(appliance.owner.call('POST', '/snapshots'), 202);
  return appliance.performRun();
}

/** As a machine that was set back: the target went on, the keyring did not. */
async function setBackOneSnapshot(): Promise<void> {
  const { keyring } = dataPaths(appliance.dataDir);
  await cp(keyring, `${keyring}-before`, { recursive: true });
  await appliance.takeSnapshot();
  await appliance.killKeyd();
  await rm(keyring, { recursive: true });
  await rename(`${keyring}-before`, keyring);
  const keyd = await startTestKeyd(appliance.dataDir);
  endings.push(() => keyd.kill('SIGTERM'));
}

test('a machine that was set back notices it at its next snapshot, writes nothing, and waits', async () => {
  await setBackOneSnapshot();

  const run = await trySnapshot();

  expect(run).toMatchObject({ state: 'failed', error: { code: 'wrong_state' } });
  expect(run.error?.message).toMatch(/waits in quarantine.*set back to an older state/);
  expect(await readQuarantine(appliance.deps.db)).toBeDefined();
  const { body } = await appliance.owner.call<{ banners: { kind: string }[] }>('GET', '/session');
  expect(body.banners.map(({ kind }) => kind)).toContain('quarantine');
});

test('until then every work on the target is refused', async () => {
  await expectStatus(appliance.owner.call('POST', '/targets/verify'), 202);

  expect(await appliance.performRun()).toMatchObject({ state: 'failed', error: { code: 'wrong_state' } });
});

test('only the owner releases it, and only with the word that the others are off', async () => {
  const admin = await appliance.addPerson('admin');

  expect((await admin.call('POST', '/quarantine/release', { othersAreOff: true })).status).toBe(403);
  expect((await appliance.owner.call('POST', '/quarantine/release', {})).status).toBe(400);
  expect(await readQuarantine(appliance.deps.db)).toBeDefined();
});

test('released, it takes the repository over under a new identity, and what the other wrote is still there', async () => {
  const id = async () =>
    withClient(appliance.database.adminAddress, 'test', async (client) => {
      const { rows } = await client.query<{ id: string }>('select id from appliance');
      return rows[0]?.id;
    });
  const before = await id();

  await expectStatus(appliance.owner.call('POST', '/quarantine/release', { othersAreOff: true }), 204);
  const run = await trySnapshot();

  expect(run).toMatchObject({ state: 'succeeded', result: { number: 3 } });
  expect(await id()).not.toBe(before);
  expect((await trySnapshot()).state).toBe('succeeded');
});

test('a second reason does not replace the first, and a release without a quarantine is refused', async () => {
  expect((await appliance.owner.call('POST', '/quarantine/release', { othersAreOff: true })).status).toBe(
    409,
  );

  await quarantine(appliance.deps, 'one');
  await quarantine(appliance.deps, 'two');

  expect((await readQuarantine(appliance.deps.db))?.reason).toBe('one');
  expect(await listMigrations()).toContain('0008-add-quarantine');
});

test('a recovered one keeps everybody but owners out until an owner lets it go on, as the appliance that it is', async () => {
  const admin = await appliance.addPerson('admin');
  await withClient(appliance.database.adminAddress, 'test', (client) =>
    client.query(
      `update appliance set quarantine_kind = 'recovered', quarantine_reason = 'it was recovered'`,
    ),
  );
  const statuses = async (path: string) => [
    (await admin.call('GET', path)).status,
    (await appliance.owner.call('GET', path)).status,
  ];
  const before = await readQuarantine(appliance.deps.db);

  await expect.poll(() => statuses('/workspaces'), { timeout: 5_000 }).toEqual([409, 200]);
  expect(await statuses('/session')).toEqual([200, 200]);
  await expectStatus(appliance.owner.call('POST', '/quarantine/release', { othersAreOff: true }), 204);

  expect(before).toMatchObject({ kind: 'recovered', reason: 'it was recovered' });
  await expect.poll(() => statuses('/workspaces'), { timeout: 5_000 }).toEqual([200, 200]);
  expect(await readQuarantine(appliance.deps.db)).toBeUndefined();
});
