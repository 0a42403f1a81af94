/**
 * A machine for tests: its disks are image files, its places lie below a folder, cryptsetup and blkid are the real ones. Only what
 * needs the kernel's device mapper is replaced: opening tries the key for real and then mounts nothing.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostPlaces, type HostPlaces } from '../../../server/appliance/host/host-places.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import type { HostDisk } from '../../../server/appliance/host/schema.ts';
import type { UnlockDeps } from '../../../server/appliance/host/unlock-volume.ts';
import { findKeyslot } from '../../../server/appliance/host/volume-luks.ts';
import type { VolumeMapping } from '../../../server/appliance/host/volume-mapping.ts';
import type { SecretSealer } from '../../../server/appliance/host/ways-tpm.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { HoldfastError } from '../../../server/lib/errors.ts';
import { createLog } from '../../../server/lib/log.ts';
import { requireVolumeTools } from '../../helpers/tools.ts';

export const DISK_BYTES = 64 * 1024 * 1024;

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
  requireVolumeTools();
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
    close: () => rm(root, { recursive: true, force: true }),
  };
}

function testMapping(places: HostPlaces): TestMapping {
  let mounted = false;
  const calls: string[] = [];
  return {
    calls,
    isMounted: async () => mounted,
    open: async (device, secret) => {
      calls.push('open');
      return findKeyslot(device, secret);
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
