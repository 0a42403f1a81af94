/**
 * A copy of the volume's header inside the volume: with the snapshots it travels to the targets, for a disk whose first sectors
 * fail. The wrapped root keys in it are taken out before: no backup holds R, not even wrapped.
 */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makePrivateDirectory, syncDirectory, temporaryBeside } from '../../../lib/files.ts';
import type { HostPlaces } from '../host-places.ts';
import { backUpHeader, readHeader, removeToken, TOKEN_TYPE } from './luks.ts';

/** Replaces the copy. Call it after every change of the slots; the volume is mounted. */
export async function saveHeader(places: Pick<HostPlaces, 'data'>, device: string): Promise<void> {
  const directory = join(places.data, 'system');
  await makePrivateDirectory(directory);
  const path = join(directory, 'luks-header.img');
  const temporary = temporaryBeside(path);
  try {
    await backUpHeader(device, temporary);
    const copy = await readHeader(temporary);
    for (const [id, token] of copy?.tokens ?? []) {
      if (token.type === TOKEN_TYPE) await removeToken(temporary, id);
    }
    await rename(temporary, path);
    await syncDirectory(directory);
  } finally {
    await rm(temporary, { force: true });
  }
}
