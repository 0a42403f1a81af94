/** A second target that is an SFTP server, or a disk that fills up, and a copy that somebody cancels. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { TargetReply } from '../../server/backups/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import {
  addSecondTarget,
  catchUp,
  objectsBelow,
  requestCopy,
  showTarget,
  trySnapshot,
  verifyByKit,
} from '../helpers/second-target.ts';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { mountSmallDisk } from '../helpers/small-disk.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');

let appliance: StockedAppliance;
let server: SftpServer;

beforeAll(async () => {
  server = await startSftpServer();
});
afterAll(() => server.stop());
beforeEach(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
});
afterEach(async () => {
  reach(undefined);
  await appliance.close();
});

const more = (bytes = 300_000) => appliance.upload(`${randomUUID()}.bin`, randomBytes(bytes));

/** Called at each named step of what this process does. */
function reach(act: ((point: string) => void) | undefined): void {
  (globalThis as Record<symbol, unknown>)[Symbol.for('holdfast.crashPoint')] = act;
}

async function packInodes(path: string): Promise<Map<string, number>> {
  const names = (await objectsBelow(path)).filter((name) => name.startsWith('packs/'));
  return new Map(
    await Promise.all(names.map(async (name) => [name, (await stat(join(path, name))).ino] as const)),
  );
}

/** As if the last try had been an hour earlier. */
async function waited(): Promise<void> {
  await appliance.deps.db
    .updateTable('targets')
    .set({ copy_tried_at: sql`copy_tried_at - interval '61 minutes'` })
    .execute();
}

async function expectBothWhole(path: string): Promise<void> {
  expect(await verifyByKit(appliance, path)).toEqual(await verifyByKit(appliance, appliance.targetPath));
}

test('an SFTP server is caught up, gets each snapshot, leads when the first is away, and is caught up when it was itself', async () => {
  const path = await server.makeFolder('second');
  const { id } = await expectStatus(
    appliance.owner.call<TargetReply>('POST', '/targets', {
      ...{ name: 'vault', kind: 'sftp', region: 'eu-north', host: '127.0.0.1', port: server.port },
      ...{ username: server.username, path, fingerprint: server.hostKey.fingerprint },
      signIn: { kind: 'private-key', privateKey: server.privateKey },
    }),
    201,
  );
  expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: 1 } });
  await more();
  await appliance.takeSnapshot();
  await expectBothWhole(path);

  await server.halt();
  await more();
  expect(await trySnapshot(appliance)).toMatchObject({ state: 'partial', result: { have: 1 } });
  expect((await showTarget(appliance, id)).copies).toMatchObject({ state: 'away', behind: 1 });
  await server.restart();
  await waited();

  expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: 1 } });
  await expectBothWhole(path);
});

test('a disk that is full gets nothing half, says so, and is caught up once there is room', async () => {
  const disk = await mountSmallDisk(join(dirname(appliance.targetPath), 'small'), 32 * 1024 ** 2);
  try {
    const path = join(disk.outside, 'repository');
    await mkdir(path);
    const { id } = await addSecondTarget(appliance, 'second', { path });
    expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded' });
    await more(3_000_000);
    disk.leave(1_000_000);

    const run = await trySnapshot(appliance);

    expect(run).toMatchObject({ state: 'partial', result: { have: 1 }, error: { code: 'no_space' } });
    expect((await showTarget(appliance, id)).copies).toMatchObject({
      ...{ state: 'away', behind: 1, snapshots: 1, problem: { code: 'no_space' } },
    });
    expect(await verifyByKit(appliance, path)).toEqual([1]);
    await waited();
    expect(await catchUp(appliance)).toMatchObject({ state: 'failed', error: { code: 'no_space' } });
    disk.makeRoom();
    await waited();
    expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: 1 } });
    await expectBothWhole(path);
  } finally {
    await disk.dispose();
  }
});

test('a copy that is cancelled keeps what arrived, blames nobody, and the next one goes on from there', async () => {
  await more();
  await appliance.takeSnapshot();
  const { id, path } = await addSecondTarget(appliance, 'second');
  const stop = new AbortController();
  reach((point) => {
    if (point === 'backups.copy.pack.written') stop.abort();
  });
  await requestCopy(appliance, id);

  const run = await appliance.performRun(stop.signal);

  expect(run).toMatchObject({ state: 'cancelled' });
  const { copies, lastError } = await showTarget(appliance, id);
  expect(copies.behind).toBeGreaterThan(0);
  expect([copies.problem, lastError]).toEqual([null, null]);
  const arrived = await packInodes(path);
  expect(arrived.size).toBeGreaterThan(0);
  reach(undefined);
  expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: copies.behind } });
  const packs = await packInodes(path);
  // Not written again.
  for (const [name, inode] of arrived) expect(packs.get(name)).toBe(inode);
  await expectBothWhole(path);
});
