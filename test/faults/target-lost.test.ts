/** The target fills up, goes away or turns read-only in the middle of a run, and PostgreSQL dies: the run says so, the next one heals. */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createPause, type Pause } from '../helpers/pause.ts';
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
import { mountSmallDisk, type SmallDisk } from '../helpers/small-disk.ts';
import { waitFor } from '../helpers/wait-for.ts';

const MIB = 1024 ** 2;

let place: string;
let disk: SmallDisk;
let pause: Pause;
let appliance: ServedAppliance;
let targetId: string;
let rootFolderId: string;
let uploads = 0;

/** The folder of the target, as the test sees it. */
const target = () => join(disk.outside, 'repository');

beforeAll(async () => {
  place = await makeFolder('target-lost');
  disk = await mountSmallDisk(join(place, 'disk'), 256 * MIB);
  pause = createPause(place);
  appliance = await serveAppliance({
    dataDir: join(place, 'data'),
    within: disk.within,
    env: pause.env,
  });
  await claimAppliance(appliance);
  await mkdir(target());
  targetId = await addDirectoryTarget(appliance, join(disk.path, 'repository'));
  const { items } = await expectStatus(
    appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  rootFolderId = items[0]?.rootFolderId ?? '';
  await expectHealed();
}, 180_000);

afterAll(async () => {
  await (appliance as ServedAppliance | undefined)?.stop();
  await (disk as SmallDisk | undefined)?.dispose();
  await removeFolder(place);
});

// Something to store, so that a run writes in its middle.
beforeEach(async () => {
  const path = `/folders/${rootFolderId}/files?name=file-${String((uploads += 1))}`;
  await expectStatus(appliance.call('PUT', path, randomBytes(3 * MIB)), 201);
});

interface ShownTarget {
  id: string;
  lastError: { code: string; message: string; hint?: string } | null;
  snapshotCount: number;
}

async function overview(): Promise<{
  target: ShownTarget | undefined;
  needsYou: { name: string; state: string }[];
}> {
  type Body = { targets: ShownTarget[]; needsYou: { name: string; state: string }[] };
  const { targets, needsYou } = await expectStatus(appliance.call<Body>('GET', '/overview'), 200);
  return { target: targets.find((one) => one.id === targetId), needsYou };
}

/** A snapshot in whose middle `harm` is done. @returns how it ended */
async function harmedSnapshot(harm: (pid: number) => Promise<void> | void, point = 'backups.index.verified') {
  let runId = '';
  await pause.during(
    point,
    async () => {
      runId = (await expectStatus(appliance.call<{ id: string }>('POST', '/snapshots'), 202)).id;
    },
    harm,
  );
  return finishRunOf(appliance, runId);
}

/** The overview names the target and why. */
async function expectShown(code: string): Promise<void> {
  const { target: shown, needsYou } = await overview();
  expect(shown?.lastError).toMatchObject({ code, hint: expect.any(String) as string });
  expect(needsYou).toContainEqual(expect.objectContaining({ name: 'target nas', state: 'bad' }));
}

/** A new snapshot succeeds, every byte of the repository is whole, and nothing is complained of. */
async function expectHealed(): Promise<void> {
  const { state, error } = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  expect({ state, error }).toEqual({ state: 'succeeded', error: null });
  const verified = await finishRun(appliance, appliance.call('POST', '/targets/verify'));
  expect({ state: verified.state, error: verified.error }).toEqual({ state: 'succeeded', error: null });
  expect((await overview()).target?.lastError).toBeNull();
}

// First, because a keyring is published only where it changed: with the first snapshot.
test.each(['snapshot.keyring-published', 'snapshot.published', 'snapshot.head-published'])(
  'a snapshot that is killed at %s is recorded as failed, and the next one succeeds',
  async (point) => {
    const run = await harmedSnapshot((pid) => void process.kill(pid, 'SIGKILL'), point);

    expect(run).toMatchObject({ state: 'failed', error: { hint: expect.any(String) as string } });
    await expectHealed();
  },
  180_000,
);

describe('a snapshot in whose middle the target', () => {
  test('is full ends with no_space and a hint', async () => {
    const run = await harmedSnapshot(() => disk.leave(0));

    expect(run).toMatchObject({
      state: 'failed',
      error: { code: 'no_space', hint: expect.stringContaining('Free some space') as string },
    });
    await expectShown('no_space');
    disk.makeRoom();
    await expectHealed();
  }, 180_000);

  test('turns read-only ends with unavailable and a hint', async () => {
    const run = await harmedSnapshot(() => disk.setReadOnly(true));

    expect(run).toMatchObject({
      state: 'failed',
      error: { code: 'unavailable', hint: expect.stringContaining('write') as string },
    });
    await expectShown('unavailable');
    disk.setReadOnly(false);
    await expectHealed();
  }, 180_000);

  test('is taken away ends with unavailable; nothing is written in its place', async () => {
    const run = await harmedSnapshot(async () => {
      await rename(target(), `${target()}-away`);
      await mkdir(target());
    });

    expect(run).toMatchObject({
      state: 'failed',
      error: { code: 'unavailable', hint: expect.stringContaining('mount') as string },
    });
    await expectShown('unavailable');
    expect((await finishRun(appliance, appliance.call('POST', '/snapshots'))).state).toBe('failed');
    expect(await readdir(target())).toEqual([]);
    await rm(target(), { recursive: true });
    await rename(`${target()}-away`, target());
    await expectHealed();
  }, 180_000);
});

test('a snapshot in whose middle PostgreSQL dies is recorded as failed, and the next one succeeds', async () => {
  const run = await harmedSnapshot(async () => {
    const file = await readFile(join(place, 'data', 'postgres', 'postmaster.pid'), 'utf8');
    process.kill(Number(file.split('\n')[0]), 'SIGKILL');
    await waitFor(
      'PostgreSQL to be gone',
      async () => (await appliance.call('GET', '/health/ready')).status !== 200,
    );
  });

  expect(run).toMatchObject({ state: 'failed', error: { hint: expect.any(String) as string } });
  await expectHealed();
}, 180_000);
