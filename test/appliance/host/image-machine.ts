/**
 * A machine for tests: its disks are image files, its places lie below a folder, cryptsetup and blkid are the real ones. Only what
 * needs the kernel's device mapper is replaced: opening tries the key for real and then mounts nothing.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cp, mkdtemp, mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { hostPlaces, type HostPlaces } from '../../../server/appliance/host/host-places.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import type { HostDisk } from '../../../server/appliance/host/schema.ts';
import { findVolume, makeVolume, type UnlockDeps } from '../../../server/appliance/host/unlock/volume.ts';
import { findKeyslot, opensKeyslot } from '../../../server/appliance/host/volume/luks.ts';
import type { VolumeMapping } from '../../../server/appliance/host/volume/mapping.ts';
import { claimVolume, memoryKeyPath } from '../../../server/appliance/host/ways/ways.ts';
import type { SecretSealer } from '../../../server/appliance/host/ways/tpm.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { HoldfastError } from '../../../server/lib/errors.ts';
import { createLog } from '../../../server/lib/log.ts';
import { makeVolumeRecoveryKey } from '../../../server/lib/volume-recovery-key.ts';
import { requireTools } from '../../helpers/tools.ts';

export const DISK_BYTES = 40 * 1024 * 1024;

/** A TPM that a test can swap, clear or take away. */
export interface TestTpm extends SecretSealer {
  state: 'well' | 'changed' | 'missing';
}

export interface ImageMachine {
  root: string;
  places: HostPlaces;
  deps: UnlockDeps & { mapping: TestMapping };
  tpm: TestTpm;
  /** Attaches a new sparse image. @returns its path. */
  addDisk(name: string, sizeBytes?: number): Promise<string>;
  /** As a power cut: what lies in memory is gone. The disks and /state stay. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export interface TestMapping extends VolumeMapping {
  /** What was done, in order. */
  calls: string[];
}

export async function makeImageMachine(): Promise<ImageMachine> {
  requireTools('cryptsetup');
  makeKeyslotsCheap();
  const root = await mkdtemp(join(tmpdir(), 'holdfast-machine-'));
  const places = hostPlaces(root);
  const disks: HostDisk[] = [];
  const mapping = testMapping(places);
  const tpm = testTpm();
  for (const path of [places.run, places.state, places.data]) await mkdir(path, { recursive: true });
  const clock = systemClock;
  return {
    root,
    places,
    tpm,
    deps: {
      places,
      clock,
      log: createLog('silent', 'test'),
      journal: openJournal(places.state, clock),
      tpm,
      mapping,
      findDisks: async () => disks,
      configuredDisk: undefined,
      minimumBytes: 32 * 1024 * 1024,
    },
    addDisk: async (name, sizeBytes = DISK_BYTES) => {
      const path = join(root, name);
      const handle = await open(path, 'w');
      await handle.truncate(sizeBytes);
      await handle.close();
      disks.push({ path, model: null, serial: name, sizeBytes, usedFor: 'other' });
      return path;
    },
    restart: async () => {
      await mapping.close();
      await rm(places.run, { recursive: true, force: true });
      await mkdir(places.run, { recursive: true });
    },
    // A program that was killed may still be leaving.
    close: () => rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }),
  };
}

let cheap: string | undefined;

/**
 * The real cryptsetup behind a script that lowers the cost of new key slots: a test derives dozens of keys, at full cost each takes
 * a large part of a second. `atFullCost` shows what the product asks for.
 */
function makeKeyslotsCheap(): void {
  if (cheap !== undefined) return;
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-cheap-'));
  cheap = folder;
  const script = `#!/bin/bash
PATH=\${PATH#*:}
arguments=()
for argument in "$@"; do [ "$argument" = 65536 ] && argument=32; arguments+=("$argument"); done
exec cryptsetup "\${arguments[@]}"
`;
  writeFileSync(join(folder, 'cryptsetup'), script, { mode: 0o755 });
  process.env.PATH = [folder, process.env.PATH ?? ''].join(delimiter);
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
}

/** Runs `act` with key slots as the product makes them. */
export async function atFullCost<T>(act: () => Promise<T>): Promise<T> {
  const path = process.env.PATH ?? '';
  process.env.PATH = path.slice(path.indexOf(delimiter) + 1);
  try {
    return await act();
  } finally {
    process.env.PATH = path;
  }
}

function testMapping(places: HostPlaces): TestMapping {
  let mounted = false;
  const calls: string[] = [];
  return {
    calls,
    isMounted: async () => mounted,
    open: async (device, secret, keyslot) => {
      calls.push(keyslot === undefined ? 'open' : 'open by its slot');
      if (keyslot === undefined) return findKeyslot(device, secret);
      return (await opensKeyslot(device, secret, keyslot)) ? keyslot : undefined;
    },
    makeFileSystem: async () => {
      calls.push('mkfs');
      await rm(places.data, { recursive: true, force: true });
      await mkdir(places.data, { recursive: true });
    },
    mount: async () => {
      calls.push('mount');
      mounted = true;
    },
    close: async () => {
      mounted = false;
    },
    grow: async () => void calls.push('grow'),
  };
}

function testTpm(): TestTpm {
  const tpm: TestTpm = {
    state: 'well',
    seal: async (secret, pcrs) => {
      if (tpm.state === 'missing') throw new HoldfastError('unavailable', 'There is no TPM');
      return Buffer.from(JSON.stringify({ secret, pcrs })).toString('base64');
    },
    unseal: async (sealed) => {
      if (tpm.state !== 'well') throw new HoldfastError('wrong_key', 'The TPM does not give out the key');
      return (JSON.parse(Buffer.from(sealed, 'base64').toString()) as { secret: string }).secret;
    },
  };
  return tpm;
}

export const PASSPHRASE = 'four copper kettles sing';
export const ACTOR = { kind: 'console', label: 'root' } as const;

type Daily = 'passphrase' | 'tpm2';
interface Template {
  machine: ImageMachine;
  recoveryKey: string;
}
/** Formatting and claiming derive a dozen keys at full cost: once for all tests of a file. */
const templates = new Map<Daily, Promise<Template>>();

export interface ClaimedMachine extends ImageMachine {
  disk: string;
  recoveryKey: string;
}

/** A machine whose volume has an owner, after a restart: locked. */
export async function makeClaimedMachine(daily: Daily = 'passphrase'): Promise<ClaimedMachine> {
  const template = templates.get(daily) ?? makeTemplate(daily);
  templates.set(daily, template);
  const { machine: model, recoveryKey } = await template;
  const machine = await makeImageMachine();
  const disk = await machine.addDisk('disk', DISK_BYTES);
  await cp(join(model.root, 'disk'), disk);
  for (const name of ['state', 'data'])
    await cp(join(model.root, name), join(machine.root, name), { recursive: true });
  return { ...machine, disk, recoveryKey };
}

/** For the end of a test file. */
export async function dropTemplates(): Promise<void> {
  for (const template of templates.values()) await (await template).machine.close();
  templates.clear();
}

async function makeTemplate(daily: Daily): Promise<Template> {
  const machine = await makeImageMachine();
  await machine.addDisk('disk');
  const choice = await findVolume(machine.deps);
  if (choice.kind !== 'blank') throw new Error(`the disk should be blank: ${choice.kind}`);
  await makeVolume(machine.deps, choice.disk);
  const recoveryKey = makeVolumeRecoveryKey();
  await claimVolume(
    machine.deps,
    {
      actor: ACTOR,
      recoveryKey,
      daily:
        daily === 'tpm2'
          ? { kind: 'tpm2', label: 'TPM of this machine' }
          : { kind: 'passphrase', label: 'Daily', secret: PASSPHRASE },
    },
    await readFile(memoryKeyPath(machine.places), 'latin1'),
  );
  return { machine, recoveryKey };
}

/** Of the whole image, to show that nothing was changed. */
export async function digestOf(path: string): Promise<string> {
  const { size } = await stat(path);
  const handle = await open(path, 'r');
  try {
    const content = Buffer.alloc(size);
    await handle.read(content, 0, size, 0);
    return createHash('sha256').update(content).digest('hex');
  } finally {
    await handle.close();
  }
}
