/** On how many of the targets in use a snapshot has to be before it counts as stored. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { findNeeded, setNeeded } from './copy-queries.ts';
import { listActiveTargets } from './queries.ts';

export interface CopyRule {
  /** As it was set; null for all that are in use. */
  set: number | null;
  /** Of the targets that are in use now: at least one, at most all. */
  needed: number;
  total: number;
}

export async function readRule(db: Database): Promise<CopyRule> {
  const [set, targets] = await Promise.all([findNeeded(db), listActiveTargets(db)]);
  const total = targets.length;
  return { set, total, needed: Math.max(1, Math.min(set ?? total, total)) };
}

export function tellRule({ needed, total, set }: CopyRule): string {
  if (total < 2) return 'A snapshot is stored when the target has it.';
  const all = set === null ? ', and when one is added, that one too' : '';
  if (needed === total) return `A snapshot is stored when all ${String(total)} targets have it${all}.`;
  return `A snapshot is stored when ${String(needed)} of the ${String(total)} targets ${needed === 1 ? 'has' : 'have'} it.`;
}

export function tellShort({
  have,
  needed,
  total,
}: Pick<CopyRule, 'needed' | 'total'> & { have: number }): string {
  return `The snapshot is on ${String(have)} of ${String(total)} targets, and has to be on ${String(needed)}`;
}

/** @throws HoldfastError `invalid_input` for more than there are. */
export async function changeRule(
  deps: { db: Database; clock: Clock },
  actor: Actor,
  needed: number | null,
): Promise<CopyRule> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await findNeeded(tx);
    const { length: total } = await listActiveTargets(tx);
    if (needed !== null && needed > Math.max(total, 1)) {
      throw new HoldfastError(
        'invalid_input',
        `There ${total === 1 ? 'is 1 target' : `are ${String(total)} targets`} in use`,
        {
          hint: `Choose a number from 1 to ${String(Math.max(total, 1))}, or all.`,
        },
      );
    }
    await setNeeded(tx, needed);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.copy-rule.changed',
      objectType: 'appliance',
      detail: { before, needed },
    });
  });
  return readRule(deps.db);
}
