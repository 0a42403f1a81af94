/** Where data may lie: the regions that the appliance allows, and those of its targets. */
import type { Database, WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { listActiveTargets } from './queries.ts';

export interface Residency {
  allowed: readonly string[];
  /** Of each target in use; `provider`: its server said so itself. */
  targets: readonly { id: string; name: string; region: string; knownBy: string }[];
}

export async function readResidency(db: Database): Promise<Residency> {
  const row = await db.selectFrom('appliance').select('allowed_regions').executeTakeFirst();
  const targets = await listActiveTargets(db);
  return {
    allowed: row?.allowed_regions ?? [],
    targets: targets.map(({ id, name, region, region_known_by }) => ({
      ...{ id, name, region },
      knownBy: region_known_by,
    })),
  };
}

/** @throws HoldfastError `forbidden` */
export async function requireAllowedRegion(db: Database, region: string): Promise<void> {
  const { allowed } = await readResidency(db);
  if (allowed.includes(region)) return;
  throw new HoldfastError('forbidden', `The region ${region} is not allowed for this appliance's data`, {
    hint:
      allowed.length === 0
        ? 'Set the allowed regions in the settings first.'
        : `Allowed: ${allowed.join(', ')}. An owner can change that in the settings.`,
  });
}

/** As above, and nobody takes the region from the list before this transaction ends. @throws HoldfastError `forbidden` */
export async function holdAllowedRegion(tx: WriteTransaction, region: string): Promise<void> {
  await tx.selectFrom('appliance').select('id').forShare().execute();
  await requireAllowedRegion(tx, region);
}

/** A region in which copies are kept stays allowed. @throws HoldfastError `wrong_state` */
export async function refuseRegionsInUse(
  tx: WriteTransaction,
  change: { before: readonly string[]; after: readonly string[] },
): Promise<void> {
  const { targets } = await readResidency(tx);
  const outside = targets.filter(
    ({ region }) => change.before.includes(region) && !change.after.includes(region),
  );
  const [first] = outside;
  if (first === undefined) return;
  const names = outside.map(({ name, region }) => `${name} in ${region}`).join(', ');
  throw new HoldfastError('wrong_state', `Copies are kept in a region that would not be allowed: ${names}`, {
    hint: 'Retire the target first; what lies there is then no longer written, and stays until you remove it.',
  });
}
