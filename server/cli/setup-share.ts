/** Set-up by file: where the target lies. */
import { mountShare } from './mount-share.ts';
import { tell, type SetupWork } from './setup-work.ts';

/**
 * Where the target's folder is; in a share where there is one in the set-up file. May be run again: a share of that place is used.
 *
 * @throws HoldfastError `unavailable` when a share that was added before is away, `wrong_state` elsewhere than on the machine image.
 */
export async function findTargetPath(work: SetupWork): Promise<string> {
  const { share: wanted, target } = work.file;
  if (wanted === undefined) return target.path ?? '';
  const { path, added } = await mountShare(wanted, {
    list: () => work.client.get('/host/shares'),
    add: (share) => work.client.send('POST', '/host/shares', share),
  });
  if (added) tell(work, 'share', 'done', path);
  else tell(work, 'share', 'already');
  return path;
}
