/**
 * What one person may do alone to the accounts of others within an hour. One session must not empty the house one by one, nor take its
 * accounts over: to shut somebody out, to take a role of owner or administrator away, and to send an account's mail to another address
 * count alike.
 */
import type { Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Role } from '../schema.ts';
import { countBereft, lockOwnerIds } from './queries.ts';

/** So many people within an hour. */
const MOST_ALONE = 2;
const HOUR_MS = 3_600_000;

/** In a transaction that holds the owners, so that of two acts at once the second counts the first. */
export async function mayActAlone(
  tx: WriteTransaction,
  { clock }: { clock: Clock },
  userId: string,
  actorId: string,
): Promise<boolean> {
  const since = new Date(clock.now().getTime() - HOUR_MS);
  return (await countBereft(tx, { by: actorId, since, beside: userId })) < MOST_ALONE;
}

/** For acts that cannot wait for an approval themselves; the console may, and anybody to themself. @throws HoldfastError `wrong_state` */
export async function refuseOneTooMany(
  tx: WriteTransaction,
  deps: { clock: Clock },
  userId: string,
  actor: Actor,
  hint = 'Another owner can do it; you can again within the hour.',
): Promise<void> {
  if (actor.id === undefined || actor.id === userId) return;
  await lockOwnerIds(tx);
  if (await mayActAlone(tx, deps, userId, actor.id)) return;
  throw new HoldfastError(
    'wrong_state',
    `You have shut out, demoted or given another address to ${MOST_ALONE} people within the hour, and may not go on alone`,
    { hint },
  );
}

/** Whether an owner or administrator has less to say afterwards. */
export function isDemotion(from: Role, to: Role): boolean {
  return (from === 'owner' && to !== 'owner') || (from === 'admin' && to !== 'owner' && to !== 'admin');
}
