/** How far the first run has come. */
import type { KeyClient } from '../keys/index.ts';
import type { Database } from '../lib/db.ts';
import { listSchedules } from '../lib/schedules.ts';
import { findNewestSnapshot, hasPassedRestoreTest, listTargetFacts } from './overview-queries.ts';
import { getAppliance } from './queries.ts';
import type { SetupState } from './schema.ts';

export interface SetupDeps {
  db: Database;
  keys: Pick<KeyClient, 'status'>;
}

/** @param withSteps for administrators; others learn only whether there is an owner. */
export async function readSetupState(
  deps: SetupDeps,
  { withSteps }: { withSteps: boolean },
): Promise<SetupState> {
  const appliance = await getAppliance(deps.db);
  const state: SetupState = {
    claimed: appliance.claimed_at !== null,
    complete: false,
    applianceName: appliance.name,
    stage: appliance.stage as SetupState['stage'],
  };
  if (!state.claimed) return state;
  const [status, targets, schedules, snapshot, tested] = await Promise.all([
    deps.keys.status(),
    listTargetFacts(deps.db),
    listSchedules(deps.db),
    findNewestSnapshot(deps.db),
    hasPassedRestoreTest(deps.db),
  ]);
  const steps = {
    appliance: appliance.name !== null && appliance.region !== null,
    kit: status.repository.claimed,
    target: targets.length > 0,
    schedule: schedules.some((schedule) => schedule.name === 'snapshot' && schedule.enabled),
    snapshot: snapshot !== undefined,
    restoreTest: tested,
  };
  state.complete = steps.appliance && steps.kit && steps.target && steps.schedule;
  return withSteps ? { ...state, steps } : state;
}
