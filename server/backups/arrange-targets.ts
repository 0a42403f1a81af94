/** The order of the targets, and what they cost. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { setOrder, setPrice } from './copy-queries.ts';
import { getTarget, listActiveTargets, type TargetRow } from './queries.ts';
import type { TargetPrice } from './schema.ts';

interface ArrangeDeps {
  db: Database;
  clock: Clock;
}

/** @throws HoldfastError `invalid_input` when these are not just the targets in use. */
export async function orderTargets(deps: ArrangeDeps, actor: Actor, ids: readonly string[]): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = (await listActiveTargets(tx)).map((row) => row.id);
    if (ids.length !== before.length || !before.every((id) => ids.includes(id))) {
      throw new HoldfastError('invalid_input', 'These are not the targets that are in use', {
        hint: 'Load the page again: a target may have been added or retired meanwhile.',
      });
    }
    await setOrder(tx, ids);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.targets.ordered',
      objectType: 'appliance',
      detail: { before, after: [...ids] },
    });
  });
}

export async function priceTarget(
  deps: ArrangeDeps,
  actor: Actor,
  id: string,
  price: TargetPrice | null,
): Promise<TargetRow> {
  await getTarget(deps.db, id);
  await writeTransaction(deps.db, async (tx) => {
    await setPrice(tx, id, price);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.priced',
      objectType: 'target',
      objectId: id,
      detail: { price },
    });
  });
  return getTarget(deps.db, id);
}
