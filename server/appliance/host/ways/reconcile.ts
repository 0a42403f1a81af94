/**
 * Brings header and list of ways together after something was cut off. Relies on the order in which slots change: a slot is
 * named as doomed before it is made or killed, and a way stands in the list only while its slot is there. So whatever is killed at
 * whatever step, every way in the list opens the volume, and a slot that no way names is doomed.
 */
import { crashPoint } from '../../../lib/crash-point.ts';
import type { HostPlaces } from '../host-places.ts';
import {
  addToken,
  CLAIMED_LABEL,
  killKeyslot,
  readHeader,
  removeToken,
  setLabel,
  TOKEN_TYPE,
  type LuksHeader,
} from '../volume/luks.ts';
import { writeWays, type StoredWay, type WaysFile } from './file.ts';

export interface Reconciled {
  file: WaysFile;
  /** Slots that neither we made nor anything explains. They are left alone. */
  unknownKeyslots: number[];
  /** Ways whose slot is not in the header: it is an older copy. */
  lostWays: string[];
}

/** Ways whose secret a person holds are mirrored in the header, so that the disk alone can be taken over. */
const MIRRORED: readonly StoredWay['kind'][] = ['passphrase', 'recovery-key'];

/**
 * Finishes what is half done. Call it under the lock of the ways, once the volume has been opened by one of them.
 */
export async function reconcileWays(
  places: Pick<HostPlaces, 'state'>,
  device: string,
  file: WaysFile,
): Promise<Reconciled> {
  const named = new Set(file.ways.map((way) => way.keyslot));
  for (const keyslot of file.doomedKeyslots.filter((slot) => !named.has(slot))) {
    await killKeyslot(device, keyslot);
    crashPoint('host.ways.killed');
  }
  const settled: WaysFile = { ...file, doomedKeyslots: [] };
  if (file.doomedKeyslots.length > 0) await writeWays(places, settled);
  const header = await readHeader(device);
  if (header === undefined) return { file: settled, unknownKeyslots: [], lostWays: [] };
  if (header.label !== CLAIMED_LABEL) await setLabel(device, CLAIMED_LABEL);
  crashPoint('host.ways.labelled');
  await mirrorWays(device, header, settled);
  return {
    file: settled,
    unknownKeyslots: header.keyslots.filter((slot) => !named.has(slot)),
    lostWays: file.ways.filter((way) => !header.keyslots.includes(way.keyslot)).map((way) => way.id),
  };
}

async function mirrorWays(device: string, header: LuksHeader, file: WaysFile): Promise<void> {
  const wanted = new Map(
    file.ways
      .filter((way) => MIRRORED.includes(way.kind) && header.keyslots.includes(way.keyslot))
      .map((way) => [JSON.stringify(mirrorOf(way)), way] as const),
  );
  for (const [id, token] of header.tokens) {
    if (token.type !== TOKEN_TYPE) continue;
    if (!wanted.delete(JSON.stringify(token.way))) await removeToken(device, id);
  }
  for (const way of wanted.values()) await addToken(device, way.keyslot, { way: mirrorOf(way) });
  crashPoint('host.ways.mirrored');
}

/** Times of use change too often to be worth a write to the header. */
function mirrorOf(way: StoredWay): StoredWay {
  const { id, kind, label, keyslot, kdf, salt, wrappedRootKey, createdAt } = way;
  return {
    id,
    kind,
    label,
    keyslot,
    kdf,
    salt,
    wrappedRootKey,
    createdAt,
    lastUsedAt: null,
    lastTestedAt: null,
  };
}
