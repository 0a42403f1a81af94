/** What the appliance is called, where it stands and where its data may go. */
import { recordAudit, type Actor } from '../audit/index.ts';
import { refuseRegionsInUse } from '../backups/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { checkShownName } from '../lib/shown-name.ts';
import { getAppliance, lockAppliance, updateAppliance, type ApplianceRow } from './queries.ts';
import type { ApplianceSettings, ApplianceSettingsChange } from './schema.ts';

export interface SettingsDeps {
  db: Database;
  clock: Clock;
}

export async function readApplianceSettings(deps: Pick<SettingsDeps, 'db'>): Promise<ApplianceSettings> {
  return toSettings(await getAppliance(deps.db));
}

/**
 * @throws HoldfastError `invalid_input` when the appliance's own region is not among the allowed ones, or the name holds
 * control characters; `wrong_state` when a target in use lies in a region that would not be allowed any more.
 */
export async function changeApplianceSettings(
  deps: SettingsDeps,
  change: ApplianceSettingsChange,
  actor: Actor,
): Promise<ApplianceSettings> {
  const name = checkShownName(change.name);
  const allowedRegions = [...new Set(change.allowedRegions)];
  if (!allowedRegions.includes(change.region)) {
    throw new HoldfastError(
      'invalid_input',
      `The appliance stands in ${change.region}, which is not an allowed region`,
      {
        hint: 'Add that region to the allowed ones, or correct it.',
      },
    );
  }
  const row = await writeTransaction(deps.db, async (tx) => {
    const before = await lockAppliance(tx);
    refuseOtherRegion(before, change.region);
    await refuseRegionsInUse(tx, { before: before.allowed_regions, after: allowedRegions });
    await updateAppliance(tx, {
      name,
      stage: change.stage,
      region: change.region,
      region_known_by: before.region === change.region ? (before.region_known_by ?? 'declared') : 'declared',
      allowed_regions: allowedRegions,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.settings.changed',
      objectType: 'appliance',
      objectId: before.id,
      detail: {
        before: {
          name: before.name,
          stage: before.stage,
          region: before.region,
          allowedRegions: before.allowed_regions,
        },
        after: { name, stage: change.stage, region: change.region, allowedRegions },
      },
    });
    return getAppliance(tx);
  });
  return toSettings(row);
}

/** What the cloud or the image says is not overruled by a word. */
function refuseOtherRegion(row: ApplianceRow, region: string): void {
  if (row.region_known_by === null || row.region_known_by === 'declared' || row.region === region) return;
  throw new HoldfastError(
    'invalid_input',
    `This machine stands in ${row.region ?? ''}: its ${row.region_known_by === 'metadata' ? 'cloud' : 'image'} says so`,
    { hint: 'Leave the region as it is.' },
  );
}

function toSettings(row: ApplianceRow): ApplianceSettings {
  return {
    id: row.id,
    name: row.name,
    stage: row.stage as ApplianceSettings['stage'],
    region: row.region,
    regionKnownBy: row.region_known_by as ApplianceSettings['regionKnownBy'],
    allowedRegions: row.allowed_regions,
    version: row.version,
    softwareVersion: SOFTWARE_VERSION,
  };
}
