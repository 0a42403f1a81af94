/** How far the first run has come. */
import type { KeyClient } from '../keys/index.ts';
import type { Config } from '../lib/config.ts';
import type { Database } from '../lib/db.ts';
import { listSchedules } from '../lib/schedules.ts';
import { connectHost } from './host/client.ts';
import type { HostState } from './host/schema.ts';
import { findNewestSnapshot, hasPassedRestoreTest, listTargetFacts } from './overview-queries.ts';
import { getAppliance } from './queries.ts';
import type { SetupState } from './schema.ts';

export interface SetupDeps {
  config: Pick<Config, 'hostSocket'>;
  db: Database;
  keys: Pick<KeyClient, 'status'>;
}

/**
 * @param withSteps for administrators; others learn only whether there is an owner.
 * @param withMachine for whoever reads operations.
 */
export async function readSetupState(
  deps: SetupDeps,
  { withSteps, withMachine = withSteps }: { withSteps: boolean; withMachine?: boolean },
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
  const machine = withMachine ? await readMachineState(deps) : undefined;
  return { ...state, ...(withSteps ? { steps } : {}), ...(machine === undefined ? {} : { machine }) };
}

/** hostd may be starting; the steps are told without it. */
async function readMachineState(deps: SetupDeps): Promise<SetupState['machine']> {
  const state = await connectHost(deps.config)
    ?.get<HostState>('/state')
    .catch(() => undefined);
  if (state === undefined) return undefined;
  const { name, knownBy } = state.region;
  return {
    volumeUnclaimed: state.volume.state === 'unclaimed',
    tpm: state.tpm,
    region: name,
    regionKnownBy: knownBy,
  };
}
