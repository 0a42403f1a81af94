/**
 * Retiring a recovery kit: it is given nothing new from then on. Guarantees: never the last one; a person needs a second one or a waiting
 * period; keyd does it once, whatever becomes of the transaction, and the register is brought in step with it afterwards. What it does not
 * do is said before: the kit goes on opening the generations of keys that it was given.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { requestApproval } from '../../identity/index.ts';
import type { KeyClient } from '../../keys/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import type { JsonObject } from '../../lib/tables.ts';
import type { QueueMailDeps } from '../../mail/index.ts';
import { settleIn, type SettleDeps } from './settle.ts';

export const RETIRE_KIT = 'Retire a recovery kit';

export type RetireDeps = SettleDeps & QueueMailDeps & { keys: Pick<KeyClient, 'retireKit'> };

/**
 * Asks for it; at the console it is done at once.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for one that is retired, and for the last one; `conflict` while it is
 * asked for already.
 */
export async function retireKit(
  deps: RetireDeps,
  kitId: string,
  reason: string,
  actor: Actor,
): Promise<AskedApproval | undefined> {
  const left = await requireRetirable(deps, kitId);
  const payload = { kitId };
  return writeTransaction(deps.db, async (tx) => {
    const { id } = actor;
    if (id === undefined) {
      await retireAsApproved(tx, deps, payload, actor);
      return undefined;
    }
    return requestApproval(
      tx,
      deps,
      {
        ...{ act: 'keys.kit.retire', title: RETIRE_KIT, payload, reason: reason.trim() },
        ...{ object: { type: 'recovery-kit', id: kitId }, seen: await lookAtKit(tx, deps, payload) },
        consequence: `Recovery kit ${kitId.slice(0, 8)} is given no key any more that is made from then on, and cannot be taken back into use. It goes on opening the generation of keys that it has: the snapshots taken so far, and those still to come as long as this generation is in use, wherever its holder reaches a copy. ${left === 1 ? 'One other kit remains' : `${String(left)} other kits remain`}.`,
      },
      { ...actor, id },
    );
  });
}

/** What the request is about: it is not done when the kit is not in use any more. */
export async function lookAtKit(
  _tx: WriteTransaction,
  deps: Pick<RetireDeps, 'keys'>,
  payload: JsonObject,
): Promise<JsonObject> {
  const { repository } = await deps.keys.status();
  return { valid: repository.kits.some((kit) => kit.id === payload.kitId) };
}

/** @throws HoldfastError as `retireKit`. */
export async function retireAsApproved(
  tx: WriteTransaction,
  deps: Pick<RetireDeps, 'clock' | 'keys'>,
  payload: JsonObject,
  actor: Actor,
): Promise<void> {
  const kitId = payload.kitId as string;
  const { kits, generation } = await deps.keys.retireKit(kitId);
  await settleIn(tx, deps);
  await recordAudit(tx, deps.clock, actor, {
    ...{ action: 'appliance.recovery-kit.retired', objectType: 'recovery-kit', objectId: kitId },
    detail: { kitsLeft: kits.length, opensGeneration: generation },
  });
}

/** @returns how many other kits there are. */
async function requireRetirable(deps: Pick<RetireDeps, 'keys'>, kitId: string): Promise<number> {
  const { repository } = await deps.keys.status();
  if (repository.retiredKits.some((kit) => kit.id === kitId))
    throw new HoldfastError('wrong_state', 'This recovery kit is retired already');
  if (!repository.kits.some((kit) => kit.id === kitId))
    throw new HoldfastError('not_found', 'There is no such recovery kit', {
      hint: 'The list of kits has their ids.',
    });
  const left = repository.kits.length - 1;
  if (left === 0)
    throw new HoldfastError('wrong_state', 'This is the only recovery kit', {
      hint: 'Make another one and prove it first: without a kit nobody opens the backups elsewhere.',
    });
  return left;
}
