/** This appliance is set back to a snapshot, as hostd does it: what is refused, what each failure leaves, undoing and discarding. */
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeSetBack } from '../../../server/appliance/host/set-back/record.ts';
import { settleAtStart } from '../../../server/appliance/host/set-back/settle.ts';
import type {
  CheckedSetBack,
  SetBackRecord,
  SetBackView,
} from '../../../server/appliance/host/set-back/schema.ts';
import { memoryKeyPath } from '../../../server/appliance/host/ways/ways.ts';
import { generateAgeIdentity, kitToJson, makeRecoveryKit } from '../../../server/keys/index.ts';
import { dataPaths, setBackFolders } from '../../../server/lib/data-folder.ts';
import { isRoot } from '../../helpers/other-account.ts';
import { mountSmallDisk } from '../../helpers/small-disk.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { makeLiveData, startSetBackMachine, type SetBackMachine } from './set-back-machine.ts';

const actor = { kind: 'user', id: '11111111-2222-4333-8444-555555555555', address: '192.0.2.7' } as const;
const APPLIANCE = '00000000-0000-4000-8000-00000000abcd';
const OTHER_SNAPSHOT = 'ab'.repeat(32);
const REASON = 'The update broke the folders';
const DAY_MS = 86_400_000;
const LONG_MS = 240_000;

let top: string;
let old: StockedAppliance;
let kit: string;
let snapshot: string;
let place: string;
let box: SetBackMachine;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-set-back-'));
  old = await startStockedAppliance();
  await stock(old);
  snapshot = await old.takeSnapshot();
  kit = kitToJson(kitOf(old.kit));
}, LONG_MS);
afterAll(async () => {
  await old.close();
  await rm(top, { recursive: true, force: true });
});

beforeEach(async () => {
  place = await mkdtemp(join(top, 'copy-'));
  await cp(old.targetPath, place, { recursive: true });
  box = await startSetBackMachine([top]);
  await makeLiveData(box.dataDir, dataPaths(old.dataDir).keyring);
});
afterEach(() => box.close());

function kitOf(parts: { repositoryId: string; trustRoot: string; identity: string }) {
  return makeRecoveryKit({
    kitId: '00000000-0000-4000-8000-000000000000',
    applianceName: 'Vault North',
    createdAt: '2026-01-01T00:00:00.000Z',
    repositoryId: parts.repositoryId,
    trustRoot: parts.trustRoot,
    ageIdentity: parts.identity,
    targets: [],
  });
}

const asked = (request: object) => ({ actor, place, kit, snapshot, ...request });
const check = (request: object = {}) =>
  box.client.send<CheckedSetBack>('POST', '/set-back/check', asked(request));
const start = (request: object = {}) =>
  box.client.send('POST', '/set-back/start', {
    ...asked({ reason: REASON, applianceId: APPLIANCE }),
    ...request,
  });
const undo = () => box.client.send('POST', '/set-back/undo', { actor, reason: 'It was the wrong snapshot' });
const discard = () => box.client.send('POST', '/set-back/discard', { actor });
const view = () => box.client.get<SetBackView>('/set-back');
const folders = () => setBackFolders(box.dataDir);
const isMine = (dataDir: string) => existsSync(join(dataPaths(dataDir).files, 'written-since'));
/** Of the snapshot: a cluster that was recovered. */
const isOfSnapshot = (dataDir: string) => existsSync(join(dataPaths(dataDir).postgres, 'PG_VERSION'));

/** Waits until nothing is under way any more. */
async function over(): Promise<SetBackView & { record: NonNullable<SetBackView['record']> }> {
  await box.setBack.idle();
  const found = await view();
  if (found.record === null) throw new Error('there is no record');
  return { ...found, record: found.record };
}

async function setBack(): Promise<void> {
  await start();
  const { record } = await over();
  expect({ state: record.state, problem: record.problem, said: box.said() }).toMatchObject({
    state: 'kept',
    problem: null,
  });
  box.acts.length = 0;
}

/** Files in memory that hold a secret. */
async function secrets(): Promise<string[]> {
  const names = await readdir(box.machine.places.run);
  return names.filter((name) => /^(recovery-kit|recovery\.yaml|setup-)/.test(name));
}

const acts = async () => (await box.machine.deps.journal.list()).map(({ action }) => action);

async function listing(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).sort();
}

describe('refused, with nothing stopped and nothing changed:', () => {
  let before: string[];
  beforeEach(async () => void (before = await listing(box.machine.places.data)));
  afterEach(async () => {
    expect(box.acts).toEqual([]);
    expect(await listing(box.machine.places.data)).toEqual(before);
    expect(await secrets()).toEqual([]);
    expect(await acts()).toEqual([]);
    expect((await view()).status.state).toBe('none');
  });

  test('a kit that does not open the backups, and one of another repository', async () => {
    const { identity } = await generateAgeIdentity();
    const stranger = kitToJson(kitOf({ ...old.kit, identity }));
    const other = kitToJson(
      kitOf({ ...old.kit, identity, repositoryId: '11111111-1111-4111-8111-111111111111' }),
    );

    for (const wrong of [stranger, other]) {
      await expect(check({ kit: wrong })).rejects.toMatchObject({ code: 'wrong_key' });
      await expect(start({ kit: wrong })).rejects.toMatchObject({ code: 'wrong_key' });
    }
  });

  test('a snapshot that is not there, and a place without backups or outside of those for backups', async () => {
    await mkdir(join(top, 'empty'), { recursive: true });

    await expect(start({ snapshot: OTHER_SNAPSHOT })).rejects.toMatchObject({ code: 'not_found' });
    await expect(start({ place: join(top, 'empty') })).rejects.toMatchObject({ code: 'no_repository' });
    await expect(start({ place: join(top, 'missing') })).rejects.toMatchObject({ code: 'unavailable' });
    await expect(start({ place: '/etc' })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('a moment before the snapshot', async () => {
    await expect(start({ moment: '2020-01-01T00:00:00.000Z' })).rejects.toMatchObject({
      message: 'This moment lies before the snapshot',
    });
  });

  test('without a reason', async () => {
    for (const reason of [undefined, 'short'])
      await expect(start({ reason })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('an older state of the target than the appliance remembers, unless somebody agrees', async () => {
    const knownHead = { number: 900, sha256: OTHER_SNAPSHOT };

    expect((await check({ knownHead })).warnings).toEqual([
      { message: expect.any(String) as string, confirm: true },
    ]);
    await expect(start({ knownHead })).rejects.toMatchObject({
      code: 'wrong_state',
      message: 'Something about these backups is not as it should be',
    });
  });

  test('while an update is under way', async () => {
    box.updating = '2.0.0';

    await expect(start()).rejects.toMatchObject({ message: 'An update to 2.0.0 is under way' });
  });

  test('a second request while one is looked at', async () => {
    const [first, second] = await Promise.allSettled([check(), check()]);

    expect(first.status).toBe('fulfilled');
    expect(second).toMatchObject({ status: 'rejected', reason: { code: 'locked' } });
  });

  test('by a program that nobody asked for it', async () => {
    for (const verb of ['begin', 'end']) {
      await expect(box.client.send('POST', `/set-back/${verb}`, { actor })).rejects.toMatchObject({
        message: 'Nobody has asked to set this appliance back',
      });
    }
  });

  test('undoing and discarding where nothing is set aside', async () => {
    for (const act of [undo, discard]) await expect(act()).rejects.toMatchObject({ code: 'wrong_state' });
  });
});

test('a machine without an owner is recovered onto, not set back', async () => {
  await writeFile(memoryKeyPath(box.machine.places), 'the key that lies only in memory');

  await expect(start()).rejects.toMatchObject({ message: 'This machine has no owner yet' });
});

test.runIf(isRoot)('too little room for both states is refused with numbers', async () => {
  const disk = await mountSmallDisk(box.machine.places.data, 96 * 1024 ** 2);
  try {
    await makeLiveData(box.dataDir, dataPaths(old.dataDir).keyring);
    const { needBytes, freeBytes } = await check();
    expect(needBytes).toBeGreaterThan(freeBytes);

    await expect(start()).rejects.toMatchObject({
      code: 'no_space',
      hint: expect.stringMatching(/needs \d+ MiB, and \d+ MiB are free/) as string,
    });

    expect(box.acts).toEqual([]);
    expect(isMine(box.dataDir)).toBe(true);
  } finally {
    await disk.dispose();
  }
});

test('the check tells what it takes, to a later moment with the log and what was stored since', async () => {
  const { warnings, needBytes, freeBytes } = await check();
  const later = await check({ moment: new Date().toISOString(), laterBytes: 123_456_789 });
  expect(later.needBytes - needBytes).toBe(123_456_789);

  expect(warnings).toEqual([]);
  expect(needBytes).toBeGreaterThan(512 * 1024 ** 2);
  expect(freeBytes).toBeGreaterThan(needBytes);
});

describe('a set-back', () => {
  test(
    'brings the data of the snapshot into use, keeps those from before, and touches neither keyring nor target',
    async () => {
      const target = await listing(place);
      const inode = (await stat(box.dataDir)).ino;
      const key = await readFile(join(dataPaths(box.dataDir).tls, 'key.pem'), 'utf8');

      await start();
      await expect(start()).rejects.toMatchObject({ code: 'wrong_state' });
      const { record, status } = await over();

      expect(record, box.said()).toMatchObject({
        state: 'kept',
        problem: null,
        snapshot: { id: snapshot, number: 1 },
        wanted: { actor, reason: REASON },
      });
      expect(Date.parse(record.keptUntil ?? '') - Date.parse(record.at)).toBeGreaterThan(6.9 * DAY_MS);
      expect(record.beforeBytes).toBeGreaterThan(0);
      expect(status).toMatchObject({ act: 'set-back', state: 'done', problem: null });
      expect(box.acts).toEqual([
        'stop server worker migrate keyd postgres prepare',
        'page',
        'stop recovery-page',
        'start',
      ]);
      expect(isOfSnapshot(box.dataDir)).toBe(true);
      expect(isMine(box.dataDir)).toBe(false);
      expect(isMine(folders().before)).toBe(true);
      // A rename, not a copy; and closed to other accounts.
      expect(await stat(folders().before)).toMatchObject({ ino: inode, mode: 0o40700 });
      const { keyring, tls, marker } = dataPaths(box.dataDir);
      expect(await readFile(join(keyring, 'log-of-today'), 'utf8')).toBe('what the keyring learnt since');
      expect(await readFile(join(tls, 'key.pem'), 'utf8')).toBe(key);
      expect(JSON.parse(await readFile(marker, 'utf8'))).toMatchObject({ applianceId: APPLIANCE });
      expect(await listing(place)).toEqual(target);
      expect(await secrets()).toEqual([]);
      expect(await acts()).toEqual(['host.set-back.begun', 'host.set-back.ended']);
      const [begun, ended] = await box.machine.deps.journal.list();
      expect(begun).toMatchObject({ actor, detail: { snapshot, reason: REASON, place } });
      expect(ended).toMatchObject({ result: 'done', detail: { wantedBy: actor.id } });
      await expect(start()).rejects.toMatchObject({
        message: 'The data from before the last set-back are still set aside',
      });
    },
    LONG_MS,
  );

  test(
    'whose program is killed leaves everything as it was, and says so; then it can be started again',
    async () => {
      await start();
      await waitFor('files to be restored', () => existsSync(dataPaths(folders().fresh).files), LONG_MS);
      box.recovering()?.kill('SIGKILL');

      const { record, status } = await over();

      expect(record).toMatchObject({
        state: 'failed',
        problem: { message: 'The recovery was cut off before it was whole' },
      });
      expect(status).toMatchObject({ state: 'failed' });
      expect(isMine(box.dataDir)).toBe(true);
      expect(box.acts.slice(-2)).toEqual(['stop recovery-page', 'start']);
      expect(await acts()).toEqual(['host.set-back.begun', 'host.set-back.failed']);
      await box.setBack.keepHouse();
      expect(await readdir(folders().top)).toEqual(['record.json']);
      await setBack();
    },
    LONG_MS,
  );

  test(
    'from a repository of which something is damaged says what, and leaves everything as it was',
    async () => {
      const packs = join(place, 'packs');
      for (const folder of await readdir(packs)) await rm(join(packs, folder), { recursive: true });
      await start();

      const { record } = await over();

      expect(record.state).toBe('failed');
      expect(record.problem?.message).toBeTruthy();
      expect(isMine(box.dataDir)).toBe(true);
    },
    LONG_MS,
  );

  test(
    'on whose data the appliance does not start goes back by itself',
    async () => {
      box.health = async () => ({ healthy: false, reason: 'holdfast-server.service did not run' });
      await start();

      const { record, status } = await over();

      expect(record).toMatchObject({ state: 'failed' });
      expect(record.problem?.message).toBe(
        'The appliance did not start on the data of the snapshot: holdfast-server.service did not run',
      );
      expect(status).toMatchObject({ state: 'failed', act: 'set-back' });
      expect(isMine(box.dataDir)).toBe(true);
      expect(isOfSnapshot(box.dataDir)).toBe(false);
      expect(box.acts.filter((act) => act === 'start')).toHaveLength(2);
      expect(await acts()).toEqual(['host.set-back.begun', 'host.set-back.failed']);
      expect(existsSync(folders().fresh)).toBe(false);
    },
    LONG_MS,
  );

  test(
    'that was under way when hostd ended is taken up by the next one',
    async () => {
      await start();
      await waitFor('files to be restored', () => existsSync(dataPaths(folders().fresh).files), LONG_MS);
      await box.restartHostd();
      // Its unit goes on by itself: the program that it runs ends without the hostd that began it.
      box.recovering()?.kill('SIGKILL');

      const { record } = await over();

      expect(['failed', 'kept']).toContain(record.state);
      expect(isMine(box.dataDir)).toBe(record.state === 'failed');
      expect(await secrets()).toEqual([]);
    },
    LONG_MS,
  );
});

describe('after a set-back', () => {
  beforeEach(setBack, LONG_MS);

  test(
    'undoing brings the data from before back, with the keyring of now, and frees the others',
    async () => {
      await writeFile(join(dataPaths(box.dataDir).keyring, 'log-of-today'), 'learnt after the set-back');

      await undo();
      // What is about to come back is not discarded.
      await expect(discard()).rejects.toMatchObject({
        code: expect.stringMatching(/locked|wrong_state/) as string,
      });
      await expect(undo()).rejects.toMatchObject({
        code: expect.stringMatching(/locked|wrong_state/) as string,
      });
      const { record, status } = await over();

      expect(record).toMatchObject({ state: 'undone', problem: null, keptUntil: null });
      expect(status).toMatchObject({ act: 'undo', state: 'done' });
      expect(isMine(box.dataDir)).toBe(true);
      const { keyring } = dataPaths(box.dataDir);
      expect(await readFile(join(keyring, 'log-of-today'), 'utf8')).toBe('learnt after the set-back');
      expect(await readdir(folders().top)).toEqual(['record.json']);
      expect((await acts()).slice(2)).toEqual(['host.set-back.undo-begun', 'host.set-back.undone']);
      // And it can be set back again.
      await setBack();
    },
    LONG_MS,
  );

  test(
    'an undoing on whose data the appliance does not start leaves it set back, and may be tried again',
    async () => {
      box.health = async () => ({ healthy: false, reason: 'the server did not answer' });
      await undo();

      const { record } = await over();

      expect(record).toMatchObject({
        state: 'kept',
        problem: { message: expect.stringContaining('data from before: the server') as string },
      });
      expect(isOfSnapshot(box.dataDir)).toBe(true);
      expect(isMine(folders().before)).toBe(true);
      expect((await acts()).at(-1)).toBe('host.set-back.undo-failed');
      box.health = async () => ({ healthy: true });
      await undo();
      expect((await over()).record).toMatchObject({ state: 'undone', problem: null });
      expect(isMine(box.dataDir)).toBe(true);
    },
    LONG_MS,
  );

  test(
    'the data from before are discarded when somebody says so, and not before seven days by themselves',
    async () => {
      box.aheadMs = 6.9 * DAY_MS;
      await box.setBack.keepHouse();
      expect(isMine(folders().before)).toBe(true);

      await discard();
      const { record } = await over();

      expect(record).toMatchObject({ state: 'discarded', discardedBy: actor, keptUntil: null });
      expect(await readdir(folders().top)).toEqual(['record.json']);
      expect(isOfSnapshot(box.dataDir)).toBe(true);
      const last = (await box.machine.deps.journal.list()).at(-1);
      expect(last).toMatchObject({ action: 'host.set-back.discarded', actor });
      await expect(undo()).rejects.toMatchObject({ code: 'wrong_state' });
    },
    LONG_MS,
  );

  test(
    'after seven days they are discarded by themselves, and it is told whose doing that is',
    async () => {
      box.aheadMs = 7 * DAY_MS + 60_000;

      await box.setBack.keepHouse();

      const { record } = await over();
      expect(record).toMatchObject({ state: 'discarded', discardedBy: { kind: 'system' } });
      expect(existsSync(folders().before)).toBe(false);
      expect((await box.machine.deps.journal.list()).at(-1)).toMatchObject({
        action: 'host.set-back.discarded',
        actor: { kind: 'system', label: 'set-back' },
      });
    },
    LONG_MS,
  );
});

test('a record that cannot be read stops no start of the data that are there, and no set-back begins on it', async () => {
  await mkdir(folders().top, { recursive: true });
  await writeFile(folders().record, '{"format":2}');

  const { deps } = box.machine;
  expect(await settleAtStart({ ...deps, dataDir: box.dataDir })).toBeUndefined();

  expect(isMine(box.dataDir)).toBe(true);
  await expect(start()).rejects.toMatchObject({ code: 'integrity_failure' });
  expect(box.acts).toEqual([]);
});

test(
  'what was told before a kill is told again under the same id, which the audit log enters once',
  async () => {
    await setBack();
    const told = await box.machine.deps.journal.list();
    const record = JSON.parse(await readFile(folders().record, 'utf8')) as SetBackRecord;
    await writeSetBack(box.dataDir, { ...record, told: ['begun'] });

    await box.setBack.keepHouse();

    const again = await box.machine.deps.journal.list();
    expect(again).toHaveLength(told.length + 1);
    expect(again.at(-1)?.id).toBe(told.at(-1)?.id);
  },
  LONG_MS,
);
