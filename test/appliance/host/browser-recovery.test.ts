/** A recovery that is started in a browser, as hostd does it: what it refuses, what a failure leaves, and that it brings all back. */
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isMounted } from '../../../server/appliance/host/shares/mount.ts';
import { lookArguments } from '../../../server/appliance/host/recovery/look-launch.ts';
import type { LookAnswer, RecoveryStatus } from '../../../server/appliance/host/recovery/schema.ts';
import { noteStarted } from '../../../server/appliance/host/recovery/status.ts';
import { writeRecoveryRequest } from '../../../server/appliance/host/recovery/wanted.ts';
import { writeRecoveryFile } from '../../../server/appliance/host/setup-from-cloud.ts';
import { findKeyslot, readHeader } from '../../../server/appliance/host/volume/luks.ts';
import { generateAgeIdentity, givenRootKey, kitToJson, makeRecoveryKit } from '../../../server/keys/index.ts';
import { openKeyringFile } from '../../../server/keys/keyring/file.ts';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { makeVolumeRecoveryKey } from '../../../server/lib/volume-recovery-key.ts';
import { isRoot } from '../../helpers/other-account.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { startBlankMachine, type BlankMachine } from './blank-machine.ts';

const actor = { kind: 'user', address: '192.0.2.7' } as const;
const PASSPHRASE = 'four copper kettles sing';
const VOLUME_KEY = makeVolumeRecoveryKey();
const OTHER_SNAPSHOT = 'ab'.repeat(32);
const LONG_MS = 240_000;

let top: string;
let place: { kind: 'directory'; path: string };
let old: StockedAppliance;
let kit: string;
let snapshot: string;
let blank: BlankMachine;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-lost-'));
  old = await startStockedAppliance();
  await stock(old);
  snapshot = await old.takeSnapshot();
  kit = kitToJson(kitOf(old.kit));
  await mkdir(join(top, 'empty'));
}, LONG_MS);
afterAll(async () => {
  await old.close();
  await rm(top, { recursive: true, force: true });
});

beforeEach(async () => {
  // A copy: each recovery takes the repository over.
  place = { kind: 'directory', path: await mkdtemp(join(top, 'copy-')) };
  await cp(old.targetPath, place.path, { recursive: true });
  blank = await startBlankMachine([top]);
  await mkdir(blank.dataDir);
  await writeFile(join(blank.dataDir, 'holdfast.json'), 'an appliance that nobody claimed');
});
afterEach(() => blank.close());

function kitOf(parts: { repositoryId: string; trustRoot: string; identity: string }) {
  return makeRecoveryKit({
    kitId: '00000000-0000-4000-8000-000000000000',
    applianceName: 'Vault North',
    createdAt: '2026-01-01T00:00:00.000Z',
    repositoryId: parts.repositoryId,
    trustRoot: parts.trustRoot,
    ageIdentity: parts.identity,
    volumeRecoveryKey: VOLUME_KEY,
    targets: [],
  });
}

const look = (request: object) =>
  blank.client.send<LookAnswer>('POST', '/recovery/look', { actor, place, ...request });
const start = (request: object = {}) =>
  blank.client.send('POST', '/recovery/start', {
    ...{ actor, place, kit, snapshot, oldMachineIsOff: true },
    daily: { kind: 'passphrase', secret: PASSPHRASE },
    ...request,
  });
const status = () => blank.client.get<RecoveryStatus>('/recovery');

/** Waits until it is over. */
async function ended(): Promise<RecoveryStatus> {
  await waitFor(
    'the recovery to end',
    async () => {
      const { state } = await status();
      return (state === 'failed' || state === 'done') && blank.acts.includes('start');
    },
    LONG_MS,
  );
  await waitFor('its files to be erased', async () => (await secrets()).length === 0, 10_000);
  return status();
}

/** Files in memory that hold a secret of a recovery. */
async function secrets(): Promise<string[]> {
  const names = await readdir(blank.machine.places.run);
  return names.filter((name) => /^(recovery-kit|recovery\.yaml|setup-)/.test(name));
}

describe('refused, with nothing stopped and nothing removed:', () => {
  afterEach(async () => {
    expect(blank.acts).toEqual([]);
    expect(await readdir(blank.dataDir)).toEqual(['holdfast.json']);
    expect(await secrets()).toEqual([]);
    expect((await status()).state).toBe('none');
  });

  test('a folder without backups', async () => {
    const empty = { kind: 'directory', path: join(top, 'empty') };

    await expect(look({ place: empty })).rejects.toMatchObject({ code: 'no_repository' });
    await expect(start({ place: empty })).rejects.toMatchObject({ code: 'no_repository' });
  });

  test('folders elsewhere on the machine, however they are written, and folders that are not there', async () => {
    for (const path of ['/etc', `${top}/../etc`, top, blank.machine.places.run]) {
      await expect(look({ place: { kind: 'directory', path } }), path).rejects.toMatchObject({
        code: 'invalid_input',
        message: expect.stringContaining('no') as string,
      });
    }
    const missing = { kind: 'directory', path: join(top, 'missing') };
    await expect(look({ place: missing })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('There is no folder') as string,
    });
  });

  test('a kit that does not open the backups, and one of another repository', async () => {
    const { identity } = await generateAgeIdentity();
    const stranger = kitToJson(kitOf({ ...old.kit, identity }));
    const other = kitToJson(
      kitOf({ ...old.kit, identity, repositoryId: '11111111-1111-4111-8111-111111111111' }),
    );

    for (const wrong of [stranger, other]) {
      await expect(look({ kit: wrong })).rejects.toMatchObject({ code: 'wrong_key' });
      await expect(start({ kit: wrong })).rejects.toMatchObject({ code: 'wrong_key' });
    }
  });

  test('a kit whose trust root has not signed what lies there', async () => {
    const forged = kitToJson(kitOf({ ...old.kit, trustRoot: Buffer.alloc(32, 7).toString('base64') }));

    await expect(start({ kit: forged })).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  test('only the secret key of a kit', async () => {
    await expect(start({ kit: old.kit.identity })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('a snapshot that is not there', async () => {
    await expect(start({ snapshot: OTHER_SNAPSHOT })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('not there any more') as string,
    });
  });

  test('a TPM that this machine does not have, and a passphrase that is too short', async () => {
    blank.machine.tpm.state = 'missing';

    await expect(start({ daily: { kind: 'tpm2' } })).rejects.toMatchObject({
      message: expect.stringContaining('no TPM') as string,
    });
    await expect(start({ daily: { kind: 'passphrase', secret: 'short' } })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });

  test('without the word that the old machine is off', async () => {
    for (const oldMachineIsOff of [false, undefined])
      await expect(start({ oldMachineIsOff })).rejects.toMatchObject({ code: 'invalid_input' });
    // Off, and may still run: one of them.
    await expect(start({ beside: true })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('a share that does not answer, which is not kept', async () => {
    const nfs = { kind: 'nfs', server: 'nas.example.org', export: '/backup' };

    await expect(look({ place: nfs })).rejects.toMatchObject({ message: 'The server does not answer' });
    expect(await blank.client.get('/shares')).toEqual({ items: [] });
  });

  test('a second look while one is taken', async () => {
    const [first, second] = await Promise.allSettled([look({}), look({})]);

    expect(first.status).toBe('fulfilled');
    expect(second).toMatchObject({ status: 'rejected', reason: { code: 'locked' } });
  });
});

test('a machine with an owner is asked in vain', async () => {
  await blank.client.send('POST', '/claim-volume', {
    ...{ actor, recoveryKey: makeVolumeRecoveryKey() },
    daily: { kind: 'passphrase', label: 'x', secret: PASSPHRASE },
  });

  const begin = () => blank.client.send('POST', '/recovery/begin', { actor });
  for (const ask of [() => look({}), () => start(), begin]) {
    await expect(ask()).rejects.toMatchObject({
      code: 'wrong_state',
      message: 'This machine has an owner already',
    });
  }
  expect(await readdir(blank.dataDir)).toEqual(['holdfast.json']);
}, 60_000);

test('the look says what lies there, and with the kit which snapshots', async () => {
  const without = await look({});
  expect(without.repositoryId).toBe(old.kit.repositoryId);
  expect(without.keysObjects).toHaveLength(1);
  expect(without.opened).toBeNull();

  const { opened } = await look({ kit });
  expect(opened?.snapshots).toEqual([
    expect.objectContaining({ id: snapshot, number: 1, takenAt: expect.any(String) as string }),
  ]);
  expect(opened?.snapshots[0]?.fileCount).toBeGreaterThan(0);
}, 60_000);

test('the program that looks may read, and nothing else', () => {
  const args = lookArguments().join(' ');

  expect(args).toContain('CapabilityBoundingSet=CAP_DAC_READ_SEARCH ');
  expect(args).toContain('ProtectSystem=strict');
  expect(args).toContain('PrivateNetwork=yes');
  expect(args).toMatch(/InaccessiblePaths=\/data \/state -\/run\/holdfast\/root\.key/);
});

describe('a recovery', () => {
  test(
    'brings the appliance back under keys of this machine, keeps the certificate ready, and erases kit and passphrase',
    async () => {
      await start();
      await expect(look({})).rejects.toMatchObject({ message: 'A recovery is under way already' });

      expect(await ended(), blank.said()).toMatchObject({ state: 'done', problem: null });

      expect(blank.acts).toEqual([
        'stop server worker migrate keyd postgres prepare',
        'page',
        'stop recovery-page',
        'start',
      ]);
      expect(await findKeyslot(blank.disk, VOLUME_KEY)).toBeDefined();
      expect(await findKeyslot(blank.disk, PASSPHRASE)).toBeDefined();
      expect((await readHeader(blank.disk))?.label).toBe('holdfast-data');
      const { keyring, marker } = dataPaths(blank.dataDir);
      expect(existsSync(marker)).toBe(true);
      const rootKey = givenRootKey(join(blank.machine.places.run, 'root.key'));
      const opened = await openKeyringFile({ directory: keyring, rootKey });
      expect(opened.keyring().keys.size).toBeGreaterThan(0);
      await opened.close();
      const kept = join(blank.machine.places.run, 'recovery', 'tls', 'certificate.pem');
      expect(await readFile(kept, 'utf8')).toContain('BEGIN CERTIFICATE');
      const begun = (await blank.machine.deps.journal.list()).find(
        ({ action }) => action === 'host.recovery.begun',
      );
      expect(begun).toMatchObject({ actor, detail: { place, snapshot, device: blank.disk } });
    },
    LONG_MS,
  );

  test(
    'beside a machine that may still run changes nothing where the backups lie',
    async () => {
      const there = async () => (await readdir(place.path, { recursive: true })).sort();
      const before = await there();

      await start({ oldMachineIsOff: undefined, beside: true });
      expect(await ended(), blank.said()).toMatchObject({ state: 'done', problem: null });

      expect(await there()).toEqual(before);
    },
    LONG_MS,
  );

  test(
    'that is killed in the middle leaves an empty machine that runs, and says so; then it can be started again',
    async () => {
      await start();
      await waitFor('files to be restored', async () => existsSync(dataPaths(blank.dataDir).files), LONG_MS);
      blank.recovering()?.kill('SIGKILL');

      const { state, problem } = await ended();

      expect({ state, problem }).toMatchObject({
        state: 'failed',
        problem: { message: 'The recovery was cut off before it was whole' },
      });
      expect(await readdir(blank.dataDir)).toEqual([]);
      expect(blank.acts.slice(-2)).toEqual(['stop recovery-page', 'start']);
      blank.acts.length = 0;
      await start();
      expect(await ended(), blank.said()).toMatchObject({ state: 'done' });
    },
    LONG_MS,
  );

  test(
    'whose volume cannot be given its keys leaves an empty machine, and names the way on',
    async () => {
      // There is no hook on this machine.
      await start({ daily: { kind: 'kms-hook' } });

      const { state, problem } = await ended();

      expect(state).toBe('failed');
      expect(problem?.message).toMatch(
        /^The data was recovered, but its volume could not be given its keys: /,
      );
      expect(problem?.hint).toContain('a passphrase always works');
      expect(await readdir(blank.dataDir)).toEqual([]);
      expect((await readHeader(blank.disk))?.label).toBe('holdfast-unclaimed');
      expect((await blank.machine.deps.journal.list()).at(-1)).toMatchObject({
        action: 'host.recovery.ended',
        result: 'failed',
      });
    },
    LONG_MS,
  );

  test(
    'from a repository of which something is damaged says what',
    async () => {
      const packs = join(place.path, 'packs');
      for (const folder of await readdir(packs)) await rm(join(packs, folder), { recursive: true });
      await start();

      const { state, problem } = await ended();

      expect(state).toBe('failed');
      expect(problem?.message).toBeTruthy();
      expect(await readdir(blank.dataDir)).toEqual([]);
    },
    LONG_MS,
  );

  test(
    'that was under way when hostd ended is taken up by the next one',
    async () => {
      const { deps, places } = blank.machine;
      await writeRecoveryRequest(places, { actor, place, snapshot });
      await writeRecoveryFile(deps, {
        ...{ from: place.path, kit, snapshot, oldMachineIsOff: true },
        volume: { daily: 'passphrase', passphrase: PASSPHRASE },
      });
      await noteStarted(deps);

      await blank.resume();

      expect(await ended(), blank.said()).toMatchObject({ state: 'done' });
    },
    LONG_MS,
  );
});

describe.runIf(isRoot)('a share', () => {
  test(
    'is looked at in its folder for backups, then at its top, and stays mounted for the recovered appliance',
    async () => {
      await blank.close();
      const server = place.path;
      const points: string[] = [];
      blank = await startBlankMachine([top], {
        mounts: {
          async mount({ point }) {
            points.push(point);
            await runProcess('mount', ['--bind', server, point], { timeoutMs: 10_000 });
          },
          async unmount({ point }) {
            await runProcess('umount', [point], { timeoutMs: 10_000 });
          },
        },
      });
      const nfs = { kind: 'nfs', server: 'nas.example.org', export: '/backup' };
      try {
        const { opened } = await look({ place: nfs, kit });
        expect(opened?.snapshots).toHaveLength(1);
        await start({ place: nfs });
        expect(await ended(), blank.said()).toMatchObject({ state: 'done' });
        const { items } = await blank.client.get<{ items: object[] }>('/shares');
        expect(items).toEqual([expect.objectContaining({ state: 'mounted', place: nfs })]);
        expect(await isMounted(points[0] ?? '')).toBe(true);
      } finally {
        for (const point of points) await runProcess('umount', [point], { timeoutMs: 10_000 });
      }
    },
    LONG_MS,
  );
});
