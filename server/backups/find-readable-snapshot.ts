/** A snapshot to restore from, by someone who must know the way on when it cannot be read. */
import { HoldfastError } from '../lib/errors.ts';
import type { SnapshotRecord } from './engine.ts';
import type { Repository } from './repository/open-repository.ts';

const MOST_NAMED = 10;

/**
 * As `Repository.findSnapshot`. An older snapshot may still be whole where the wanted one is not, but which one to take is for a
 * person to choose.
 *
 * @param wayOn how to take another one, given the numbers of those that can be read, newest first.
 * @throws HoldfastError as `Repository.findSnapshot`, with that hint.
 */
export async function findReadableSnapshot(
  repository: Repository,
  wanted: string,
  wayOn: (numbers: string) => string,
): Promise<SnapshotRecord> {
  try {
    return await repository.findSnapshot(wanted);
  } catch (error) {
    const codes = ['not_found', 'integrity_failure', 'wrong_key'];
    if (!(error instanceof HoldfastError) || !codes.includes(error.code)) throw error;
    const { snapshots } = await repository.snapshots();
    const numbers = snapshots.map((one) => String(one.number)).reverse();
    const isListed = wanted === 'latest' && repository.snapshotReferences.length > 0;
    const hint =
      numbers.length === 0
        ? 'No snapshot here can be read. Take another target.'
        : `Take another target, or ${wayOn(numbers.slice(0, MOST_NAMED).join(', '))} can be read.`;
    if (error.code === 'wrong_key') {
      const older =
        numbers.length === 0
          ? ''
          : ` Or ${wayOn(numbers.slice(0, MOST_NAMED).join(', '))} open with this one.`;
      throw new HoldfastError('wrong_key', `This kit does not open that snapshot: ${error.message}`, {
        hint: `${error.hint ?? 'Take a recovery kit that is in use.'}${older}`,
        cause: error,
      });
    }
    throw new HoldfastError(
      isListed ? 'integrity_failure' : error.code,
      isListed ? 'The newest snapshot is missing or damaged on this target' : error.message,
      { hint, cause: error },
    );
  }
}
