/**
 * The recovery key of the data volume that goes into a kit. It is made with the kit and given to the machine only when the kit was
 * given back: before that nobody would have it.
 */
import { addWay, claimVolume, getHost, testWay, type HostState, type NewWay } from '../../api/host.ts';
import { asApiError } from '../../api/client.ts';

/** Gives the volume its owner, or adds the key of another kit. @throws ApiError */
export async function enterVolumeKey(
  key: string,
  kitId: string,
  choice: { daily: NewWay } | { openedBy: string | undefined },
): Promise<void> {
  try {
    if ('daily' in choice) await claimVolume(key, choice.daily);
    else
      await addWay(
        { kind: 'recovery-key', label: `Recovery kit ${kitId.slice(0, 8)}`, secret: key },
        choice.openedBy,
      );
  } catch (error) {
    // An answer that was lost on its way: the machine has the key already.
    if (!['wrong_state', 'offline'].includes(asApiError(error).code) || !(await opens(key))) throw error;
  }
}

async function opens(key: string): Promise<boolean> {
  try {
    const { ways }: HostState = await getHost();
    for (const way of ways.filter((one) => one.kind === 'recovery-key')) {
      const works = await testWay(way.id, key).then(
        () => true,
        () => false,
      );
      if (works) return true;
    }
    return false;
  } catch {
    return false;
  }
}
