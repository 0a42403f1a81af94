import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readPlacedRootKey } from '../../../server/appliance/host/ways/root-key.ts';
import type { NewWay } from '../../../server/appliance/host/schema.ts';
import { findVolume, makeVolume, openByKey } from '../../../server/appliance/host/unlock/volume.ts';
import { addKeyslot, findKeyslot, readHeader } from '../../../server/appliance/host/volume/luks.ts';
import { readVolumeNote } from '../../../server/appliance/host/volume/note.ts';
import { readWays } from '../../../server/appliance/host/ways/file.ts';
import {
  addWay,
  claimVolume,
  finishWays,
  memoryKeyPath,
  removeUnknownKeyslots,
  removeWay,
  renameWay,
  testWay,
} from '../../../server/appliance/host/ways/ways.ts';
import { makeVolumeRecoveryKey } from '../../../server/lib/volume-recovery-key.ts';
import { ACTOR, makeImageMachine, PASSPHRASE, type ImageMachine } from './image-machine.ts';

const SECOND = 'seven boats under a green moon';
const HOOK = Symbol.for('holdfast.crashPoint');

let machine: ImageMachine;
let disk: string;
let recoveryKey: string;
/** Disk, state and memory as they were before a test: making them takes seconds. */
let unclaimed: string;
let claimed: string;

const save = async (name: string) => {
  const to = join(machine.root, '..', `${machine.root.split('/').at(-1)}-${name}`);
  await cp(machine.root, to, { recursive: true });
  return to;
};
const putBack = async (from: string) => {
  await machine.restart();
  for (const name of ['disk', 'state', 'run', 'data']) {
    await rm(join(machine.root, name), { recursive: true, force: true });
    await cp(join(from, name), join(machine.root, name), { recursive: true });
  }
  await machine.deps.mapping.mount();
};

beforeAll(async () => {
  machine = await makeImageMachine();
  disk = await machine.addDisk('disk', 40 * 1024 * 1024);
  const choice = await findVolume(machine.deps);
  if (choice.kind !== 'blank') throw new Error('the disk should be blank');
  await makeVolume(machine.deps, choice.disk);
  unclaimed = await save('unclaimed');
  recoveryKey = makeVolumeRecoveryKey();
  await claim();
  claimed = await save('claimed');
}, 120_000);
afterAll(async () => {
  await machine.close();
  for (const path of [unclaimed, claimed]) await rm(path, { recursive: true, force: true });
});
afterEach(() => {
  delete (globalThis as Record<symbol, unknown>)[HOOK];
});

async function claim(): Promise<void> {
  await claimVolume(
    machine.deps,
    { actor: ACTOR, recoveryKey, daily: { kind: 'passphrase', label: 'Daily', secret: PASSPHRASE } },
    await readFile(memoryKeyPath(machine.places), 'latin1'),
  );
}

function add(way: NewWay, openedBy?: string) {
  return addWay(machine.deps, { actor: ACTOR, way, ...(openedBy === undefined ? {} : { openedBy }) });
}

async function idOf(kind: string): Promise<string> {
  return (await readWays(machine.places))?.ways.find((way) => way.kind === kind)?.id ?? '';
}

async function unlock(key: string) {
  const choice = await findVolume(machine.deps);
  return choice.kind === 'own' ? openByKey(machine.deps, choice, key, ACTOR) : undefined;
}

/** Stops at the n-th durable step, as a power cut would. @returns false when there are fewer steps. */
async function cutAt(step: number, act: () => Promise<unknown>): Promise<boolean> {
  let passed = 0;
  (globalThis as Record<symbol, unknown>)[HOOK] = () => {
    passed += 1;
    if (passed >= step) throw new Error('power cut');
  };
  const cut = await act().then(
    () => false,
    (error: unknown) => error instanceof Error && error.message === 'power cut',
  );
  delete (globalThis as Record<symbol, unknown>)[HOOK];
  return cut;
}

describe('what is refused changes nothing', () => {
  beforeEach(() => putBack(claimed), 60_000);

  test('removing leaves at least a recovery key and a way for every day', async () => {
    const before = await readWays(machine.places);

    for (const kind of ['passphrase', 'recovery-key'])
      await expect(removeWay(machine.deps, await idOf(kind), ACTOR)).rejects.toMatchObject({
        code: 'wrong_state',
      });

    expect(await readWays(machine.places)).toEqual(before);
    expect((await readHeader(disk))?.keyslots).toEqual([1, 2]);
  });

  test('two recovery keys are not enough: the last daily way stays', async () => {
    await add({ kind: 'recovery-key', label: 'Second kit', secret: makeVolumeRecoveryKey() }, recoveryKey);

    await expect(removeWay(machine.deps, await idOf('passphrase'), ACTOR)).rejects.toMatchObject({
      code: 'wrong_state',
    });
  });

  test('a way is not added with a key that opens nothing, nor without one where the machine has none', async () => {
    const way: NewWay = { kind: 'passphrase', label: 'Second', secret: SECOND };

    await expect(add(way, 'not a key of this volume')).rejects.toMatchObject({ code: 'wrong_key' });
    await expect(add(way)).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(
      add({ kind: 'recovery-key', label: 'Kit', secret: 'A'.repeat(60) }, PASSPHRASE),
    ).rejects.toMatchObject({ code: 'invalid_input' });

    expect((await readHeader(disk))?.keyslots).toEqual([1, 2]);
    expect((await readWays(machine.places))?.doomedKeyslots).toEqual([]);
  });

  test('a way whose secret was mistyped fails its test, and that is journaled', async () => {
    const id = await idOf('passphrase');

    await expect(
      testWay(machine.deps, id, { actor: ACTOR, secret: 'something else entirely' }),
    ).rejects.toMatchObject({ code: 'wrong_key' });

    expect((await machine.deps.journal.list()).at(-1)).toMatchObject({
      action: 'host.way.tested',
      result: 'refused',
      objectId: id,
    });
  });

  test('there is no such way', async () => {
    const id = '00000000-0000-4000-8000-000000000000';
    await expect(removeWay(machine.deps, id, ACTOR)).rejects.toMatchObject({ code: 'not_found' });
    await expect(renameWay(machine.deps, id, 'x', ACTOR)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('a way', () => {
  beforeEach(() => putBack(claimed), 60_000);

  test('that is added opens volume and root key; removed, it opens neither', async () => {
    const root = await readPlacedRootKey(machine.places);
    const added = await add({ kind: 'passphrase', label: 'Second', secret: SECOND }, recoveryKey);
    await machine.restart();
    expect(await unlock(SECOND)).toMatchObject({ way: { id: added.id } });
    expect(await readPlacedRootKey(machine.places)).toEqual(root);

    await removeWay(machine.deps, await idOf('passphrase'), ACTOR);

    expect(await findKeyslot(disk, PASSPHRASE)).toBeUndefined();
    expect(await findKeyslot(disk, SECOND)).toBe(added.keyslot);
    expect((await readHeader(disk))?.tokens.size).toBe(2);
  });

  test('of the TPM adds others without a typed key, and its secret is in no file', async () => {
    const tpm = await add({ kind: 'tpm2', label: 'TPM' }, PASSPHRASE);
    const added = await add({ kind: 'passphrase', label: 'Second', secret: SECOND });

    expect((await readHeader(disk))?.keyslots).toEqual([1, 2, tpm.keyslot, added.keyslot].sort());
    const tested = await testWay(machine.deps, tpm.id, { actor: ACTOR });
    expect(tested.lastTestedAt).not.toBeNull();
    machine.tpm.state = 'changed';
    await expect(testWay(machine.deps, tpm.id, { actor: ACTOR })).rejects.toMatchObject({
      code: 'wrong_key',
    });
    machine.tpm.state = 'well';
  });

  test('of the TPM closes with the registers that were chosen, and says which', async () => {
    const usual = await add({ kind: 'tpm2', label: 'TPM' }, PASSPHRASE);
    const strict = await add({ kind: 'tpm2', label: 'Strict', pcrs: '0+2+4+7' }, PASSPHRASE);

    const sealed = (await readWays(machine.places))?.ways.flatMap(({ sealedSecret = '' }) =>
      sealedSecret === '' ? [] : [JSON.parse(Buffer.from(sealedSecret, 'base64').toString()) as object],
    );
    expect(sealed).toMatchObject([{ pcrs: '7' }, { pcrs: '0+2+4+7' }]);
    expect([usual.pcrs, strict.pcrs]).toEqual(['7', '0+2+4+7']);
  });

  test('can be renamed and tested; both are journaled with who did it', async () => {
    const id = await idOf('recovery-key');

    await renameWay(machine.deps, id, 'Kit in the safe', ACTOR);
    const tested = await testWay(machine.deps, id, { actor: ACTOR, secret: recoveryKey.toLowerCase() });

    expect(tested).toMatchObject({ label: 'Kit in the safe' });
    const acts = await machine.deps.journal.list();
    expect(acts.slice(-2).map((act) => [act.action, act.actor])).toEqual([
      ['host.way.renamed', ACTOR],
      ['host.way.tested', ACTOR],
    ]);
    expect(JSON.stringify(acts)).not.toMatch(new RegExp(`${PASSPHRASE}|${recoveryKey}`));
  });

  test('that somebody made with cryptsetup is named, left alone, and removed only on demand', async () => {
    await addKeyslot(disk, PASSPHRASE, 'made by hand', 7, 'guessable');
    await machine.restart();
    await unlock(PASSPHRASE);
    expect((await readVolumeNote(machine.places))?.unknownKeyslots).toEqual([7]);
    expect(await findKeyslot(disk, 'made by hand')).toBe(7);

    await removeUnknownKeyslots(machine.deps, ACTOR);

    expect((await readHeader(disk))?.keyslots).toEqual([1, 2]);
    expect((await readVolumeNote(machine.places))?.unknownKeyslots).toEqual([]);
  });
});

/** Everything that a kill at any step may leave must open, by each way in the list, and be whole after the next unlocking. */
async function expectWhole(root: Buffer, keys: string[]): Promise<void> {
  const file = await readWays(machine.places);
  await machine.restart();
  const opened = await unlock(keys[0] ?? '');
  expect(opened).toBeDefined();
  expect(await readPlacedRootKey(machine.places)).toEqual(root);
  const after = await readWays(machine.places);
  const slots = after?.ways.map((way) => way.keyslot).sort();
  expect((await readHeader(disk))?.keyslots).toEqual(slots);
  expect(after?.doomedKeyslots).toEqual([]);
  expect(after?.ways.length).toBe(file?.ways.length);
  expect((await readHeader(disk))?.label).toBe('holdfast-data');
  expect((await readHeader(disk))?.tokens.size).toBe(after?.ways.length);
  for (const key of keys) expect(slots).toContain(await findKeyslot(disk, key));
}

describe('a power cut at any step', () => {
  // Every step takes a minute on two busy cores.
  const stride = process.env.SLOW === '1' ? 1 : 2;

  test('of the claim leaves a volume that starts over, or one that both ways open', async () => {
    for (let step = 1; ; step += stride) {
      await putBack(unclaimed);
      const root = await readPlacedRootKey(machine.places);
      if (!(await cutAt(step, claim))) break;
      const choice = await findVolume(machine.deps);
      if ((await readWays(machine.places)) === undefined) expect(choice.kind).toBe('blank');
      else await expectWhole(root, [PASSPHRASE, recoveryKey]);
    }
  }, 600_000);

  test('of the claim that only hostd died from is finished when it comes back', async () => {
    await putBack(unclaimed);
    const hook = (name: string) => {
      if (name === 'host.claim.listed') throw new Error('killed');
    };
    (globalThis as Record<symbol, unknown>)[HOOK] = hook;
    await expect(claim()).rejects.toThrow('killed');
    delete (globalThis as Record<symbol, unknown>)[HOOK];

    await finishWays(machine.deps);

    expect(await readVolumeNote(machine.places)).toMatchObject({ claimed: true });
    expect(await readHeader(disk)).toMatchObject({ label: 'holdfast-data', keyslots: [1, 2] });
    await expect(readFile(memoryKeyPath(machine.places))).rejects.toThrow(/ENOENT/);
  }, 60_000);

  test('of adding or removing a way leaves every listed way working and nothing half done', async () => {
    await putBack(claimed);
    const root = await readPlacedRootKey(machine.places);
    await add({ kind: 'passphrase', label: 'Third', secret: 'nine lamps over the harbour' }, PASSPHRASE);
    const withThird = await save('third');
    const acts: [() => Promise<unknown>, string, string[]][] = [
      [
        () => add({ kind: 'passphrase', label: 'Second', secret: SECOND }, recoveryKey),
        claimed,
        [PASSPHRASE, recoveryKey],
      ],
      [
        async () => {
          const ways = (await readWays(machine.places))?.ways ?? [];
          await removeWay(machine.deps, ways.find((way) => way.label === 'Third')?.id ?? '', ACTOR);
        },
        withThird,
        [PASSPHRASE, recoveryKey],
      ],
    ];
    for (const [act, from, keys] of acts) {
      for (let step = 1, cut = true; cut; step += stride) {
        await putBack(from);
        cut = await cutAt(step, act);
        if (cut) await expectWhole(root, keys);
      }
    }
    await rm(withThird, { recursive: true, force: true });
  }, 900_000);
});
