/** The disk of the data folder fills up, for real: what is refused, what goes on, and that all is well once there is room. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createPause, type Pause } from '../helpers/pause.ts';
import {
  addDirectoryTarget,
  claimAppliance,
  expectStatus,
  finishRun,
  finishRunOf,
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { mountSmallDisk, type SmallDisk } from '../helpers/small-disk.ts';
import { waitFor } from '../helpers/wait-for.ts';

const MIB = 1024 ** 2;
const CONTENT = Buffer.from('what must not be lost\n'.repeat(5000));

let place: string;
let disk: SmallDisk;
let pause: Pause;
let appliance: ServedAppliance;
let rootFolderId: string;
let fileId: string;
let targetId: string;
let snapshotId: string;

beforeAll(async () => {
  place = await makeFolder('full-disk');
  disk = await mountSmallDisk(join(place, 'disk'), 1024 * MIB);
  pause = createPause(place);
  appliance = await serve();
  await claimAppliance(appliance);
  await mkdir(join(place, 'target'));
  await mkdir(join(place, 'source'));
  await writeFile(join(place, 'source', 'imported'), CONTENT);
  targetId = await addDirectoryTarget(appliance, join(place, 'target'));
  const { items } = await expectStatus(
    appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  rootFolderId = items[0]?.rootFolderId ?? '';
  fileId = (await expectStatus(upload('kept', CONTENT), 201)).id;
  const snapshot = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  snapshotId = snapshot.result.snapshotId ?? '';
  await waitFor('the reserve', () => existsSync(reserve()));
}, 180_000);

afterAll(async () => {
  await (appliance as ServedAppliance | undefined)?.stop();
  await (disk as SmallDisk | undefined)?.dispose();
  await removeFolder(place);
});

afterEach(() => {
  disk.makeRoom();
});

const reserve = () => join(disk.outside, 'data', 'reserve');

const serve = () => serveAppliance({ dataDir: join(disk.path, 'data'), within: disk.within, env: pause.env });

const upload = (name: string, content: Buffer) =>
  appliance.call<{ id: string; error?: unknown }>(
    'PUT',
    `/folders/${rootFolderId}/files?name=${encodeURIComponent(name)}`,
    content,
  );

const holdfast = async (...args: string[]) => {
  const run = await runHoldfast([...args, '--json'], {
    dataDir: join(disk.path, 'data'),
    within: disk.within,
  });
  return { exitCode: run.exitCode, json: JSON.parse(run.stdout) as Record<string, unknown> };
};

async function listNames(): Promise<string[]> {
  type Page = { items: { name: string }[] };
  const { items } = await expectStatus(appliance.call<Page>('GET', `/folders/${rootFolderId}`), 200);
  return items.map((item) => item.name).sort();
}

/** Names of everything in the file store, temporaries included. */
function stored(): string[] {
  return readdirSync(join(disk.outside, 'data', 'files'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort();
}

/** Full, also where the reserve would have helped. */
function fill(freeBytes = 0): void {
  rmSync(reserve(), { force: true });
  disk.leave(freeBytes);
}

const noSpace = {
  // What is left is kept for everything else, or nothing is left.
  code: expect.stringMatching(/^(no_space|space_reserved)$/) as string,
  hint: expect.stringMatching(/[Ff]ree some space|larger disk/) as string,
};

/** Reading, signing in, and leaving with everything one has. */
async function expectReadingGoesOn(): Promise<void> {
  const read = await appliance.call<Buffer>('GET', `/files/${fileId}/content`);
  expect(read.body.equals(CONTENT)).toBe(true);
  await signIn(appliance);
  const out = join(place, `out-${String(Math.random())}`);
  expect(await holdfast('export', out)).toMatchObject({ exitCode: 0, json: { skippedCount: 0 } });
}

/** Once there is room, what was refused is taken. */
async function expectEverythingWorks(): Promise<void> {
  disk.makeRoom();
  await waitFor('readiness', async () => (await appliance.call('GET', '/health/ready')).status === 200);
  const name = `after-${String(Math.random())}`;
  await expectStatus(upload(name, CONTENT), 201);
  expect(await listNames()).toContain(name);
}

async function expectSnapshotsWork(): Promise<void> {
  const { state, error } = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  expect({ state, error }).toEqual({ state: 'succeeded', error: null });
}

const startTest = () =>
  appliance.call<{ id: string; runId: string }>('POST', '/restore-tests', {
    ...{ snapshotId, targetId, mode: 'quick', keySource: 'test-identity' },
  });

describe('a data disk that is', () => {
  test('more than 95 % full takes nothing in, in words, and reads, deletes and exports on', async () => {
    const doomed = await expectStatus(upload('doomed', CONTENT), 201);
    const before = stored();
    fill(4 * MIB);
    expect(disk.used()).toBeGreaterThan(0.95);

    expect(await upload('late', Buffer.from('x'))).toMatchObject({ status: 507, body: { error: noSpace } });
    expect(await holdfast('import', join(place, 'source'))).toMatchObject({
      exitCode: 1,
      json: { error: noSpace },
    });
    expect(await startTest()).toMatchObject({ status: 507, body: { error: noSpace } });
    expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
      state: 'failed',
      error: noSpace,
    });

    expect(stored()).toEqual(before);
    await expectReadingGoesOn();
    await expectStatus(appliance.call('DELETE', `/nodes/${doomed.id}`), 204);
    expect(await listNames()).toEqual(['kept']);
    type Overview = { needsYou: { name: string; state: string }[] };
    const { body } = await appliance.call<Overview>('GET', '/overview');
    expect(body.needsYou).toContainEqual(expect.objectContaining({ name: 'data disk', state: 'bad' }));
    await expectEverythingWorks();
  }, 180_000);

  test('full to the last byte makes PostgreSQL refuse in words, and nothing is half done', async () => {
    fill();
    const made: string[] = [];
    let refused: { status: number; body: unknown } | undefined;
    for (let n = 0; n < 3000 && refused === undefined; n += 1) {
      const name = `folder-${String(n)}`;
      const reply = await appliance.call('POST', '/folders', { parentId: rootFolderId, name });
      if (reply.status === 201) made.push(name);
      else refused = reply;
    }

    expect(refused).toMatchObject({ status: 507, body: { error: noSpace } });
    expect((await listNames()).filter((name) => name.startsWith('folder-'))).toEqual(made.sort());
    await expectEverythingWorks();
    await expectSnapshotsWork();
  }, 180_000);

  test('full to the last byte gets the reserve, on which people sign in, read, export and delete', async () => {
    await waitFor('the reserve', () => existsSync(reserve()));
    const doomed = await expectStatus(upload('doomed too', CONTENT), 201);
    disk.leave(0);

    await waitFor('the reserve to be given up', () => !existsSync(reserve()));

    await expectReadingGoesOn();
    await expectStatus(appliance.call('DELETE', `/nodes/${doomed.id}`), 204);
    expect((await upload('late', Buffer.from('x'))).status).toBe(507);
    await expectEverythingWorks();
  }, 180_000);

  test('full when the appliance starts lets it start', async () => {
    await waitFor('the reserve', () => existsSync(reserve()));
    await appliance.stop();
    disk.leave(0);

    appliance = await serve();

    await signIn(appliance);
    await expectReadingGoesOn();
    await expectEverythingWorks();
  }, 180_000);
});

describe('a data disk that fills up in the middle of', () => {
  test('an upload ends it with no_space and leaves nothing of it', async () => {
    const before = stored();
    let answered = false;
    const parts = Readable.from(
      sendUntil(
        () => answered,
        () => stored().length > before.length,
      ),
    );

    const reply = await appliance.call('PUT', `/folders/${rootFolderId}/files?name=cut`, parts);
    answered = true;

    expect(reply).toMatchObject({ status: 507, body: { error: noSpace } });
    expect(await listNames()).not.toContain('cut');
    // What was deleted before may be collected only now.
    expect(stored().filter((name) => !before.includes(name))).toEqual([]);
    await expectEverythingWorks();
  }, 180_000);

  test('a snapshot ends it in words; what was stored before is whole, and the next one succeeds', async () => {
    let runId = '';
    await pause.during(
      'backups.index.verified',
      async () => {
        await expectStatus(upload('for the snapshot', CONTENT), 201);
        runId = (await expectStatus(appliance.call<{ id: string }>('POST', '/snapshots'), 202)).id;
      },
      () => fill(),
    );

    const run = await finishRunOf(appliance, runId);

    expect(run).toMatchObject({ state: 'failed', error: noSpace });
    await expectEverythingWorks();
    await expectSnapshotsWork();
    const again = await expectStatus(startTest(), 202);
    expect((await finishRunOf(appliance, again.runId)).state).toBe('succeeded');
  }, 180_000);

  test('a restore test fails it with the reason, and wipes its scratch', async () => {
    let test: { id: string; runId: string } | undefined;
    await pause.during(
      'restore-test.scratch.made',
      async () => {
        test = await expectStatus(startTest(), 202);
      },
      () => fill(),
    );

    // Without one free byte PostgreSQL may not even record the end: that is tried until there is room.
    const scratch = join(disk.outside, 'data', 'scratch');
    await waitFor('the scratch to be wiped', () => readdirSync(scratch).length === 0, 60_000);
    disk.makeRoom();
    const run = await finishRunOf(appliance, test?.runId ?? '');
    const row = async () =>
      (await appliance.call<{ state: string }>('GET', `/restore-tests/${test?.id ?? ''}`)).body;
    // What could not be recorded then is settled within a minute.
    await waitFor('the test to be settled', async () => (await row()).state !== 'running', 90_000);

    expect(run).toMatchObject({ state: 'failed', error: noSpace });
    expect(await row()).toMatchObject({ state: 'failed', grade: null });
    expect(readdirSync(scratch)).toEqual([]);
    await expectEverythingWorks();
  }, 180_000);
});

/** The disk is full once some of it is stored; goes on until there is an answer. */
async function* sendUntil(answered: () => boolean, begun: () => boolean): AsyncGenerator<Buffer> {
  for (let sent = 0; sent < 100 && !answered(); sent += 1) {
    if (sent === 4) {
      await waitFor('the upload to begin', begun);
      fill();
    }
    yield randomBytes(MIB);
    if (sent >= 4) await delay(50);
  }
}
