/** Mounts the share or second disk that an answer file names, through whichever door of the appliance is open. */
import { isDeepStrictEqual } from 'node:util';
import type { ShareStatus } from '../appliance/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readSharePassword, type ShareAnswers } from './answer-file.ts';

export interface ShareDoor {
  list(): Promise<{ items: ShareStatus[] }>;
  add(share: Pick<ShareAnswers, 'label' | 'place'> & { password?: string }): Promise<ShareStatus>;
}

/**
 * May be run again: a share of that place is used. It stays mounted.
 *
 * @returns the folder for backups in it.
 * @throws HoldfastError `unavailable` when a share that was added before is away.
 */
export async function mountShare(
  wanted: ShareAnswers,
  door: ShareDoor,
): Promise<{ path: string; added: boolean }> {
  const { items } = await door.list();
  const present = items.find(({ place }) => isDeepStrictEqual(place, wanted.place));
  if (present?.state === 'away') {
    throw new HoldfastError('unavailable', `The share ${present.label} is away: ${present.message ?? ''}`, {
      hint: 'Make it reachable, then run this again.',
    });
  }
  if (present !== undefined) return { path: present.path, added: false };
  const { label, place } = wanted;
  const password = await readSharePassword(wanted);
  const added = await door.add({ label, place, ...(password === undefined ? {} : { password }) });
  return { path: added.path, added: true };
}
