/** Recovery onto a blank machine: what hostd makes room for and refuses, and under which root key the keyring comes to lie. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import fastify from 'fastify';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hostPlaces, type HostPlaces } from '../../../server/appliance/host/host-places.ts';
import { connectHost, requireHost } from '../../../server/appliance/host/index.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import { machineRecoveryRoutes } from '../../../server/appliance/host/machine-recovery.ts';
import type { StageDeps } from '../../../server/appliance/host/recovery/stage.ts';
import { memoryKeyPath } from '../../../server/appliance/host/ways/ways.ts';
import { recoverAppliance } from '../../../server/backups/index.ts';
import { recoverMachine, type DailyWay } from '../../../server/cli/machine-recovery.ts';
import { givenRootKey, makeRecoveryKit } from '../../../server/keys/index.ts';
import { openKeyringFile } from '../../../server/keys/keyring/file.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { createLog } from '../../../server/lib/log.ts';
import { installErrorReplies } from '../../../server/lib/http.ts';
import { shortPath } from '../../../server/lib/sockets.ts';
import { startStockedAppliance, stock } from '../../helpers/stocked-appliance.ts';

const actor = { kind: 'console', label: 'test' } as const;
const daily: DailyWay = { kind: 'passphrase', label: 'x', secret: 'a long enough phrase' };

let top: string;
let places: HostPlaces;
let dataDir: string;
let deps: StageDeps;
/** What was done, in order. */
let acts: string[];

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-blank-'));
  places = hostPlaces(top);
  dataDir = join(places.data, 'holdfast');
  acts = [];
  await mkdir(dataDir, { recursive: true });
  await mkdir(places.run, { recursive: true });
  await writeFile(join(dataDir, 'holdfast.json'), 'an appliance that nobody claimed');
  deps = {
    places,
    dataDir,
    journal: openJournal(places.state, systemClock),
    services: {
      stop: async (units) => void acts.push(`stop ${String(units.length)}`),
      start: async () => void acts.push('start'),
      startPage: async () => void acts.push('page'),
      recover: async () => true,
    },
    clock: systemClock,
    log: createLog('silent', 'test'),
  };
});
afterEach(() => rm(top, { recursive: true, force: true }));

/** hostd's verbs of recovery; the claim of a real volume is shown in the virtual machine. */
async function startHostd() {
  const app = fastify();
  installErrorReplies(app);
  await app.register(machineRecoveryRoutes(deps));
  const claims: unknown[] = [];
  app.post('/claim-volume', async (request) => {
    claims.push(request.body);
    acts.push('claim');
    return { items: [] };
  });
  const hostSocket = join(places.run, 'host.sock');
  await app.listen({ path: shortPath(hostSocket) });
  return { client: requireHost(connectHost({ hostSocket })), claims, close: () => app.close() };
}

const kitOf = (
  parts: { repositoryId: string; trustRoot: string; identity: string },
  volumeRecoveryKey?: string,
) =>
  makeRecoveryKit({
    kitId: '00000000-0000-4000-8000-000000000000',
    applianceName: 'Testbed',
    createdAt: '2026-01-01T00:00:00.000Z',
    repositoryId: parts.repositoryId,
    trustRoot: parts.trustRoot,
    ageIdentity: parts.identity,
    targets: [],
    ...(volumeRecoveryKey === undefined ? {} : { volumeRecoveryKey }),
  });

describe('a machine that has an owner', () => {
  test('is never made room on', async () => {
    const hostd = await startHostd();
    const kit = { volumeRecoveryKey: null } as never;

    const refused = recoverMachine(hostd.client, {
      kit,
      daily,
      recover: () => Promise.reject(new Error('not reached')),
    });

    await expect(refused).rejects.toMatchObject({ code: 'wrong_state', message: /has an owner already/ });
    expect(await readdir(dataDir)).toEqual(['holdfast.json']);
    expect(acts).toEqual([]);
    await hostd.close();
  });
});

describe('a blank machine', () => {
  beforeEach(() => writeFile(memoryKeyPath(places), 'the key that lies only in memory'));

  test('is started empty again when the recovery fails', async () => {
    const hostd = await startHostd();
    const kit = { volumeRecoveryKey: null } as never;

    const failed = recoverMachine(hostd.client, {
      kit,
      daily,
      recover: () => Promise.reject(new Error('no such target')),
    });

    await expect(failed).rejects.toThrow('no such target');
    expect(acts).toEqual(['stop 6', 'page', 'stop 1', 'start']);
    expect(await readdir(dataDir)).toEqual([]);
    await hostd.close();
  });

  test('becomes the appliance of the snapshot, under the root key of this machine, and opens with the kit', async () => {
    const hostd = await startHostd();
    const old = await startStockedAppliance();
    await stock(old);
    await old.takeSnapshot();
    const rootKeyFile = join(places.run, 'root.key');
    await writeFile(rootKeyFile, `holdfast-root-key/1 ${randomBytes(32).toString('base64')}\n`);
    const volumeKey = 'ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23-4567-ABCD-EFGH-IJKL-MNOP-QRST';
    const kit = kitOf(old.kit, volumeKey);
    const recover = () =>
      recoverAppliance({
        ...{
          target: { kind: 'directory', path: old.targetPath },
          kit,
          dataDir,
          rootKeyFile,
          clock: systemClock,
        },
        confirm: async () => true,
        signal: new AbortController().signal,
      });

    const { report, newVolumeKey } = await recoverMachine(hostd.client, { kit, daily, recover });

    expect(report.files).toBeGreaterThan(0);
    expect(newVolumeKey).toBeUndefined();
    expect(hostd.claims).toEqual([{ actor: expect.anything() as unknown, recoveryKey: volumeKey, daily }]);
    expect(acts).toEqual(['stop 6', 'page', 'claim', 'stop 1', 'start']);
    // No copy of the root key lies on the data volume.
    const { keyring } = dataPaths(dataDir);
    expect(existsSync(join(keyring, 'root.key'))).toBe(false);
    const opened = await openKeyringFile({ directory: keyring, rootKey: givenRootKey(rootKeyFile) });
    expect(opened.keyring().keys.size).toBe(report.keys);
    await opened.close();
    await Promise.all([hostd.close(), old.close()]);
  }, 120_000);
});

test('the verbs are journaled', async () => {
  await writeFile(memoryKeyPath(places), 'key');
  const hostd = await startHostd();
  const kit = { volumeRecoveryKey: null } as never;

  await recoverMachine(hostd.client, { kit, daily, recover: () => Promise.reject(new Error('x')) }).catch(
    () => undefined,
  );

  expect((await deps.journal.list()).map((act) => act.action)).toEqual([
    'host.recovery.begun',
    'host.recovery.ended',
  ]);
  expect((await deps.journal.list())[0]?.actor).toMatchObject({ kind: actor.kind });
  await hostd.close();
});
