/** Whether the audit log is anchored and read through in time: work that is due by itself, and whose silence nobody would notice. */
import { findLogTrouble } from '../audit/index.ts';
import { listAnchorStates } from '../backups/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import type { HealthCheck } from './schema.ts';

export async function checkLog(deps: { db: Database; clock: Clock }): Promise<HealthCheck[]> {
  const trouble = await findLogTrouble(deps);
  const checks: HealthCheck[] = trouble === undefined ? [] : [{ name: 'audit log', ...trouble }];
  for (const { targetName, state, problem } of await listAnchorStates(deps)) {
    if (state !== 'failing' && state !== 'behind') continue;
    checks.push({
      ...{ name: `audit log on ${targetName}`, state: 'warn' },
      message:
        state === 'failing'
          ? `The audit log is not anchored: ${problem?.message ?? 'the target is not reached'}`
          : 'The newest checkpoint of the audit log has not come there for hours',
      hint: problem?.hint ?? 'Audit shows the anchors, and runs one now.',
    });
  }
  return checks;
}
