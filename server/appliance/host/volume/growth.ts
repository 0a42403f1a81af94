/** Lets an open volume take what its disk has grown by. At every start that happens by itself. */
import { HoldfastError } from '../../../lib/errors.ts';
import type { GrowVolumeRequest } from '../schema.ts';
import { readVolumeNote } from './note.ts';
import type { VolumeMapping } from './mapping.ts';
import { readWays, withWaysLock } from '../ways/file.ts';
import { findExistingSecret, type WaysDeps } from '../ways/secret.ts';

/** @throws HoldfastError `wrong_key` when `openedBy` opens nothing, `wrong_state` without an open volume of an owner. */
export async function growVolume(
  deps: WaysDeps & { mapping: Pick<VolumeMapping, 'grow'> },
  request: GrowVolumeRequest,
): Promise<void> {
  const note = await readVolumeNote(deps.places);
  await withWaysLock(deps.places, async () => {
    const file = await readWays(deps.places);
    if (note === undefined || file === undefined) {
      throw new HoldfastError('wrong_state', 'The data volume has no owner yet', {
        hint: 'A restart before the claim makes it anew, as large as the disk.',
      });
    }
    const secret = await findExistingSecret(deps, file, note, request.openedBy);
    await deps.journal.append(request.actor, {
      action: 'host.volume.grown',
      objectType: 'volume',
      objectId: note.uuid,
    });
    await deps.mapping.grow(secret);
  });
}
