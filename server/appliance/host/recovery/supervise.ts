/** Stays with the program that recovers until it is over, whichever way, and erases what lay in memory for it. */
import { messageOf } from '../../../lib/errors.ts';
import { eraseFile } from '../erase-file.ts';
import { eraseSetupFile } from '../setup-from-cloud.ts';
import type { RecoveryProblem } from './schema.ts';
import type { StageDeps } from './stage.ts';
import { readRecoveryStatus } from './status.ts';
import { wantedPath } from './wanted.ts';

/**
 * @param giveUp called when the program ended without saying what came of it: killed, it cannot.
 */
export async function superviseRecovery(
  deps: StageDeps,
  giveUp: (problem: RecoveryProblem) => Promise<void>,
): Promise<void> {
  const whole = await deps.services.recover().catch((error: unknown) => {
    deps.log.error({ err: error }, 'The recovery could not be started');
    return false;
  });
  try {
    const { state } = await readRecoveryStatus(deps.places);
    if (state === 'running') {
      const message = whole ? 'The recovery did not begin' : 'The recovery was cut off before it was whole';
      await giveUp({ message, hint: null });
    }
    await eraseSetupFile(deps.places);
    await eraseFile(wantedPath(deps.places));
  } catch (error) {
    deps.log.error({ err: error }, `The end of the recovery was not settled: ${messageOf(error)}`);
  }
}
