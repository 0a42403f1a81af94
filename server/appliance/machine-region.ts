/** Takes over where the machine stands, when its cloud or its image says so: that counts more than what a person declares. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { connectHost } from './host/client.ts';
import type { HostState } from './host/schema.ts';
import type { HostActDeps } from './host-acts.ts';
import { getAppliance, lockAppliance, updateAppliance } from './queries.ts';

/** At every start: a machine may have been moved. */
export async function adoptRegion(deps: Omit<HostActDeps, 'keys'>): Promise<void> {
  const host = connectHost(deps.config);
  if (host === undefined) return;
  const { region } = await host.get<HostState>('/state');
  const { name, knownBy } = region;
  if (name === null || knownBy === null) return;
  const present = await getAppliance(deps.db);
  if (present.region === name && present.region_known_by === knownBy) return;
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockAppliance(tx);
    const allowed =
      before.allowed_regions.length > 0 ? before.allowed_regions : (region.allowedRegions ?? []);
    await updateAppliance(tx, {
      region: name,
      region_known_by: knownBy,
      // Where the machine stands is not forbidden by being unlisted: that would be shown, not hidden.
      allowed_regions: allowed,
    });
    await recordAudit(tx, deps.clock, systemActor('start'), {
      action: 'appliance.region.recognised',
      objectType: 'appliance',
      objectId: before.id,
      detail: { before: before.region, after: name, knownBy },
    });
  });
}
