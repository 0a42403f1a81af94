/** Everything that hostd knows about its machine, for the people who look after it. Holds no secret. */
import { access, readFile, statfs } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';
import { runProcess } from '../../lib/spawn.ts';
import { listDisks } from './disks.ts';
import type { HostDeps } from './host-app.ts';
import { readImageFacts } from './image-facts.ts';
import { readRegion } from './region.ts';
import type { HostState, VolumeFacts } from './schema.ts';
import { readVolumeNote } from './volume/note.ts';
import { publicWay, readWays } from './ways/file.ts';

export async function readHostState(deps: Pick<HostDeps, 'places' | 'clock'>): Promise<HostState> {
  const { places } = deps;
  const [image, slot, disks, volume, ways, tpm, region, synchronized] = await Promise.all([
    readImageFacts(places),
    readBootedSlot(),
    listDisks(),
    readVolumeFacts(deps),
    readWays(places),
    hasTpm(),
    readRegion(places),
    isTimeSynchronized(),
  ]);
  return {
    image: {
      version: image.version,
      builtAt: image.builtAt ?? null,
      gitCommit: image.gitCommit ?? null,
      slot,
    },
    hostName: hostname(),
    uptimeSeconds: Math.floor(uptime()),
    disks,
    volume,
    ways: (ways?.ways ?? []).map(publicWay),
    tpm,
    region,
    time: { now: deps.clock.now().toISOString(), synchronized },
  };
}

/** From what unlocking left in memory: the state says how the volume was opened, not what a disk might hold now. */
async function readVolumeFacts({ places }: Pick<HostDeps, 'places'>): Promise<VolumeFacts> {
  const note = await readVolumeNote(places);
  if (note === undefined) {
    return {
      state: 'none',
      uuid: null,
      device: null,
      sizeBytes: 0,
      freeBytes: 0,
      unknownKeyslots: [],
      lostWays: [],
    };
  }
  const { bsize, blocks, bavail } = await statfs(places.data);
  return {
    state: note.claimed ? 'open' : 'unclaimed',
    uuid: note.uuid,
    device: note.device,
    sizeBytes: blocks * bsize,
    freeBytes: bavail * bsize,
    unknownKeyslots: note.unknownKeyslots,
    lostWays: note.lostWays,
  };
}

/** The slot that the bootloader handed to the kernel. */
async function readBootedSlot(): Promise<'A' | 'B' | null> {
  const line = await readFile('/proc/cmdline', 'utf8').catch(() => '');
  const slot = /(?:^|\s)rauc\.slot=([AB])(?:\s|$)/.exec(line)?.[1];
  return slot === 'A' || slot === 'B' ? slot : null;
}

/** A resource manager device appears only for TPM 2.0. */
export async function hasTpm(): Promise<boolean> {
  return access('/dev/tpmrm0').then(
    () => true,
    () => false,
  );
}

/** What the kernel was told by the time service. */
async function isTimeSynchronized(): Promise<boolean | null> {
  const result = await runProcess('timedatectl', ['show', '--property=NTPSynchronized', '--value'], {
    timeoutMs: 5_000,
  }).catch(() => undefined);
  if (result?.exitCode !== 0) return null;
  return result.stdout.trim() === 'yes';
}
