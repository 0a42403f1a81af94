/**
 * A new generation of the repository's keys: what is written from then on opens with the kits of now alone. Guarantees: keyd makes it in one
 * durable step, asking twice makes one; the register is brought in step with it in the same transaction as the audit entry, or afterwards;
 * nothing that was written before changes or is lost. There is no way back, and none is needed: earlier generations stay readable.
 */
import type { Actor } from '../../audit/index.ts';
import { listLackingKeys } from '../../backups/index.ts';
import type { KeyClient } from '../../keys/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RekeyRequest } from './schema.ts';
import { settleIn, type SettleDeps } from './settle.ts';

export type RekeyDeps = SettleDeps & { keys: Pick<KeyClient, 'rekeyRepository' | 'keysObjects'> };

/**
 * @param options `testIdentity`: the appliance keeps a key to the new generation, also where it has none now: the end of write-only use.
 * @returns the generation that is in use now.
 * @throws HoldfastError `conflict` when another generation is in use than was looked at; `wrong_state` while a target waits for the present
 * one: each generation would make its next snapshot a first one again.
 */
export async function rekey(
  deps: RekeyDeps,
  { follows, reason }: RekeyRequest,
  actor: Actor,
  options: { testIdentity?: boolean } = {},
): Promise<{ generation: number }> {
  const waiting = await listLackingKeys(deps);
  if (waiting.length > 0) {
    const names = waiting.map((target) => target.name).join(', ');
    throw new HoldfastError('wrong_state', `These targets wait for the keys of now: ${names}`, {
      hint: 'They are given them within a minute once they are reached. Retire a target that does not come back.',
    });
  }
  const { generation } = await deps.keys.rekeyRepository(follows, options);
  crashPoint('appliance.rekey.keyed');
  await writeTransaction(deps.db, (tx) => settleIn(tx, deps, { actor, reason: reason.trim() }));
  return { generation };
}
