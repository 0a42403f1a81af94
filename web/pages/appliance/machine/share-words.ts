/** How shares read. */
import type { SharePlace } from '../../../api/host.ts';

export const SHARE_KINDS: Record<SharePlace['kind'], string> = {
  nfs: 'NFS',
  smb: 'SMB',
  disk: 'Disk',
};

export function placeOf(place: SharePlace): string {
  if (place.kind === 'nfs') return `${place.server}:${place.export}`;
  if (place.kind === 'smb') return `//${place.server}/${place.share}`;
  return place.uuid;
}
