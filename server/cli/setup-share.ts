/** Set-up by file on the machine image: mounts the share or second disk that the target lies on. */
import { isDeepStrictEqual } from 'node:util';
import type { ShareStatus } from '../appliance/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readSharePassword } from './answer-file.ts';
import { tell, type SetupWork } from './setup-work.ts';

/**
 * Where the target's folder is; in a share where there is one in the set-up file. May be run again: a share of that place is used.
 *
 * @throws HoldfastError `unavailable` when a share that was added before is away, `wrong_state` elsewhere than on the machine image.
 */
export async function findTargetPath(work: SetupWork): Promise<string> {
  const { share: wanted, target } = work.file;
  if (wanted === undefined) return target.path ?? '';
  const { items } = await work.client.get<{ items: ShareStatus[] }>('/host/shares');
  const present = items.find(({ place }) => isDeepStrictEqual(place, wanted.place));
  if (present?.state === 'away') {
    throw new HoldfastError('unavailable', `The share ${present.label} is away: ${present.message ?? ''}`, {
      hint: 'Make it reachable, then run the set-up again.',
    });
  }
  if (present !== undefined) {
    tell(work, 'share', 'already');
    return present.path;
  }
  const password = await readSharePassword(wanted);
  const added = await work.client.send<ShareStatus>('POST', '/host/shares', {
    label: wanted.label,
    place: wanted.place,
    ...(password === undefined ? {} : { password }),
  });
  tell(work, 'share', 'done', added.path);
  return added.path;
}
