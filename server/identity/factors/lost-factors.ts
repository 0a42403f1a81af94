/**
 * Somebody lost what they sign in with, and another person takes it off their account. Guarantees: never by oneself, so a session alone
 * gets nobody past a factor of its own; of who is, or was in the last 30 days, an owner or administrator only with a second person or after the waiting period; whatever was
 * opened with the factors, or was under way to a new password, ends in the same transaction; the person and the other owners are told.
 *
 * API keys stay: making one took the factor, none was ever shown again, and programs should not stop because a phone is lost. Where the
 * account may be in strange hands it is deactivated, which ends them.
 */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import { queueMail } from '../../mail/index.ts';
import { requestApproval } from '../approvals/request-approval.ts';
import { deleteLinksOf } from '../mail-links/queries.ts';
import { findAdministratorsAmong } from '../people/administrators.ts';
import { namePeople } from '../people/people.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { listOwnerIds, lockOwnerIds, lockUser } from '../people/queries.ts';
import { ROLE_WORDS } from '../rights.ts';
import type { Role } from '../schema.ts';
import { endSessionsOf } from '../sessions/sessions.ts';
import { keepBreakGlass } from '../single-sign-on/leave-ownership.ts';
import { removeAllFactors } from './enrolment.ts';
import { needsSecondFactor } from './methods.ts';
import {
  countFactors,
  deletePendingOf,
  findAuthenticatorApp,
  listPasskeyRows,
  membersNeedSecondFactor,
  type FactorCount,
} from './queries.ts';

export const REMOVE_SECOND_FACTORS = 'Remove somebody’s second factors';

/** What an approval keeps for the act. */
export interface SecondFactorRemoval {
  userIds: string[];
  reason: string;
}

/**
 * Removes passkeys, authenticator app and recovery codes of somebody else, or asks for it.
 *
 * @returns undefined when it was done.
 * @throws HoldfastError `not_found`; `wrong_state` for oneself, for the only owner, and where there is nothing to remove; `conflict`
 *   while the same is asked for.
 */
export async function removeSecondFactors(
  deps: PersonLifeDeps,
  userId: string,
  reason: string,
  actor: Actor,
): Promise<AskedApproval | undefined> {
  const { id } = actor;
  if (id === userId)
    throw new HoldfastError('wrong_state', 'This is you', { hint: 'Change your own under Security.' });
  return writeTransaction(deps.db, async (tx) => {
    const owners = await lockOwnerIds(tx);
    const user = await lockUser(tx, userId);
    if (user === undefined) throw new HoldfastError('not_found', 'There is no such person');
    if (owners.length === 1 && owners[0] === userId)
      throw new HoldfastError('wrong_state', 'This is the only owner', {
        hint: 'At the console, with the recovery kit: holdfast recover-owner --remove-second-factors.',
      });
    if (isNone(await countFactors(tx, userId)))
      throw new HoldfastError('wrong_state', 'There is no second factor to remove', {
        hint: 'Load the page again.',
      });
    if (id !== undefined) await keepBreakGlass(tx, [userId]);
    const role = user.role as Role;
    const removal = { userIds: [userId], reason: reason.trim() };
    const administrators = await findAdministratorsAmong({ ...deps, db: tx }, [{ id: userId, role }]);
    if (id === undefined || !administrators.has(userId)) {
      await takeFactorsAway(tx, deps, removal, actor);
      return undefined;
    }
    return requestApproval(
      tx,
      deps,
      {
        ...{ act: 'identity.second-factors.remove', title: REMOVE_SECOND_FACTORS, payload: { ...removal } },
        ...{ object: { type: 'user', id: userId }, reason: removal.reason, about: [userId] },
        ...{ seen: await lookAtFactors(tx, removal), consequence: tellLoss(role) },
      },
      { ...actor, id },
    );
  });
}

/** Role, and which factors there are, by what never comes again; held until the transaction ends. */
export async function lookAtFactors(
  tx: WriteTransaction,
  { userIds }: Pick<SecondFactorRemoval, 'userIds'>,
): Promise<Record<string, string>> {
  const [userId = ''] = userIds;
  await lockOwnerIds(tx);
  const user = await lockUser(tx, userId);
  const [app, passkeys, { recoveryCodesMadeAt }] = [
    await findAuthenticatorApp(tx, userId),
    await listPasskeyRows(tx, userId),
    await countFactors(tx, userId),
  ];
  return {
    role: user?.role ?? 'nobody',
    authenticatorApp: app?.confirmed_at?.toISOString() ?? 'none',
    passkeys: passkeys.map(({ id }) => id).join(' '),
    recoveryCodes: recoveryCodesMadeAt?.toISOString() ?? 'none',
  };
}

export async function takeFactorsAway(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  { userIds, reason }: SecondFactorRemoval,
  actor: Actor,
): Promise<void> {
  const [userId = ''] = userIds;
  // At the console they are taken away all the same: it is where one gets in again.
  if (actor.id !== undefined) await keepBreakGlass(tx, [userId]);
  await deletePendingOf(tx, userId);
  const endedLinks = await deleteLinksOf(tx, userId);
  const endedSessions = await endSessionsOf(tx, deps, userId, 'factor-changed');
  await removeAllFactors(tx, deps, userId, actor, { reason, endedSessions, endedLinks });
  await tell(tx, deps, userId, reason, actor);
}

async function tell(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  userId: string,
  reason: string,
  actor: Actor,
): Promise<void> {
  const user = await lockUser(tx, userId);
  const must = needsSecondFactor(user?.role as Role, await membersNeedSecondFactor(tx));
  const at = deps.clock.now().toISOString();
  const names = await namePeople({ ...deps, db: tx }, [
    userId,
    ...(actor.id === undefined ? [] : [actor.id]),
  ]);
  const by = names.get(actor.id ?? '')?.name ?? 'Somebody at the console';
  const next = must
    ? 'You add a new one when you sign in with your password.'
    : 'The password is enough now.';
  await queueMail(tx, deps, {
    to: { userId },
    template: 'security-notice',
    data: {
      ...{ what: 'Your second factors were removed', at },
      detail: `${by} removed your passkeys, authenticator app and recovery codes, and signed you out everywhere. The reason given: ${reason}. ${next}`,
      advice:
        'If you did not ask for this, tell an owner of the appliance at once, and change your password.',
    },
  });
  const others = (await listOwnerIds(tx)).filter((id) => id !== userId && id !== actor.id);
  const name = names.get(userId)?.name ?? '';
  for (const owner of others)
    await queueMail(tx, deps, {
      to: { userId: owner },
      template: 'security-notice',
      data: {
        ...{ what: `The second factors of ${name} were removed`, at },
        detail: `${by} removed them. The reason given: ${reason}. Until ${name} has added a new one, the password alone opens that account.`,
        advice: 'If you do not know why, ask both of them, and deactivate the account until you know.',
      },
    });
}

function tellLoss(role: Role): string {
  return `An account with the role ${ROLE_WORDS[role].title} loses its passkeys, authenticator app and recovery codes. Its sessions end. Until a new factor is added at the next sign-in, the password alone opens it.`;
}

function isNone({ authenticatorApp, passkeys, recoveryCodes }: FactorCount): boolean {
  return !authenticatorApp && passkeys === 0 && recoveryCodes === 0;
}
