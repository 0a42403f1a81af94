/** What the appliance does at every start, before anyone is let in. */
import { systemActor } from '../audit/index.ts';
import { rebuildEmailIndex, type PeopleDeps } from '../identity/index.ts';
import type { Config } from '../lib/config.ts';
import { readApplianceId } from '../lib/data-folder.ts';
import type { Logger } from '../lib/log.ts';
import { messageOf } from '../lib/errors.ts';
import { registerAppliance, renewClaimCode } from './claim.ts';
import { enterHostActs, type HostActDeps } from './host-acts.ts';
import { adoptRegion } from './machine-region.ts';

export interface StartDeps extends PeopleDeps {
  config: Pick<Config, 'claimCodeFile' | 'hostSocket'>;
  keys: PeopleDeps['keys'] & HostActDeps['keys'];
  dataDir: string;
  log: Logger;
}

/**
 * Writes the appliance's row at the first start, makes sign-in possible again after a crash, and makes a claim code as
 * long as there is no owner: an earlier code was shown to whoever started the appliance before, and ends with this one.
 *
 * @returns the code, for the console only.
 */
export async function prepareAppliance(deps: StartDeps): Promise<{ claimCode?: string }> {
  await registerAppliance(deps, await readApplianceId(deps.dataDir));
  await askMachine(deps);
  const people = await rebuildEmailIndex(deps);
  const renewed = await renewClaimCode(deps, systemActor('start'));
  deps.log.info({ people, claimed: renewed === undefined }, 'The appliance is prepared');
  return renewed === undefined ? {} : { claimCode: renewed.code };
}

/** hostd may come up later than we do: then its journal is taken over within a minute, and the region at the next start. */
async function askMachine(deps: StartDeps): Promise<void> {
  for (const act of [enterHostActs, adoptRegion]) {
    await act(deps).catch((error: unknown) =>
      deps.log.warn({ err: error }, `The host daemon was not asked: ${messageOf(error)}`),
    );
  }
}
