/** Shutting out several people at once: an act that needs a second person, since one session of an owner could empty the house by it. */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import { requestApproval } from '../approvals/request-approval.ts';
import { ROLE_WORDS } from '../rights.ts';
import type { Role } from '../schema.ts';
import { deactivatePerson, type PersonLifeDeps } from './person-life.ts';
import { lockOwnerIds, lockUsers } from './queries.ts';

export const DEACTIVATE_SEVERAL = 'Deactivate several people';

/**
 * Asks for it; whoever is at the console does it at once.
 *
 * @returns undefined when it was done.
 * @throws HoldfastError `not_found` for an unknown person; `wrong_state` when nobody would be an owner any more, or one is shut out
 *   already; `conflict` while the same is asked for.
 */
export async function deactivateSeveral(
  deps: PersonLifeDeps,
  { userIds, reason }: { userIds: readonly string[]; reason: string },
  actor: Actor,
): Promise<AskedApproval | undefined> {
  const ids = [...new Set(userIds)].sort();
  return writeTransaction(deps.db, async (tx) => {
    const owners = await lockOwnerIds(tx);
    if (owners.every((id) => ids.includes(id)))
      throw new HoldfastError('wrong_state', 'Nobody would be an owner any more', {
        hint: 'Leave one owner out.',
      });
    const seen = await lookAtPeople(tx, ids);
    if (ids.some((id) => seen[id] === undefined))
      throw new HoldfastError('not_found', 'There is no such person');
    if (Object.values(seen).some((state) => state.endsWith('deactivated')))
      throw new HoldfastError('wrong_state', 'One of them is deactivated already', {
        hint: 'Load the page again.',
      });
    const { id } = actor;
    if (id === undefined) {
      await deactivateAll(tx, deps, ids, actor);
      return undefined;
    }
    return requestApproval(
      tx,
      deps,
      {
        ...{ act: 'identity.people.deactivate', title: DEACTIVATE_SEVERAL, payload: { userIds: ids }, seen },
        ...{ object: { type: 'people', id: null }, reason: reason.trim(), consequence: tellLoss(seen) },
      },
      { ...actor, id },
    );
  });
}

/** Role and state of each of these people, held until the transaction ends; who is unknown is left out. */
export async function lookAtPeople(
  tx: WriteTransaction,
  ids: readonly string[],
): Promise<Record<string, string>> {
  await lockOwnerIds(tx);
  const rows = await lockUsers(tx, ids);
  return Object.fromEntries(
    rows.map((row) => [row.id, `${row.role} ${row.disabled_at === null ? 'active' : 'deactivated'}`]),
  );
}

export async function deactivateAll(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  ids: readonly string[],
  actor: Actor,
): Promise<void> {
  for (const id of ids) await deactivatePerson({ ...deps, db: tx }, id, actor);
}

function tellLoss(seen: Readonly<Record<string, string>>): string {
  const roles = Object.values(seen).map((state) => state.split(' ')[0] as Role);
  const counts = (Object.keys(ROLE_WORDS) as Role[]).flatMap((role) => {
    const count = roles.filter((one) => one === role).length;
    return count === 0 ? [] : [`${count} × ${ROLE_WORDS[role].title}`];
  });
  return `${roles.length} people (${counts.join(', ')}) are shut out at once: sessions and API keys end. Accounts can be activated again; keys stay ended.`;
}
