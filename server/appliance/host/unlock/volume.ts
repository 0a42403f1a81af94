/**
 * From a machine that has just started to an open data volume with the root key at hand. Guarantees: a volume of the own machine is
 * opened and never formatted; only a disk without an owner is formatted; what a power cut interrupted is taken up where it was.
 * The root key is put in place last: whoever finds it finds the volume mounted.
 */
import { randomBytes } from 'node:crypto';
import { access, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Value } from 'typebox/value';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError, isSystemError, messageOf } from '../../../lib/errors.ts';
import { writeFileDurably } from '../../../lib/files.ts';
import type { HostDeps } from '../host-app.ts';
import { makeRootKey, placeRootKey, rootKeyFile, unwrapRootKey } from '../ways/root-key.ts';
import type { HostActor, HostDisk } from '../schema.ts';
import { isBegunDisk, noteBegun, readBegun } from '../volume/begun.ts';
import { chooseVolume, type VolumeChoice } from '../volume/choice.ts';
import { saveHeader } from '../volume/header.ts';
import { formatVolume, readHeader, TOKEN_TYPE, UNCLAIMED_LABEL } from '../volume/luks.ts';
import type { VolumeMapping } from '../volume/mapping.ts';
import { readVolumeNote, writeVolumeNote } from '../volume/note.ts';
import { probeDisk } from '../volume/probe.ts';
import { reconcileWays } from '../ways/reconcile.ts';
import type { SecretSealer } from '../ways/tpm.ts';
import { findWaySecret, secretCandidates } from '../ways/secret.ts';
import { memoryKeyPath } from '../ways/ways.ts';
import { readWays, StoredWay, waysPath, withWaysLock, writeWays, type WaysFile } from '../ways/file.ts';

export interface UnlockDeps extends HostDeps {
  tpm: SecretSealer;
  mapping: VolumeMapping;
  findDisks(): Promise<HostDisk[]>;
  /** The data disk that the configuration names. */
  configuredDisk: string | undefined;
  /** A smaller disk is not formatted. */
  minimumBytes: number;
}

/** Nobody asked: the machine does it by itself when it starts. */
const MACHINE = { kind: 'system', label: 'unlock' } as const;

/** Stands for the volume of a list of ways that cannot be read: then nothing is formatted either. */
const UNREADABLE = 'unreadable';

export async function isOpen(deps: Pick<UnlockDeps, 'places' | 'mapping'>): Promise<boolean> {
  if (!(await deps.mapping.isMounted()) || (await readVolumeNote(deps.places)) === undefined) return false;
  return access(rootKeyFile(deps.places)).then(
    () => true,
    () => false,
  );
}

/** Looks at every disk anew. */
export async function findVolume(deps: UnlockDeps): Promise<VolumeChoice> {
  const [listed, ways, begun, configuredPath] = await Promise.all([
    deps.findDisks(),
    readOwnUuid(deps),
    readBegun(deps.places),
    resolveDevice(deps.configuredDisk),
  ]);
  const disks = await Promise.all(
    listed.map(async (disk) => ({
      ...disk,
      content:
        disk.usedFor === 'system'
          ? ({ kind: 'unknown' } as const)
          : await probeDisk(disk.path, disk.sizeBytes),
    })),
  );
  return chooseVolume({
    disks,
    ownUuid: ways,
    configuredPath,
    isBegun: (disk) => isBegunDisk(begun, disk),
    minimumBytes: deps.minimumBytes,
  });
}

/** Makes the volume of a first boot: open, and with its only key in memory until the claim. */
export async function makeVolume(deps: UnlockDeps, disk: HostDisk): Promise<void> {
  const { places, mapping } = deps;
  await mapping.close();
  const { path, serial, sizeBytes } = disk;
  await noteBegun(places, disk);
  const secret = randomBytes(32).toString('hex');
  await writeFileDurably(memoryKeyPath(places), secret, { mode: 0o400, step: 'host.volume.memory-key' });
  await deps.journal.append(MACHINE, {
    action: 'host.volume.formatted',
    objectType: 'disk',
    detail: { path, serial, sizeBytes },
  });
  await formatVolume(path, secret, UNCLAIMED_LABEL);
  crashPoint('host.volume.formatted');
  if ((await mapping.open(path, secret)) === undefined)
    throw new HoldfastError('integrity_failure', 'The new data volume does not open');
  await mapping.makeFileSystem();
  crashPoint('host.volume.filled');
  await mapping.mount();
  const header = await readHeader(path);
  if (header === undefined) throw new HoldfastError('integrity_failure', 'The new data volume has no header');
  await writeVolumeNote(places, {
    uuid: header.uuid,
    device: path,
    claimed: false,
    wayId: null,
    unknownKeyslots: [],
    lostWays: [],
  });
  const root = makeRootKey();
  await placeRootKey(places, root);
  root.fill(0);
}

/** What opened the volume. */
export interface Opening {
  way: StoredWay;
  tookOver: boolean;
}

/**
 * Opens the volume with what somebody typed.
 *
 * @returns undefined for a wrong key.
 * @throws HoldfastError `wrong_state` when the key opens the volume but no root key goes with it.
 */
export async function openByKey(
  deps: UnlockDeps,
  choice: VolumeChoice & { kind: 'own' | 'take-over' },
  typed: string,
  actor: HostActor,
): Promise<Opening | undefined> {
  for (const secret of secretCandidates(typed)) {
    const opened = await openBySecret(deps, choice, secret, actor);
    if (opened !== undefined) return opened;
  }
  return undefined;
}

/** Opens the volume with what this machine itself can have: its TPM, then the hook. @returns why each of them did not, if none did. */
export async function openByMachine(
  deps: UnlockDeps,
  choice: VolumeChoice & { kind: 'own' },
): Promise<Opening | { failures: string[] }> {
  const file = await readWays(deps.places);
  const failures: string[] = [];
  for (const kind of ['tpm2', 'kms-hook'] as const) {
    for (const way of file?.ways.filter((candidate) => candidate.kind === kind) ?? []) {
      try {
        const secret = await findWaySecret(deps, way, undefined);
        const opened = await openBySecret(deps, choice, secret, { ...MACHINE, label: kind }, way.keyslot);
        if (opened !== undefined) return opened;
        failures.push(`${way.label}: its key does not open the volume.`);
      } catch (error) {
        deps.log.warn({ err: error, wayId: way.id }, 'A way of this machine did not open the volume');
        failures.push(`${way.label}: ${messageOf(error)}.`);
      }
      await deps.journal.append(
        { ...MACHINE, label: kind },
        {
          action: 'host.way.refused',
          objectType: 'unlock-way',
          objectId: way.id,
          result: 'refused',
          detail: { kind },
        },
      );
    }
  }
  return { failures };
}

async function openBySecret(
  deps: UnlockDeps,
  choice: VolumeChoice & { kind: 'own' | 'take-over' },
  secret: string,
  actor: HostActor,
  onlyKeyslot?: number,
): Promise<Opening | undefined> {
  const { mapping, places } = deps;
  const device = choice.disk.path;
  return withWaysLock(places, async () => {
    const file = choice.kind === 'own' ? await readWays(places) : await readMirroredWays(device);
    await mapping.close();
    const keyslot = await mapping.open(device, secret, onlyKeyslot);
    if (keyslot === undefined) return undefined;
    try {
      const way = file?.ways.find((candidate) => candidate.keyslot === keyslot);
      if (file === undefined || way === undefined) throw noRootKey();
      const root = await unwrapRootKey(way, secret, file.volumeUuid);
      await deps.journal.append(actor, {
        action: choice.kind === 'own' ? 'host.volume.unlocked' : 'host.volume.taken-over',
        objectType: 'volume',
        objectId: file.volumeUuid,
        detail: { wayId: way.id, kind: way.kind },
      });
      if (choice.kind === 'take-over') await setWaysAside(deps);
      await finishOpening(deps, device, file, way);
      await placeRootKey(places, root);
      root.fill(0);
      return { way, tookOver: choice.kind === 'take-over' };
    } catch (error) {
      await mapping.close();
      throw error;
    }
  });
}

async function finishOpening(
  deps: UnlockDeps,
  device: string,
  file: WaysFile,
  way: StoredWay,
): Promise<void> {
  const { places } = deps;
  await deps.mapping.mount();
  const used = { ...way, lastUsedAt: deps.clock.now().toISOString() };
  const listed = { ...file, ways: file.ways.map((other) => (other.id === way.id ? used : other)) };
  await writeWays(places, listed);
  crashPoint('host.unlock.listed');
  const { unknownKeyslots, lostWays } = await reconcileWays(places, device, listed);
  await saveHeader(places, device);
  await writeVolumeNote(places, {
    uuid: file.volumeUuid,
    device,
    claimed: true,
    wayId: way.id,
    unknownKeyslots,
    lostWays,
  });
}

/** The ways whose copies stand in the header of a volume that another system disk knew. */
async function readMirroredWays(device: string): Promise<WaysFile | undefined> {
  const header = await readHeader(device);
  if (header === undefined) return undefined;
  const ways = [...header.tokens.values()].flatMap((token) =>
    token.type === TOKEN_TYPE && Value.Check(StoredWay, token.way) ? [token.way] : [],
  );
  return { format: 1, volumeUuid: header.uuid, ways, doomedKeyslots: [] };
}

/** The list of ways of a volume that is not there stays, under another name: it may be found again. */
async function setWaysAside({ places }: Pick<UnlockDeps, 'places'>): Promise<void> {
  const uuid = await readOwnUuid({ places });
  if (uuid === undefined) return;
  await rename(waysPath(places), join(places.state, 'unlock', `ways.${uuid}.json`));
}

/** Of the volume that this machine's list of ways is for. */
export async function readOwnUuid({ places }: Pick<UnlockDeps, 'places'>): Promise<string | undefined> {
  try {
    return (await readWays(places))?.volumeUuid;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'integrity_failure') return UNREADABLE;
    throw error;
  }
}

/** `/dev/disk/by-id/…` and the like, as the kernel names it. */
async function resolveDevice(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  return realpath(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return path;
    throw error;
  });
}

function noRootKey(): HoldfastError {
  return new HoldfastError(
    'wrong_state',
    'This key opens the volume, but the root key of the appliance does not go with it',
    {
      hint: 'Use the recovery key of the newest kit; if there is none, recover from a backup onto an empty disk.',
    },
  );
}
