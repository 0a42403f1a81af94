/** No row may be restorable without its key: the keyring on a target is as new as each restore point on it, or newer. */
import type { KeyClient } from '../keys/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import type { OpenTargetRepository } from './target-repository.ts';

/** @returns its epoch. */
export async function publishKeyring(
  deps: { keys: Pick<KeyClient, 'keyringObjects'> },
  open: Pick<OpenTargetRepository, 'repository' | 'writer' | 'keyringGiven'>,
): Promise<number> {
  const { epoch, objects } = await deps.keys.keyringObjects(open.repository.keyringObjects());
  for (const object of objects) {
    await open.writer.publishKeyring(object.name, object.bytes);
    crashPoint('snapshot.keyring-published');
  }
  open.keyringGiven();
  return epoch;
}
