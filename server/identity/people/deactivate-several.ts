/**
 * Shutting out several people: an act that needs a second person, since one session of an owner could empty the house by it. Guarantees:
 * nobody gets round that by shutting them out one by one: whoever has done such things to two (`acts-alone.ts`) asks for the third.
 */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import { requestApproval } from '../approvals/request-approval.ts';
import { ROLE_WORDS } from '../rights.ts';
import type { Role } from '../schema.ts';
import { keepBreakGlass } from '../single-sign-on/leave-ownership.ts';
import { mayActAlone } from './acts-alone.ts';
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
    refuseLastOwners(owners, ids);
    await keepBreakGlass(tx, ids);
    const seen = await lookAtPeople(tx, ids);
    refuseUnknown(seen, ids);
    if (Object.values(seen).some(isShutOut))
      throw new HoldfastError('wrong_state', 'One of them is deactivated already', {
        hint: 'Load the page again.',
      });
    const { id } = actor;
    if (id === undefined) {
      await deactivateAll(tx, deps, ids, actor);
      return undefined;
    }
    return askFor(tx, deps, { seen, object: { type: 'people', id: null }, reason }, { ...actor, id });
  });
}

/**
 * Shuts one person out at once, or asks for it where whoever does it has done so too often; whoever is at the console does it at once.
 *
 * @returns undefined when it was done.
 * @throws HoldfastError `not_found`; `wrong_state` for the last owner; `conflict` while the same is asked for.
 */
export async function deactivateOne(
  deps: PersonLifeDeps,
  userId: string,
  actor: Actor,
): Promise<AskedApproval | undefined> {
  return writeTransaction(deps.db, async (tx) => {
    const owners = await lockOwnerIds(tx);
    const { id } = actor;
    if (id === undefined || (await mayActAlone(tx, deps, userId, id))) {
      await deactivatePerson({ ...deps, db: tx }, userId, actor);
      return undefined;
    }
    const seen = await lookAtPeople(tx, [userId]);
    refuseUnknown(seen, [userId]);
    if (isShutOut(seen[userId] ?? '')) return undefined;
    refuseLastOwners(owners, [userId]);
    await keepBreakGlass(tx, [userId]);
    const reason = 'They have done so, or the like, to others within the hour, and may not go on alone';
    return askFor(tx, deps, { seen, object: { type: 'user', id: userId }, reason }, { ...actor, id });
  });
}

function refuseLastOwners(owners: readonly string[], ids: readonly string[]): void {
  if (owners.every((id) => ids.includes(id)))
    throw new HoldfastError('wrong_state', 'Nobody would be an owner any more', {
      hint: 'Make somebody else an owner first.',
    });
}

function refuseUnknown(seen: Readonly<Record<string, string>>, ids: readonly string[]): void {
  if (ids.some((id) => seen[id] === undefined))
    throw new HoldfastError('not_found', 'There is no such person');
}

const isShutOut = (state: string): boolean => state.endsWith('deactivated');

async function askFor(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  {
    seen,
    object,
    reason,
  }: { seen: Record<string, string>; object: { type: string; id: string | null }; reason: string },
  actor: Actor & { id: string },
): Promise<AskedApproval> {
  const payload = { userIds: Object.keys(seen).sort() };
  const consequence = tellLoss(seen);
  return requestApproval(
    tx,
    deps,
    {
      ...{ act: 'identity.people.deactivate', title: DEACTIVATE_SEVERAL, payload, seen, object },
      ...{ reason: reason.trim(), consequence },
    },
    actor,
  );
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
  const who = roles.length === 1 ? '1 person' : `${roles.length} people`;
  const are = roles.length === 1 ? 'is' : 'are';
  return `${who} (${counts.join(', ')}) ${are} shut out at once: sessions and API keys end. Accounts can be activated again; keys stay ended.`;
}
