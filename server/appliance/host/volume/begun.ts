/**
 * The disk on which this machine began a volume that nobody claimed yet. Only with this note may a disk that is not blank be
 * formatted: a power cut can leave a header that nothing recognises any more.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { syncDirectory } from '../../../lib/files.ts';
import type { HostPlaces } from '../host-places.ts';
import type { HostDisk } from '../schema.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';

const BegunVolume = Type.Object({
  path: Type.String(),
  serial: Type.Union([Type.String(), Type.Null()]),
  sizeBytes: Type.Number(),
});
type BegunVolume = Static<typeof BegunVolume>;

export async function noteBegun(places: Pick<HostPlaces, 'state'>, disk: HostDisk): Promise<void> {
  const { path, serial, sizeBytes } = disk;
  await writeStateFile(notePath(places), { path, serial, sizeBytes }, { step: 'host.volume.begun' });
}

/** After the claim no disk is a begun one any more. */
export async function forgetBegun(places: Pick<HostPlaces, 'state'>): Promise<void> {
  await rm(notePath(places), { force: true });
  await syncDirectory(join(notePath(places), '..'));
}

/** A note that cannot be read allows nothing. */
export async function readBegun(places: Pick<HostPlaces, 'state'>): Promise<BegunVolume | undefined> {
  return readStateFile(notePath(places), BegunVolume).catch(() => undefined);
}

/** A serial number is the disk's own; without one, place and size must do. */
export function isBegunDisk(begun: BegunVolume | undefined, disk: HostDisk): boolean {
  if (begun?.sizeBytes !== disk.sizeBytes) return false;
  return begun.serial === null ? begun.path === disk.path : begun.serial === disk.serial;
}

function notePath({ state }: Pick<HostPlaces, 'state'>): string {
  return join(state, 'unlock', 'begun.json');
}
