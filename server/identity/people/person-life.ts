/**
 * What happens to a person after they have joined. Guarantees: the last owner who can sign in stays one, also when two acts come at
 * once; what a change takes away is gone with the transaction; each change is told to the person by mail.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { queueMail, type QueueMailDeps } from '../../mail/index.ts';
import { ROLE_WORDS } from '../rights.ts';
import type { Role } from '../schema.ts';
import { endSessionsOf } from '../sessions/sessions.ts';
import { keepBreakGlass, leaveOwnership } from '../single-sign-on/leave-ownership.ts';
import { isDemotion, refuseOneTooMany } from './acts-alone.ts';
import { emailHashOf, getPerson, normaliseEmail, personField, takeEmail, type PeopleDeps } from './people.ts';
import {
  findUser,
  deleteEmailHashOf,
  getPeopleSettings,
  lockOwnerIds,
  lockUser,
  updatePeopleSettings,
  updateUser,
  type UserRow,
} from './queries.ts';
import type { PeopleSettings, PersonChange } from './schema.ts';
import { deleteLinksOf } from '../mail-links/queries.ts';
import { withdrawInvitationsOf } from '../invitations/queries.ts';
import { endEveryWayIn } from './when-disabled.ts';

export type PersonLifeDeps = PeopleDeps & QueueMailDeps;

/**
 * Gives a person another role and ends their sessions.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for the last owner, and for the third owner or administrator demoted within an hour.
 */
export async function changeRole(
  deps: PersonLifeDeps,
  userId: string,
  role: Role,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const user = await holdPerson(tx, userId, { leavesOwners: role !== 'owner' });
    if (isDemotion(user.role as Role, role)) await refuseOneTooMany(tx, deps, userId, actor);
    if (user.role === 'owner' && role !== 'owner') await leaveOwnership(tx, deps, { userId, role }, actor);
    await giveRole(tx, deps, user, role, actor);
  });
}

/**
 * The part of it in a transaction that holds the person, and all owners where one stops being one. Idempotent.
 */
export async function giveRole(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  user: UserRow,
  role: Role,
  actor: Actor,
): Promise<void> {
  if (user.role === role) return;
  const userId = user.id;
  await updateUser(tx, userId, { role });
  const endedSessions = await endSessionsOf(tx, deps, userId, 'role-changed');
  const withdrawnInvitations =
    user.role === 'owner' ? await withdrawInvitationsOf(tx, userId, deps.clock.now()) : 0;
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.user.role-changed',
    objectType: 'user',
    objectId: userId,
    detail: { from: user.role, to: role, endedSessions, withdrawnInvitations },
  });
  const words = `It was ${ROLE_WORDS[user.role as Role].title} and is now ${ROLE_WORDS[role].title}.`;
  await tell(tx, deps, { userId }, 'Your role was changed', actor, words);
}

/**
 * Shuts a person out at once. Files and rights stay as they are, for when they come back.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for the last owner.
 */
export async function deactivatePerson(deps: PersonLifeDeps, userId: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const user = await holdPerson(tx, userId, { leavesOwners: true });
    if (user.disabled_at !== null) return;
    await updateUser(tx, userId, { disabled_at: deps.clock.now() });
    const ended = await endEveryWayIn(tx, deps, userId);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.user.deactivated',
      objectType: 'user',
      objectId: userId,
      detail: ended,
    });
    await tell(tx, deps, { userId }, 'Your account was deactivated', actor);
  });
}

/** Lets a person in again, with the password and rights they had. @throws HoldfastError `not_found` */
export async function reactivatePerson(deps: PersonLifeDeps, userId: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const user = await holdPerson(tx, userId, { leavesOwners: false });
    if (user.disabled_at === null) return;
    // What was written while the account was being shut must not come alive now.
    await endEveryWayIn(tx, deps, userId);
    await updateUser(tx, userId, { disabled_at: null });
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.user.reactivated',
      objectType: 'user',
      objectId: userId,
    });
    await tell(tx, deps, { userId }, 'Your account was activated again', actor);
  });
}

/**
 * Changes name or e-mail address. A change of address is told to the old one and to the new one, and ends what was sent to the old one.
 * Of somebody else's it takes the account over, so the third within an hour is refused.
 *
 * @param first what else must hold in the transaction.
 *
 * @throws HoldfastError `not_found`; `conflict` when somebody has that address; `invalid_input`; `wrong_state` for one too many.
 */
export async function changePerson(
  deps: PersonLifeDeps,
  userId: string,
  change: PersonChange,
  actor: Actor,
  first: (tx: WriteTransaction) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const read = await findUser(deps.db, userId);
  const before = await getPerson(deps, userId);
  // A name that is older than the rule stays until it is changed itself.
  const name = change.name === undefined ? before.name : checkShownName(change.name);
  const email = (change.email ?? before.email).trim();
  const hash = await emailHashOf(deps, email);
  const moves = normaliseEmail(email) !== normaliseEmail(before.email);
  await writeTransaction(deps.db, async (tx) => {
    if (moves) await refuseOneTooMany(tx, deps, userId, actor);
    const user = await holdPerson(tx, userId, { leavesOwners: false });
    await first(tx);
    const same =
      read?.name_sealed.equals(user.name_sealed) === true && read.email_sealed.equals(user.email_sealed);
    if (!same)
      throw new HoldfastError('conflict', 'This person was changed meanwhile', {
        hint: 'Load the page again.',
      });
    const [nameSealed, emailSealed] = await sealPerson(deps, user, { name, email });
    await updateUser(tx, userId, { name_sealed: nameSealed, email_sealed: emailSealed });
    if (name !== before.name) {
      await recordAudit(tx, deps.clock, actor, {
        action: 'identity.user.renamed',
        objectType: 'user',
        objectId: userId,
      });
    }
    if (!moves) return;
    await deleteEmailHashOf(tx, userId);
    await deleteLinksOf(tx, userId);
    await takeEmail(tx, hash, userId);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.user.email-changed',
      objectType: 'user',
      objectId: userId,
    });
    await tell(tx, deps, { email: before.email }, 'Your e-mail address was changed', actor);
    await tell(tx, deps, { email }, 'Your e-mail address was changed', actor);
  });
}

export async function readPeopleSettings(deps: Pick<PeopleDeps, 'db'>): Promise<PeopleSettings> {
  return { adminsAdvised: (await getPeopleSettings(deps.db)).admins_advised };
}

export async function changePeopleSettings(
  deps: Pick<PeopleDeps, 'db' | 'clock'>,
  { adminsAdvised }: PeopleSettings,
  actor: Actor,
): Promise<PeopleSettings> {
  return writeTransaction(deps.db, async (tx) => {
    const before = (await getPeopleSettings(tx)).admins_advised;
    await updatePeopleSettings(tx, adminsAdvised);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.people-settings.changed',
      objectType: 'setting',
      objectId: null,
      detail: { before, after: adminsAdvised },
    });
    return { adminsAdvised };
  });
}

/** Owners are held first, always in the same order, so that two acts at once neither miss each other nor wait for ever. */
async function holdPerson(
  tx: WriteTransaction,
  userId: string,
  { leavesOwners }: { leavesOwners: boolean },
): Promise<UserRow> {
  const owners = leavesOwners ? await lockOwnerIds(tx) : [];
  const user = await lockUser(tx, userId);
  if (user === undefined) throw new HoldfastError('not_found', 'There is no such person');
  if (owners.length === 1 && owners[0] === userId)
    throw new HoldfastError('wrong_state', 'This is the last owner, and one must remain', {
      hint: 'Make somebody else an owner first.',
    });
  if (owners.includes(userId)) await keepBreakGlass(tx, [userId]);
  return user;
}

function sealPerson(
  deps: PersonLifeDeps,
  user: UserRow,
  { name, email }: { name: string; email: string },
): Promise<Buffer[]> {
  const keyId = user.subject_key_id;
  const seal = (type: string, value: string) => ({
    keyId,
    purpose: 'person' as const,
    context: personField(type, keyId, user.id),
    value,
  });
  return deps.sealer.seal([seal('user-name', name), seal('user-email', email)]);
}

async function tell(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  to: { userId: string } | { email: string },
  what: string,
  actor: Actor,
  detail = '',
): Promise<void> {
  const at = deps.clock.now().toISOString();
  const address = actor.address === undefined ? {} : { address: actor.address };
  await queueMail(tx, deps, { to, template: 'security-notice', data: { what, detail, at, ...address } });
}
