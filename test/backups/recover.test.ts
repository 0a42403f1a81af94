import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recoverAppliance } from '../../server/backups/recover.ts';
import type { RecoverOptions } from '../../server/backups/recover-plan.ts';
import { generateAgeIdentity, kitToJson, type RecoveryKit } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { ADMIN_ROLE, runningPostmaster, socketAddress, withClient } from '../../server/lib/postgres/index.ts';
import { DATABASE_NAME } from '../../server/lib/database-setup.ts';
import { runProcess } from '../../server/lib/spawn.ts';
import {
  addDirectoryTarget,
  claimAppliance,
  expectStatus,
  finishRun,
  makeFolder,
  removeFolder,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';

const FILES = new Map([
  ['letter.txt', Buffer.from('Dear reader,\n'.repeat(300))],
  ['empty', Buffer.alloc(0)],
  ['Übergröße 日本.bin', randomBytes(2_300_000)],
]);

let place: string;
let target: string;
let kit: RecoveryKit;
let kitFile: string;
let rootFolderId: string;

const hashOf = (data: Buffer) => createHash('sha256').update(data).digest('hex');

beforeAll(async () => {
  place = await makeFolder('recover');
  target = join(place, 'target');
  mkdirSync(target);
  const old = await serveAppliance({ dataDir: join(place, 'old') });
  try {
    kit = await claimAppliance(old);
    kitFile = join(place, 'kit.json');
    writeFileSync(kitFile, kitToJson(kit));
    await addDirectoryTarget(old, target);
    const { items } = await expectStatus(
      old.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
      200,
    );
    rootFolderId = items[0]?.rootFolderId ?? '';
    for (const [name, content] of FILES) {
      await expectStatus(
        old.call('PUT', `/folders/${rootFolderId}/files?name=${encodeURIComponent(name)}`, content),
        201,
      );
    }
    await query(old, "update appliance set machine_identity = 'another machine'");
    expect(await finishRun(old, old.call('POST', '/snapshots'))).toMatchObject({ state: 'succeeded' });
    await expectStatus(
      old.call('PUT', `/folders/${rootFolderId}/files?name=later`, Buffer.from('after')),
      201,
    );
  } finally {
    await old.stop();
  }
}, 180_000);

afterAll(async () => {
  await removeFolder(place);
});

const recover = (change: Partial<RecoverOptions> = {}) =>
  recoverAppliance({
    target: { kind: 'directory', path: target },
    kit,
    dataDir: join(place, 'new'),
    clock: systemClock,
    confirm: async () => true,
    signal: new AbortController().signal,
    ...change,
  });

/** In the database of an appliance that runs. */
function query<Row extends object>(appliance: ServedAppliance, sql: string): Promise<Row[]> {
  const socket = dataPaths(appliance.dataDir).databaseSocket;
  return withClient(
    socketAddress(socket, ADMIN_ROLE, DATABASE_NAME),
    'test',
    async (client) => (await client.query<Row>(sql)).rows,
  );
}

/** Signs in and compares every file with what was uploaded. */
async function expectSameAppliance(appliance: ServedAppliance): Promise<void> {
  await signIn(appliance);
  const page = await expectStatus(
    appliance.call<{ items: { id: string; name: string }[] }>('GET', `/folders/${rootFolderId}`),
    200,
  );
  expect(page.items.map((item) => item.name).sort()).toEqual([...FILES.keys()].sort());
  for (const { id, name } of page.items) {
    const content = await expectStatus(appliance.call<Buffer>('GET', `/files/${id}/content`), 200);
    expect(hashOf(Buffer.from(content))).toBe(hashOf(FILES.get(name) ?? Buffer.from('unknown')));
  }
}

/** Nothing leaves it, and nobody but owners gets in; whoever may come in may look. */
async function expectHeld(appliance: ServedAppliance): Promise<void> {
  const { quarantine } = await expectStatus(
    appliance.call<{ quarantine: { kind: string; reason: string } }>('GET', '/quarantine'),
    200,
  );
  expect(quarantine).toMatchObject({ kind: 'recovered' });
  expect(quarantine.reason).toMatch(/^it was recovered from snapshot 1 of /);
  expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
    state: 'failed',
    error: { code: 'wrong_state', message: expect.stringContaining('waits in quarantine') as string },
  });
}

describe('recovery is refused', () => {
  test('into a folder with something in it, which stays as it is', async () => {
    const dataDir = join(place, 'taken');
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, 'letter.txt'), 'dear');

    await expect(recover({ dataDir })).rejects.toMatchObject({ code: 'conflict' });

    expect(readdirSync(dataDir)).toEqual(['letter.txt']);
  });

  test('with the kit of another appliance, and leaves an empty folder', async () => {
    const { identity } = await generateAgeIdentity();
    const dataDir = join(place, 'wrong-kit');

    await expect(recover({ dataDir, kit: { ...kit, ageIdentity: identity } })).rejects.toMatchObject({
      code: 'wrong_key',
    });

    expect(readdirSync(dataDir).filter((name) => !name.startsWith('lock'))).toEqual([]);
  });

  test('with a kit whose trust root has not signed the keys', async () => {
    const trustRoot = randomBytes(32).toString('base64');

    const tried = recover({ dataDir: join(place, 'wrong-root'), kit: { ...kit, trustRoot } });

    await expect(tried).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  test('from a folder without a repository', async () => {
    const empty = join(place, 'nothing-here');
    mkdirSync(empty);

    const tried = recover({
      dataDir: join(place, 'from-nothing'),
      target: { kind: 'directory', path: empty },
    });

    await expect(tried).rejects.toMatchObject({ code: 'no_repository' });
  });

  test('when the person does not agree to the snapshot, or that the old machine is off', async () => {
    for (const kind of ['snapshot', 'old-machine-off']) {
      const dataDir = join(place, `declined-${kind}`);
      const asked: string[] = [];
      const confirm: RecoverOptions['confirm'] = async (question) => {
        asked.push(question.kind);
        return question.kind !== kind;
      };

      await expect(recover({ dataDir, confirm })).rejects.toMatchObject({ code: 'cancelled' });

      expect(asked.at(-1)).toBe(kind);
      expect(existsSync(join(dataDir, 'recovery-incomplete'))).toBe(false);
    }
  });
});

test('an interrupted recovery starts over, at whichever step it was killed', async () => {
  const dataDir = join(place, 'crashed');
  const crashAt = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');
  const child = join(import.meta.dirname, 'recover-child.ts');
  const points = [
    'folder.marked',
    'keyring.restored',
    'files.restored',
    'database.restored',
    'database.recovered',
    'writer.claimed',
    'folder.synced',
    'folder.complete',
  ];
  for (const point of points) {
    const ended = await runProcess(process.execPath, ['--import', crashAt, child, target, kitFile, dataDir], {
      timeoutMs: 60_000,
      env: { PATH: process.env.PATH, HOLDFAST_TEST_CRASH_AT: `recover.${point}:1` },
    });
    expect([point, ended.signal, ended.stderr]).toEqual([point, 'SIGKILL', '']);
    expect(existsSync(join(dataDir, 'recovery-incomplete'))).toBe(true);
  }
  await expect(serveAppliance({ dataDir })).rejects.toThrow(/interrupted/);

  const report = await recover({ dataDir });

  expect(report.files).toBeGreaterThanOrEqual(FILES.size);
  expect(existsSync(join(dataDir, 'recovery-incomplete'))).toBe(false);
  expect(runningPostmaster(join(dataDir, 'postgres'))).toBeUndefined();
  const appliance = await serveAppliance({ dataDir });
  try {
    await expectSameAppliance(appliance);
  } finally {
    await appliance.stop();
  }
}, 300_000);

test('a recovered appliance has the same people, files and keys, knows that it was recovered, and takes snapshots', async () => {
  const report = await recover();

  const appliance = await serveAppliance({ dataDir: join(place, 'new') });
  try {
    expect(appliance.claimCode).toBeUndefined();
    await expectSameAppliance(appliance);
    const { body: session } = await appliance.call('GET', '/session');
    expect(JSON.stringify(session)).toContain('recovered from snapshot');
    await expectHeld(appliance);
    await expectStatus(appliance.call('POST', '/quarantine/release', { othersAreOff: true }), 204);
    expect(await expectStatus(appliance.call('GET', '/quarantine'), 200)).toEqual({ quarantine: null });
    // Else the machine it came to would be taken for a clone, and nothing would be backed up.
    expect(await query(appliance, 'select machine_identity from appliance')).toEqual([
      { machine_identity: null },
    ]);
    const { body: audit } = await appliance.call<{ items: { action: string; actorKind: string }[] }>(
      'GET',
      '/audit?action=backups.appliance.recovered',
    );
    expect(audit.items).toMatchObject([{ actorKind: 'console' }]);
    expect(report.endedSessions).toBe(1);
    // The run that took it was under way at that moment: it is told as what came of it.
    expect(report.interruptedRuns).toBe(0);
    const { body: runs } = await appliance.call<{ items: object[] }>('GET', '/runs?kind=snapshot');
    expect(runs.items).toMatchObject([
      { kind: 'snapshot', state: 'failed' },
      { kind: 'snapshot', state: 'succeeded', result: { snapshotId: report.snapshotId } },
    ]);
    const { body: targets } = await appliance.call<{ items: { lastOkAt: string }[] }>('GET', '/targets');
    expect(Date.parse(targets.items[0]?.lastOkAt ?? '')).toBeGreaterThanOrEqual(Date.parse(report.takenAt));
    expect(await finishRun(appliance, appliance.call('POST', '/snapshots'))).toMatchObject({
      state: 'succeeded',
    });
    const { body: snapshots } = await appliance.call<{ items: unknown[] }>('GET', '/snapshots');
    expect(snapshots.items.length).toBe(2);
    const { body: acts } = await appliance.call<{ items: object[] }>(
      'GET',
      '/audit?action=backups.appliance.released',
    );
    expect(acts.items).toHaveLength(1);
  } finally {
    await appliance.stop();
  }
}, 180_000);

test('the old machine may write no more after a recovery', async () => {
  const old = await serveAppliance({ dataDir: join(place, 'old') });
  try {
    await signIn(old);
    const run = await finishRun(old, old.call('POST', '/snapshots'));
    expect(run.state).toBe('failed');
    expect(readFileSync(kitFile, 'utf8')).toContain(kit.repositoryId);
  } finally {
    await old.stop();
  }
}, 120_000);
