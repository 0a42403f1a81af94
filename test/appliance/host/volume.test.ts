import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readPlacedRootKey, rootKeyFile } from '../../../server/appliance/host/ways/root-key.ts';
import {
  findVolume,
  isOpen,
  makeVolume,
  openByKey,
  openByMachine,
} from '../../../server/appliance/host/unlock/volume.ts';
import type { VolumeChoice } from '../../../server/appliance/host/volume/choice.ts';
import {
  addKeyslot,
  findKeyslot,
  formatVolume,
  readHeader,
} from '../../../server/appliance/host/volume/luks.ts';
import { readVolumeNote } from '../../../server/appliance/host/volume/note.ts';
import { readWays, waysPath } from '../../../server/appliance/host/ways/file.ts';
import { claimVolume, memoryKeyPath } from '../../../server/appliance/host/ways/ways.ts';
import { rootKeyFile as keydRootKey } from '../../../server/keys/index.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { makeVolumeRecoveryKey } from '../../../server/lib/volume-recovery-key.ts';
import {
  ACTOR,
  atFullCost,
  digestOf,
  DISK_BYTES,
  dropTemplates,
  makeClaimedMachine,
  makeImageMachine,
  PASSPHRASE,
  type ClaimedMachine,
  type ImageMachine,
} from './image-machine.ts';

let machine: ImageMachine;
beforeEach(async () => {
  machine = await makeImageMachine();
});
afterEach(() => machine.close());
afterAll(dropTemplates);

async function firstBoot(): Promise<VolumeChoice> {
  const choice = await findVolume(machine.deps);
  if (choice.kind === 'blank') await makeVolume(machine.deps, choice.disk);
  return choice;
}

async function claim(recoveryKey = makeVolumeRecoveryKey()): Promise<string> {
  const memoryKey = await readFile(memoryKeyPath(machine.places), 'latin1');
  await claimVolume(
    machine.deps,
    { actor: ACTOR, recoveryKey, daily: { kind: 'passphrase', label: 'Daily', secret: PASSPHRASE } },
    memoryKey,
  );
  return recoveryKey;
}

/** Takes the place of the test's machine. */
async function claimedMachine(daily: 'passphrase' | 'tpm2' = 'passphrase'): Promise<ClaimedMachine> {
  await machine.close();
  const claimed = await makeClaimedMachine(daily);
  machine = claimed;
  return claimed;
}

async function unlock(key: string) {
  const choice = await findVolume(machine.deps);
  if (choice.kind !== 'own' && choice.kind !== 'take-over')
    throw new Error(`expected a volume, found ${JSON.stringify(choice)}`);
  return openByKey(machine.deps, choice, key, ACTOR);
}

const foreign: [string, (path: string) => Promise<unknown>, RegExp][] = [
  [
    'a file system',
    (path) => runProcess('mkfs.ext4', ['-q', '-F', '-L', 'photos', path], { timeoutMs: 30_000 }),
    /ext4 file system "photos"/,
  ],
  ['a LUKS volume of somebody', (path) => formatVolume(path, 'theirs', 'laptop'), /LUKS volume "laptop"/],
  ['bytes at its beginning', (path) => writeAt(path, 4096, 'something'), /nothing recognises/],
  ['bytes at its end', (path) => writeAt(path, DISK_BYTES - 600, 'something'), /nothing recognises/],
];

describe('a disk that is not ours', () => {
  for (const [name, fill, words] of foreign) {
    test(`with ${name} is never formatted, and what it holds is said`, async () => {
      const path = await machine.addDisk('disk');
      await fill(path);
      const before = await digestOf(path);

      const choice = await firstBoot();

      expect(choice).toMatchObject({ kind: 'foreign', what: expect.stringMatching(words) as string });
      expect(await digestOf(path)).toBe(before);
    });
  }

  test('is left alone while the own one is missing, even when it is blank', async () => {
    const { disk } = await claimedMachine();
    await rm(disk);
    const disks = await machine.deps.findDisks();
    disks.splice(0);
    await machine.addDisk('blank');

    expect(await findVolume(machine.deps)).toEqual({ kind: 'own-missing' });
  });

  test('that is too small, one of several, or a seed of cloud-init is not taken', async () => {
    expect(await findVolume(machine.deps)).toEqual({ kind: 'none' });
    const seed = await machine.addDisk('seed');
    await runProcess('mkfs.ext4', ['-q', '-F', '-L', 'CIDATA', seed], { timeoutMs: 30_000 });
    expect(await findVolume(machine.deps)).toEqual({ kind: 'none' });
    await machine.addDisk('small', 8 * 1024 * 1024);
    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'too-small' });
    await machine.addDisk('one');
    const two = await machine.addDisk('two');
    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'several' });

    machine.deps.configuredDisk = two;

    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'blank', disk: { path: two } });
  });

  test('that cannot be read is said to have failed', async () => {
    const path = await machine.addDisk('broken');
    await rm(path);

    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'failed' });
  });
});

describe('a key slot that lasts', () => {
  test('costs whoever guesses 64 MiB and four passes of argon2id, on a slow machine too', async () => {
    const disk = await machine.addDisk('disk');
    await atFullCost(() => formatVolume(disk, 'a key', 'holdfast-unclaimed'));
    await atFullCost(() => addKeyslot(disk, 'a key', 'another', 3, 'guessable'));
    await atFullCost(() => addKeyslot(disk, 'a key', 'of 32 random bytes', 4, 'random'));

    const { stdout } = await runProcess('cryptsetup', ['luksDump', '--dump-json-metadata', disk], {
      timeoutMs: 30_000,
    });
    const { keyslots, segments } = JSON.parse(stdout) as {
      keyslots: Record<string, { key_size: number; kdf: object }>;
      segments: Record<string, { encryption: string }>;
    };
    expect(Object.keys(keyslots)).toEqual(['0', '3', '4']);
    expect(keyslots['3']?.kdf).toMatchObject({ type: 'argon2id', memory: 65_536, time: 4 });
    // As of a TPM or a recovery key: nobody guesses it, and every start pays for it.
    expect(keyslots['4']?.kdf).toMatchObject({ type: 'argon2id', memory: 1_024, time: 4 });
    // The random key of a first boot, gone with the claim.
    expect(keyslots['0']?.kdf).toMatchObject({ type: 'pbkdf2' });
    for (const slot of Object.values(keyslots)) expect(slot.key_size).toBe(64);
    expect(segments['0']?.encryption).toBe('aes-xts-plain64');
  });
});

describe('a first boot', () => {
  test('makes an encrypted volume whose only key lies in memory, in a form that keyd reads', async () => {
    const disk = await machine.addDisk('disk');

    expect((await firstBoot()).kind).toBe('blank');

    const header = await readHeader(disk);
    expect(header).toMatchObject({ label: 'holdfast-unclaimed', keyslots: [0] });
    const memoryKey = await readFile(memoryKeyPath(machine.places), 'latin1');
    expect(await findKeyslot(disk, memoryKey)).toBe(0);
    expect(await readWays(machine.places)).toBeUndefined();
    expect(await isOpen(machine.deps)).toBe(true);
    const root = await readPlacedRootKey(machine.places);
    expect(await keydRootKey(rootKeyFile(machine.places)).read()).toEqual(root);
    const kept = await Promise.all(
      ['journal.jsonl', 'unlock/begun.json'].map((name) =>
        readFile(join(machine.places.state, name), 'utf8'),
      ),
    );
    expect(kept.join('')).not.toContain(memoryKey);
  });

  test('starts over after a restart without a claim, with another key', async () => {
    const disk = await machine.addDisk('disk');
    await firstBoot();
    const before = await readHeader(disk);
    await machine.restart();

    expect((await firstBoot()).kind).toBe('blank');

    expect((await readHeader(disk))?.uuid).not.toBe(before?.uuid);
  });

  test('that a power cut stopped while it wrote the header starts over on that disk, and on no other', async () => {
    const disk = await machine.addDisk('disk');
    await firstBoot();
    // Both copies of the header torn: nothing recognises what is left.
    await writeAt(disk, 0, '\0'.repeat(512));
    await writeAt(disk, 0x4000, '\0'.repeat(512));
    await machine.restart();
    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'blank' });

    await rm(join(machine.places.state, 'unlock', 'begun.json'));

    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'foreign' });
  });
});

describe('after the claim', () => {
  test('passphrase and recovery key open volume and root key; the key in memory is gone from both', async () => {
    const disk = await machine.addDisk('disk');
    await firstBoot();
    const memoryKey = await readFile(memoryKeyPath(machine.places), 'latin1');
    const root = await readPlacedRootKey(machine.places);
    const recoveryKey = await claim();

    expect(await readHeader(disk)).toMatchObject({ label: 'holdfast-data', keyslots: [1, 2] });
    expect(await findKeyslot(disk, memoryKey)).toBeUndefined();
    await expect(readFile(memoryKeyPath(machine.places))).rejects.toThrow(/ENOENT/);
    for (const key of [PASSPHRASE, recoveryKey, recoveryKey.toLowerCase().replaceAll('-', ' ')]) {
      await machine.restart();
      expect(await isOpen(machine.deps)).toBe(false);
      expect(await unlock(key)).toMatchObject({ tookOver: false });
      expect(await readPlacedRootKey(machine.places)).toEqual(root);
      expect(await isOpen(machine.deps)).toBe(true);
    }
    expect((await readWays(machine.places))?.ways.every((way) => way.lastUsedAt !== null)).toBe(true);
  });

  test('a wrong key opens nothing and changes nothing', async () => {
    const { disk } = await claimedMachine();
    const before = [await digestOf(disk), await readFile(waysPath(machine.places), 'utf8')];

    expect(await unlock('four copper kettles sin')).toBeUndefined();
    expect(await unlock(makeVolumeRecoveryKey())).toBeUndefined();

    expect([await digestOf(disk), await readFile(waysPath(machine.places), 'utf8')]).toEqual(before);
    expect(await isOpen(machine.deps)).toBe(false);
  });

  test('a second claim is refused', async () => {
    await claimedMachine();
    await unlock(PASSPHRASE);

    await expect(
      claimVolume(
        machine.deps,
        {
          actor: ACTOR,
          recoveryKey: makeVolumeRecoveryKey(),
          daily: { kind: 'tpm2', label: 'TPM' },
        },
        'anything',
      ),
    ).rejects.toMatchObject({ code: 'wrong_state' });
  });

  test('the TPM opens it without anybody; a changed or missing one says why and leaves it locked', async () => {
    await claimedMachine('tpm2');
    for (const state of ['changed', 'missing'] as const) {
      await machine.restart();
      machine.tpm.state = state;
      const choice = await findVolume(machine.deps);
      expect(choice.kind).toBe('own');
      if (choice.kind === 'own')
        expect(await openByMachine(machine.deps, choice)).toEqual({
          failures: ['TPM of this machine: The TPM does not give out the key.'],
        });
      expect(await isOpen(machine.deps)).toBe(false);
    }

    machine.tpm.state = 'well';
    const choice = await findVolume(machine.deps);
    if (choice.kind === 'own')
      expect(await openByMachine(machine.deps, choice)).toMatchObject({ way: { kind: 'tpm2' } });

    expect(await isOpen(machine.deps)).toBe(true);
    // Trying the others first would cost the time of each.
    expect(machine.deps.mapping.calls).toContain('open by its slot');
  });

  test('another system takes the disk over with the recovery key, and keeps the root key', async () => {
    const { disk, recoveryKey } = await claimedMachine();
    await unlock(PASSPHRASE);
    const root = await readPlacedRootKey(machine.places);
    await machine.restart();
    await rm(machine.places.state, { recursive: true });

    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'take-over', ownIsMissing: false });
    const before = await digestOf(disk);
    expect(await unlock('not the key of this volume')).toBeUndefined();
    expect(await digestOf(disk)).toBe(before);
    expect(await unlock(recoveryKey)).toMatchObject({ tookOver: true });

    expect(await readPlacedRootKey(machine.places)).toEqual(root);
    expect((await readWays(machine.places))?.ways.map((way) => way.kind).sort()).toEqual([
      'passphrase',
      'recovery-key',
    ]);
    await machine.restart();
    expect(await unlock(PASSPHRASE)).toMatchObject({ tookOver: false });
  });

  test('a damaged list of ways never leads to formatting: the disk is taken over with its own keys', async () => {
    const { recoveryKey } = await claimedMachine();
    await writeFile(waysPath(machine.places), '{"format":1');

    expect(await findVolume(machine.deps)).toMatchObject({ kind: 'take-over', ownIsMissing: true });
    expect(await unlock(recoveryKey)).toMatchObject({ tookOver: true });
  });

  test('an older copy of the disk opens with what it has, and the lost ways are named', async () => {
    const { disk, recoveryKey } = await claimedMachine();
    await runProcess('cryptsetup', ['luksKillSlot', '--batch-mode', disk, '2'], { timeoutMs: 30_000 });

    expect(await unlock(recoveryKey)).toBeDefined();

    const note = await readVolumeNote(machine.places);
    const ways = await readWays(machine.places);
    expect(note?.lostWays).toEqual(
      ways?.ways.filter((way) => way.kind === 'passphrase').map((way) => way.id),
    );
  });

  test('the copy of the header inside the volume opens with the same keys and holds no root key', async () => {
    await claimedMachine();
    const copy = join(machine.places.data, 'system', 'luks-header.img');

    expect((await readHeader(copy))?.tokens.size).toBe(0);
    expect((await readHeader(copy))?.keyslots).toEqual([1, 2]);
    const wrapped = (await readWays(machine.places))?.ways.map((way) => way.wrappedRootKey) ?? [];
    const content = (await readFile(copy)).toString('latin1');
    for (const text of wrapped) expect(content).not.toContain(text);
  });
});

async function writeAt(path: string, position: number, text: string): Promise<void> {
  const handle = await open(path, 'r+');
  await handle.write(text, position);
  await handle.close();
}
