/**
 * A machine that loses its power at every durable step of a set-back, of undoing one and of discarding: the next start comes back by
 * itself with one whole state of the data, nothing that is kept is lost, and record and journal say what happened.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostPlaces } from '../../../server/appliance/host/host-places.ts';
import type { SetBackRecord } from '../../../server/appliance/host/set-back/schema.ts';
import { kitToJson, makeRecoveryKit } from '../../../server/keys/index.ts';
import { dataPaths, isWholeFolder, setBackFolders } from '../../../server/lib/data-folder.ts';
import { runningPostmaster } from '../../../server/lib/postgres/index.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { startStockedAppliance, stock } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { makeLiveData } from './set-back-machine.ts';

const CHILD = join(import.meta.dirname, 'set-back-child.ts');
const HOOK = join(import.meta.dirname, '../../helpers/crash-at.ts');
const MOST_STARTS = 6;
const LONG_MS = 900_000;

let top: string;
let place: string;
let kitFile: string;
let snapshot: string;
/** Machines to begin with, by what was done on them. */
const origins = new Map<string, string>();

beforeAll(async () => {
  top = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'holdfast-set-back-'));
  const old = await startStockedAppliance();
  try {
    await stock(old);
    snapshot = await old.takeSnapshot();
    place = join(top, 'backups');
    await cp(old.targetPath, place, { recursive: true });
    kitFile = join(top, 'kit.json');
    const kit = makeRecoveryKit({
      kitId: '00000000-0000-4000-8000-000000000000',
      applianceName: 'Vault North',
      createdAt: '2026-01-01T00:00:00.000Z',
      ...{ repositoryId: old.kit.repositoryId, trustRoot: old.kit.trustRoot },
      ageIdentity: old.kit.identity,
      targets: [],
    });
    await writeFile(kitFile, kitToJson(kit));
    const fresh = join(top, 'fresh-machine');
    await makeLiveData(dataDirOf(fresh), dataPaths(old.dataDir).keyring);
    await mkdir(hostPlaces(fresh).state, { recursive: true });
    origins.set('set-back', fresh);
  } finally {
    await old.close();
  }
  const kept = await newMachine('set-back');
  await settle(kept, 'set-back');
  origins.set('undo', kept);
  origins.set('discard', kept);
}, LONG_MS);
afterAll(() => rm(top, { recursive: true, force: true }));

const dataDirOf = (machine: string) => join(hostPlaces(machine).data, 'holdfast');
const isMine = (dataDir: string) => existsSync(join(dataPaths(dataDir).files, 'written-since'));
const recordOf = async (machine: string) =>
  JSON.parse(await readFile(setBackFolders(dataDirOf(machine)).record, 'utf8')) as SetBackRecord;

const keyOf = (dataDir: string) => readFile(join(dataPaths(dataDir).tls, 'key.pem'), 'utf8');

async function newMachine(want: string): Promise<string> {
  const machine = await mkdtemp(join(top, 'machine-'));
  await cp(origins.get(want.split('-ill')[0] ?? '') ?? '', machine, { recursive: true });
  return machine;
}

/** Switches it on. @returns its exit code; null when it was killed. */
async function switchOn(
  machine: string,
  want: string,
  env: Record<string, string> = {},
): Promise<number | null> {
  const args = ['--import', HOOK, CHILD, machine, place, kitFile, snapshot, want];
  const ended = await runProcess(process.execPath, args, {
    timeoutMs: 120_000,
    env: { PATH: process.env.PATH ?? '', ...env },
  });
  await losePower(machine);
  if (ended.exitCode === 1) throw new Error(ended.stderr);
  return ended.exitCode;
}

/** What lay in memory is gone, and so is every process. */
async function losePower(machine: string): Promise<void> {
  const { fresh } = setBackFolders(dataDirOf(machine));
  for (const folder of [fresh, dataDirOf(machine)]) {
    const pid = runningPostmaster(dataPaths(folder).postgres);
    if (pid === undefined) continue;
    process.kill(pid, 'SIGKILL');
    await waitFor('PostgreSQL to be gone', () => runningPostmaster(dataPaths(folder).postgres) === undefined);
  }
  await rm(hostPlaces(machine).run, { recursive: true, force: true });
}

async function settle(machine: string, want: string): Promise<void> {
  for (let start = 0; start < MOST_STARTS; start += 1) if ((await switchOn(machine, want)) === 0) return;
  throw new Error('it never came to rest');
}

/** How often each durable step is come by. Of a durable write, the moment between old and new; all moments with SLOW=1. */
function hitsOf(want: string): Promise<Map<string, number>> {
  const known = hits.get(want) ?? countHits(want);
  hits.set(want, known);
  return known;
}

const hits = new Map<string, Promise<Map<string, number>>>();

async function countHits(want: string): Promise<Map<string, number>> {
  const machine = await newMachine(want);
  const log = join(top, `points-${want}.log`);
  await writeFile(log, '');
  await switchOn(machine, want, { HOLDFAST_TEST_CRASH_LOG: log });
  await rm(machine, { recursive: true });
  const counts = new Map<string, number>();
  for (const point of readFileSync(log, 'utf8').trim().split('\n')) {
    if (process.env.SLOW !== '1' && /\.(written|synced)$|^host\.journal|^backups\./.test(point)) continue;
    counts.set(point, (counts.get(point) ?? 0) + 1);
  }
  return counts;
}

/** Where to cut, as `name:hit`: each step once. Where it does not go well, what comes on top of going well. */
async function pointsOf(want: string): Promise<string[]> {
  const counts = await hitsOf(want);
  const ordinary = want.endsWith('-ill')
    ? await hitsOf(want.slice(0, -'-ill'.length))
    : new Map<string, number>();
  return [...counts].flatMap(([point, count]) => {
    const before = ordinary.get(point) ?? 0;
    return count > before ? [`${point}:${String(before + 1)}`] : [];
  });
}

/** The last act of each kind that the journal has, by what the audit log would enter: one entry an id. */
function toldOf(machine: string): string[] {
  const lines = readFileSync(join(hostPlaces(machine).state, 'journal.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const acts = lines.map((line) => JSON.parse(line) as { id: string; action: string });
  return [...new Map(acts.map(({ id, action }) => [id, action])).values()];
}

/** Whatever was cut off: what must be true of a machine that has come to rest. */
async function expectWell(machine: string, about: string): Promise<SetBackRecord['state']> {
  const dataDir = dataDirOf(machine);
  const { top: folder, before, fresh } = setBackFolders(dataDir);
  const { state, told } = await recordOf(machine);
  const fromBefore = state === 'failed' || state === 'undone';
  const found = {
    whole: await isWholeFolder(dataDir),
    mine: isMine(dataDir),
    before: existsSync(before) && isMine(before),
    fresh: existsSync(fresh),
    key: (await keyOf(dataDir)) === (await keyOf(dataDirOf(origins.get('set-back') ?? ''))),
    keyring: await readFile(join(dataPaths(dataDir).keyring, 'log-of-today'), 'utf8'),
    left: readdirSync(folder).filter((name) => /^(gone|stray)-/.test(name)),
    halfCarried: readdirSync(dataDir).filter((name) => /\.(arriving|leaving)$/.test(name)),
    toldOnce: new Set(told).size === told.length,
  };
  expect([about, state, found]).toEqual([
    about,
    state,
    {
      ...{ whole: true, mine: fromBefore, before: state === 'kept', fresh: false, left: [], halfCarried: [] },
      ...{ key: true, keyring: 'what the keyring learnt since', toldOnce: true },
    },
  ]);
  return state;
}

describe('a power cut', () => {
  test.each([
    // Until the data of the snapshot are whole those from before come back; from then on these do.
    ['set-back', ['failed', 'kept'], 20],
    ['set-back-ill', ['failed'], 5],
    ['undo', ['kept', 'undone'], 10],
    ['undo-ill', ['kept'], 5],
    // Once it is noted it is done; before, nobody has said so.
    ['discard', ['discarded'], 2],
  ])(
    'at every durable step of a %s leaves one whole state of the data, and says which',
    async (want, states, least) => {
      const points = await pointsOf(want);
      const outcomes = new Set<string>();

      const cutAt = async (point: string) => {
        const machine = await newMachine(want);
        const code = await switchOn(machine, want, { HOLDFAST_TEST_CRASH_AT: point });
        expect([point, code]).toEqual([point, null]);
        if (!existsSync(setBackFolders(dataDirOf(machine)).record)) {
          // Nobody knows of it yet: nothing was changed.
          expect([point, isMine(dataDirOf(machine))]).toEqual([point, true]);
        } else {
          await settle(machine, want.endsWith('ill') ? 'boot-ill' : 'boot');
          const state = await expectWell(machine, point);
          outcomes.add(state);
          const acts = toldOf(machine);
          const ends = { kept: 'ended', failed: 'failed', undone: 'undone', discarded: 'discarded' };
          if (!(state === 'failed' && !acts.includes('host.set-back.begun')))
            expect([point, acts]).toEqual([
              point,
              expect.arrayContaining([`host.set-back.${ends[state as 'kept']}`]),
            ]);
          expect([point, acts.filter((act) => act === 'host.set-back.begun').length <= 1]).toEqual([
            point,
            true,
          ]);
        }
        await rm(machine, { recursive: true });
      };
      const half = Math.ceil(points.length / 2);
      const oneByOne = async (some: string[]) => {
        for (const point of some) await cutAt(point);
      };
      await Promise.all([oneByOne(points.slice(0, half)), oneByOne(points.slice(half))]);

      expect(points.length).toBeGreaterThanOrEqual(least);
      expect([...outcomes].sort()).toEqual(states);
    },
    LONG_MS,
  );
});
