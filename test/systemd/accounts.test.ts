import { chmod, chown, mkdir, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addDirectoryTarget,
  callerOf,
  claimAppliance,
  expectStatus,
  finishRun,
  finishRunOf,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import {
  DATA_GROUP_ID,
  makeMachine,
  machineIsPossible,
  type Machine,
  type MachineAccount,
} from './machine.ts';

describe.skipIf(!machineIsPossible)('the services of a machine image, each under its own account', () => {
  let machine: Machine;
  let appliance: Pick<ServedAppliance, 'call' | 'claimCode' | 'url'>;
  let rootFolderId = '';
  const content = Buffer.from('what nobody else may read '.repeat(4000));

  beforeAll(async () => {
    machine = await makeMachine();
    const port = await freePort();
    await succeed('root', 'prepare');
    machine.start('postgres', [machine.postgres, '-D', join(machine.dataDir, 'postgres')]);
    const keyd = machine.node('holdfast-keyd', 'keyd');
    await keyd.says('"ready":true');
    await waitFor('PostgreSQL', async () => (await machine.node('postgres', 'migrate').ended) === 0, 60_000);
    machine.node('holdfast', 'main', { HOLDFAST_PORT: String(port) });
    machine.node('holdfast-worker', 'worker');
    const url = `https://127.0.0.1:${port}`;
    await waitFor('the server', () => isReady(url), 60_000);
    const claimCode = (await readFile(join(machine.runDir, 'claim-code'), 'utf8')).split('\n')[0];
    appliance = { ...callerOf(url), claimCode };
    await claimAppliance(appliance);
  }, 120_000);

  afterAll(async () => {
    await machine.close();
  }, 60_000);

  it.each([
    ['holdfast', 'data/keyring/current'],
    ['holdfast', 'data/run/keyd-worker.key'],
    ['holdfast', 'data/run/keyd-run.key'],
    ['holdfast', 'data/postgres/PG_VERSION'],
    ['holdfast-worker', 'data/keyring/current'],
    ['holdfast-worker', 'data/run/keyd-server.key'],
    ['holdfast-worker', 'data/tls/key.pem'],
    ['holdfast-worker', 'data/run/server/control.sock'],
    ['holdfast-worker', 'run/claim-code'],
    ['postgres', 'data/keyring/current'],
    ['postgres', 'data/files'],
    ['holdfast-keyd', 'data/files'],
    ['holdfast-keyd', 'data/tls'],
  ] as const)('%s may not read %s', async (account, path) => {
    const there = await machine.start('root', ['test', '-e', join(machine.dataDir, '..', path)]).ended;
    const read = await machine.start(account, ['test', '-r', join(machine.dataDir, '..', path)]).ended;

    expect({ there, read }).toEqual({ there: 0, read: 1 });
  });

  it.each([
    ['holdfast', 'holdfast'],
    ['holdfast', 'holdfast_backup'],
    ['holdfast-worker', 'holdfast'],
    ['holdfast-keyd', 'holdfast_app'],
  ] as const)('the account %s may not connect to the database as %s', async (account, role) => {
    const { code, output } = await connectAs(account, role);

    expect(code).not.toBe(0);
    expect(output).toMatch(/28000|EACCES/);
  });

  it('the account holdfast connects as the server’s role, holdfast-worker as that of snapshots', async () => {
    expect(await connectAs('holdfast', 'holdfast_app')).toMatchObject({ code: 0 });
    expect(await connectAs('holdfast-worker', 'holdfast_backup')).toMatchObject({ code: 0 });
  });

  it('a second server is refused, and the first goes on', async () => {
    const second = machine.node('holdfast', 'main', { HOLDFAST_PORT: '0' });

    expect(await second.ended).not.toBe(0);
    expect(second.output()).toContain('Another process runs Holdfast on this data folder');
    expect((await appliance.call('GET', '/session')).status).toBe(200);
  });

  it('the claim code is gone from its file once it was used', async () => {
    expect(await readFile(join(machine.runDir, 'claim-code'), 'utf8')).toBe('');
  });

  it('takes a file in, snapshots it, proves that by a restore, looks into it and brings it back', async () => {
    const target = join(machine.dataDir, '..', 'target');
    await mkdir(target);
    await chown(target, 0, DATA_GROUP_ID);
    await chmod(target, 0o2770);
    const { items } = await expectStatus(
      appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
      200,
    );
    rootFolderId = items[0]?.rootFolderId ?? '';
    const file = await expectStatus(
      appliance.call<{ id: string }>('PUT', `/folders/${rootFolderId}/files?name=plan.txt`, content),
      201,
    );
    const targetId = await addDirectoryTarget(appliance, target);

    const taken = await finishRun(appliance, appliance.call('POST', '/snapshots'));
    expect(taken).toMatchObject({ state: 'succeeded', error: null });
    const { snapshotId = '' } = taken.result;
    const order = { snapshotId, targetId, mode: 'full', keySource: 'test-identity' };
    const test = await expectStatus(
      appliance.call<{ id: string; runId: string }>('POST', '/restore-tests', order),
      202,
    );
    expect(await finishRunOf(appliance, test.runId)).toMatchObject({ state: 'succeeded', error: null });
    expect((await appliance.call('GET', `/restore-tests/${test.id}`)).body).toMatchObject({
      state: 'passed',
    });

    const seen = await expectStatus(
      appliance.call<{ items: { id: string; name: string }[] }>(
        'GET',
        `/snapshots/${snapshotId}/content?folderId=${rootFolderId}`,
      ),
      200,
    );
    expect(JSON.stringify(seen)).toContain('plan.txt');
    const restored = await finishRun(
      appliance,
      appliance.call('POST', `/snapshots/${snapshotId}/restores`, {
        folderId: rootFolderId,
        nodeId: file.id,
      }),
    );
    expect(restored).toMatchObject({ state: 'succeeded' });
    const listed = await expectStatus(
      appliance.call<{ items: { id: string; name: string }[] }>('GET', `/folders/${rootFolderId}`),
      200,
    );
    expect(listed.items).toHaveLength(2);
    for (const { id } of listed.items) {
      const { body } = await appliance.call<Buffer>('GET', `/files/${id}/content`);
      expect(Buffer.compare(body, content)).toBe(0);
    }
  }, 120_000);

  it('is prepared again after root restored into it: everything belongs to its account', async () => {
    const path = join(machine.dataDir, 'files', '00');
    await chown(join(machine.dataDir, 'files'), 0, 0);
    await chown(path, 0, 0);
    await machine.stopAll();

    await succeed('root', 'prepare');

    const { uid, gid, mode } = await stat(path);
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 7103, gid: DATA_GROUP_ID, mode: 0o2770 });
  }, 60_000);

  async function succeed(account: MachineAccount, entry: string): Promise<void> {
    const process = machine.node(account, entry);
    expect(await process.ended, process.output()).toBe(0);
  }

  async function connectAs(account: MachineAccount, role: string) {
    const script = `
      import pg from ${JSON.stringify(import.meta.resolve('pg'))};
      const client = new pg.Client({ host: ${JSON.stringify(join(machine.dataDir, 'run', 'pg'))}, user: '${role}', database: 'holdfast' });
      try { await client.connect(); await client.query('select 1'); await client.end(); }
      catch (error) { console.log(error.code); process.exitCode = 1; }`;
    const tried = machine.start(account, [process.execPath, '--input-type=module', '-e', script]);
    return { code: await tried.ended, output: tried.output() };
  }
});

async function isReady(url: string): Promise<boolean> {
  return callerOf(url)
    .call('GET', '/health/ready')
    .then(({ status }) => status === 200)
    .catch(() => false);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
