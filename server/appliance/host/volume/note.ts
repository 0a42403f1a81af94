/** What unlocking tells those who come after it, in memory: which volume is open, and what was odd about it. */
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Id } from '../../../lib/shapes.ts';
import type { HostPlaces } from '../host-places.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';

const VolumeNote = Type.Object({
  uuid: Id,
  device: Type.String(),
  /** False from the first boot to the claim: the volume's only key lies in memory. */
  claimed: Type.Boolean(),
  /** The way that opened it; null at the first boot. */
  wayId: Type.Union([Id, Type.Null()]),
  unknownKeyslots: Type.Array(Type.Integer()),
  lostWays: Type.Array(Id),
});
export type VolumeNote = Static<typeof VolumeNote>;

function notePath(places: Pick<HostPlaces, 'run'>): string {
  return join(places.run, 'volume.json');
}

/** @returns undefined while no volume is open. */
export function readVolumeNote(places: Pick<HostPlaces, 'run'>): Promise<VolumeNote | undefined> {
  return readStateFile(notePath(places), VolumeNote);
}

export async function writeVolumeNote(places: Pick<HostPlaces, 'run'>, note: VolumeNote): Promise<void> {
  await writeStateFile(notePath(places), note, { step: 'host.volume-note' });
}
