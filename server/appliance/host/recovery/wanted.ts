/** What somebody asked for in a browser, as the journal keeps it: who, from where, which snapshot. In memory, no secrets. */
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import type { HostPlaces } from '../host-places.ts';
import { HostActor } from '../schema.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';
import { RecoveryPlace } from './schema.ts';
import { recoveryFolder } from './status.ts';

const RecoveryWanted = Type.Object({
  actor: HostActor,
  place: RecoveryPlace,
  snapshot: Type.String({ maxLength: 64 }),
});
export type RecoveryWanted = Static<typeof RecoveryWanted>;

/** @returns undefined for a recovery by file or by command. */
export function readRecoveryRequest(places: Pick<HostPlaces, 'run'>): Promise<RecoveryWanted | undefined> {
  return readStateFile(wantedPath(places), RecoveryWanted);
}

export function writeRecoveryRequest(places: Pick<HostPlaces, 'run'>, wanted: RecoveryWanted): Promise<void> {
  return writeStateFile(wantedPath(places), wanted, { step: 'host.recovery-wanted' });
}

export function wantedPath(places: Pick<HostPlaces, 'run'>): string {
  return join(recoveryFolder(places), 'wanted.json');
}
