/** How shares read. */
import type { SharePlace } from '../../../api/host.ts';
import type { PlaceKind } from './share-form.ts';

export const PLACE_KINDS: Record<PlaceKind, string> = {
  nfs: 'NFS',
  smb: 'SMB',
  disk: 'Disk',
  directory: 'Folder',
};

export function placeOf(place: SharePlace): string {
  if (place.kind === 'nfs') return `${place.server}:${place.export}`;
  if (place.kind === 'smb') return `//${place.server}/${place.share}`;
  return place.uuid;
}
