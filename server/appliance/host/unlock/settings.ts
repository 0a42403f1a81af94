/** What unlocking takes from the machine's settings, which other verbs write, and what it tells the console. */
import { join } from 'node:path';
import { Type } from 'typebox';
import type { HostPlaces } from '../host-places.ts';
import { readStateFile, writeStateFile } from '../state-file.ts';
import type { DeskState } from './desk.ts';

/** The part of /state/settings.json that counts here; the rest is others'. */
const Settings = Type.Object({
  managementNetworks: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 100 })),
});

/**
 * From where the unlock page may be asked for; none: from everywhere.
 *
 * @throws HoldfastError `integrity_failure` when the settings cannot be read.
 */
export async function readManagementNetworks(places: Pick<HostPlaces, 'state'>): Promise<string[]> {
  const settings = await readStateFile(join(places.state, 'settings.json'), Settings);
  return settings?.managementNetworks ?? [];
}

/** What the console shows of a locked machine: /run/holdfast/unlock.json. */
export interface UnlockNote {
  state: DeskState | undefined;
  /** SHA-256 of the unlock page's certificate; null while there is no page. */
  fingerprint: string | null;
  port: number | null;
}

export async function writeUnlockNote(places: Pick<HostPlaces, 'run'>, note: UnlockNote): Promise<void> {
  await writeStateFile(join(places.run, 'unlock.json'), note, { step: 'host.unlock-note', mode: 0o644 });
}
