/** How long a recovery would take, in words that say whether it was timed or reckoned. */
import type { RestoreTestReport } from '../restore-tests/index.ts';

export function describeRto(rtoMs: number, basis: RestoreTestReport['rtoBasis']): string {
  const seconds = `${(rtoMs / 1000).toFixed(1)} s`;
  return basis === 'extrapolated'
    ? `about ${seconds}, an estimate: only a sample of the files was read`
    : seconds;
}
