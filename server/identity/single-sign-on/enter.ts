/**
 * Coming in by single sign-on. Guarantees: the person is who the provider's issuer and subject are linked with; a deactivated account
 * stays out; the provider counts as a second factor only where the settings say by which value it vouches for one, otherwise whoever
 * has a factor here gives it, and whoever must have one is held by the guard until they do.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { revokeKeysOf } from '../api-keys/api-keys.ts';
import { needsSecondFactor } from '../factors/methods.ts';
import { countFactors, deletePendingOf, membersNeedSecondFactor } from '../factors/queries.ts';
import { openEmails, recordInvitation } from '../invitations/invitations.ts';
import { findInvitationByToken, lockInvitation, updateInvitation } from '../invitations/queries.ts';
import {
  emailHashOf,
  insertPerson,
  personField,
  preparePerson,
  type PasswordDeps,
} from '../people/people.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { findUserByEmailHash, lockUser } from '../people/queries.ts';
import type { Role, SignInMethod } from '../schema.ts';
import { endSessionsOf, openSession } from '../sessions/sessions.ts';
import { beginSecondStep, secondWays } from '../sign-in/pending-sign-in.ts';
import { recordRefusal } from '../sign-in/refusals.ts';
import type { SignedIn } from '../sign-in/sign-in.ts';
import { joinTeams } from '../teams/teams.ts';
import { endAttempt, type Returned } from './attempts.ts';
import { applyGroups, roleFrom } from './group-mapping.ts';
import { prepareLink, subjectHashOf, writeLink } from './links.ts';
import {
  findLinkBySubject,
  findLinkOf,
  holdProvider,
  isProviderSessionEnded,
  lockProviderSession,
  noteLinkUse,
} from './queries.ts';
import { providerSessionHash } from './provider-session.ts';
import { readIdentity, type ProviderIdentity } from './read-identity.ts';
import { SingleSignOnRefusal } from './refusal.ts';

type EnterDeps = PersonLifeDeps & PasswordDeps;

const EMAIL = /^[^\s@]+@[^\s@]+$/;

/** @throws HoldfastError `unauthenticated`, the same for every reason; the log and, where the provider knows who it was, the audit log say which. */
export async function enterBySingleSignOn(deps: EnterDeps, returned: Returned): Promise<SignedIn> {
  try {
    const attempt = await endAttempt(deps, returned, ['sign-in', 'invitation']);
    const identity = await readIdentity(deps, attempt, returned);
    const hash = await subjectHashOf(deps, identity.provider.issuer, identity.subject);
    const { invitation_hash: invitation, created_at: begunAt } = attempt.row;
    const link = await findLinkBySubject(deps.db, hash);
    if (invitation !== null) {
      if (link !== undefined) throw new SingleSignOnRefusal('linked-elsewhere', { userId: link.user_id });
      return await enterAsInvited(deps, { identity, hash, begunAt }, invitation, returned);
    }
    if (link === undefined) return await enterAsNew(deps, { identity, hash, begunAt }, returned);
    return await writeTransaction(deps.db, (tx) =>
      enter(tx, deps, link.user_id, { identity, hash, begunAt }, returned),
    );
  } catch (error) {
    throw await refused(deps, error, returned.actor);
  }
}

/** Writes down why. @returns what the person is told. */
export async function refused(
  deps: PersonLifeDeps,
  error: unknown,
  actor: Actor,
  code: 'unauthenticated' | 'forbidden' = 'unauthenticated',
): Promise<unknown> {
  if (!(error instanceof SingleSignOnRefusal)) return error;
  const { reason, userId } = error;
  if (error.audited) {
    const refusal = { action: 'identity.single-sign-on.refused' as const, userId, detail: { reason } };
    await writeTransaction(deps.db, async (tx) => {
      // Whoever has left all groups that may come in has left.
      if (reason === 'no-mapped-group' && userId !== undefined) {
        await lockUser(tx, userId);
        await endAccess(tx, deps, userId, actor);
      }
      await recordRefusal(tx, deps, refusal, actor);
    });
  }
  return error.toPublic(code);
}

/** The provider says that somebody has left: what they are signed in with ends at once. @returns how many of each. */
export async function endAccess(
  tx: WriteTransaction,
  deps: Pick<PersonLifeDeps, 'clock'>,
  userId: string,
  actor: Actor,
): Promise<{ endedSessions: number; revokedKeys: number }> {
  await deletePendingOf(tx, userId);
  const endedSessions = await endSessionsOf(tx, deps, userId, 'provider-logout');
  const revokedKeys = await revokeKeysOf(tx, deps, userId, 'left the provider');
  if (endedSessions + revokedKeys > 0) {
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.single-sign-on.access-ended',
      objectType: 'user',
      objectId: userId,
      detail: { endedSessions, revokedKeys },
    });
  }
  return { endedSessions, revokedKeys };
}

/** Who came back from the provider, and when they had left for it. */
interface Arrival {
  identity: ProviderIdentity;
  /** Of issuer and subject. */
  hash: Buffer;
  begunAt: Date;
}

async function enter(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  userId: string,
  arrival: Arrival,
  { actor, userAgent }: Returned,
): Promise<SignedIn> {
  const { identity } = arrival;
  const { row } = identity.provider;
  const user = await lockUser(tx, userId);
  if ((await holdProvider(tx))?.version !== row.version) throw new SingleSignOnRefusal('switched-off');
  if (user?.disabled_at !== null) throw new SingleSignOnRefusal('deactivated', { userId });
  await refuseEnded(tx, userId, arrival);
  const self = { ...actor, id: userId };
  const role = await applyGroups(tx, deps, user, { row, groups: identity.groups }, self);
  await noteLinkUse(tx, userId, deps.clock.now());
  const methods: SignInMethod[] = identity.strong ? ['sso', 'sso-second-factor'] : ['sso'];
  const providerSession = providerSessionHash(identity.provider.issuer, identity.sid);
  const ways = identity.strong ? [] : secondWays(await countFactors(tx, userId));
  if (ways.length > 0)
    return { pending: await beginSecondStep(tx, deps, userId, ways, { methods, providerSession }) };
  const mustEnrol = !identity.strong && needsSecondFactor(role, await membersNeedSecondFactor(tx));
  const authenticatedAt = provenAt(deps, identity, mustEnrol);
  const proof = { userAgent, methods, providerSession, authenticatedAt };
  return { session: await openSession(tx, deps, { id: userId, role }, actor, proof) };
}

/** The link was taken away, or the provider signed the person out, while this was on its way. */
async function refuseEnded(
  tx: WriteTransaction,
  userId: string,
  { identity, hash, begunAt }: Arrival,
): Promise<void> {
  const link = await findLinkOf(tx, userId);
  if (link?.subject_hash.equals(hash) !== true) throw new SingleSignOnRefusal('unknown-account');
  const session = providerSessionHash(identity.provider.issuer, identity.sid);
  if (session !== undefined) await lockProviderSession(tx, session);
  const ended =
    (link.logged_out_at !== null && link.logged_out_at >= begunAt) ||
    (session !== undefined && (await isProviderSessionEnded(tx, session)));
  if (ended) throw new SingleSignOnRefusal('signed-out-there', { userId });
}

/**
 * When the person last showed the provider who they are. It may have let them through without asking: what wants a fresh proof goes on
 * wanting one. A provider that does not say when leaves it long ago; but whoever may do nothing before they have a second factor here
 * could then never add one, so to them coming in is proof enough.
 */
function provenAt(
  deps: Pick<PersonLifeDeps, 'clock'>,
  { authenticatedAt }: ProviderIdentity,
  mustEnrol: boolean,
): Date {
  if (authenticatedAt === undefined && mustEnrol) return deps.clock.now();
  return new Date(Math.min(deps.clock.now().getTime(), Math.max(0, authenticatedAt ?? 0) * 1000));
}

/** Whoever is not known becomes a person, where the settings say so. */
async function enterAsNew(deps: EnterDeps, arrival: Arrival, returned: Returned): Promise<SignedIn> {
  const { identity } = arrival;
  const { row } = identity.provider;
  if (!row.makes_accounts) throw new SingleSignOnRefusal('unknown-account');
  const role = roleFrom(row, identity.groups);
  if (role === null) throw new SingleSignOnRefusal('no-mapped-group');
  const email = identity.email?.trim() ?? '';
  if (!EMAIL.test(email) || email.length > 254) throw new SingleSignOnRefusal('no-email');
  if (identity.emailVerified === false) throw new SingleSignOnRefusal('email-not-verified');
  if ((await findUserByEmailHash(deps.db, await emailHashOf(deps, email))) !== undefined)
    throw new SingleSignOnRefusal('email-taken');
  const name = nameOf(identity, email);
  const person = await preparePerson(deps, { name, email, password: null, role: role ?? 'member' });
  const link = await prepareLink(deps, person, identity);
  return writeTransaction(deps.db, async (tx) => {
    const self = { ...returned.actor, id: person.userId };
    await insertPerson(tx, deps, person, self).catch((error: unknown) => {
      throw isConflict(error) ? new SingleSignOnRefusal('email-taken') : error;
    });
    await writeLink(tx, deps, { userId: person.userId, link, by: 'first-sign-in' }, self);
    return enter(tx, deps, person.userId, arrival, returned);
  });
}

/** An invitation is accepted with the provider in place of a password. */
async function enterAsInvited(
  deps: PersonLifeDeps,
  arrival: Arrival,
  invitationHash: Buffer,
  returned: Returned,
): Promise<SignedIn> {
  const { identity } = arrival;
  const row = await findInvitationByToken(deps.db, invitationHash);
  if (row?.ended_at !== null || row.expires_at <= deps.clock.now())
    throw new SingleSignOnRefusal('invitation');
  const { person_id: userId, subject_key_id: keyId } = row;
  const [email = ''] = await openEmails(deps, [row]);
  const emailHash = await emailHashOf(deps, email);
  const context = personField('user-name', keyId, userId);
  const [nameSealed] = await deps.sealer.seal([
    { keyId, purpose: 'person', context, value: nameOf(identity, email) },
  ]);
  if (nameSealed === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  const link = await prepareLink(deps, { userId, subjectKeyId: keyId }, identity);
  return writeTransaction(deps.db, async (tx) => {
    const held = await lockInvitation(tx, row.id);
    if (held?.outcome !== null || !held.token_hash.equals(row.token_hash))
      throw new SingleSignOnRefusal('invitation');
    const self = { ...returned.actor, id: userId };
    await updateInvitation(tx, row.id, { ended_at: deps.clock.now(), outcome: 'accepted' });
    const person = { userId, role: held.role as Role, subjectKeyId: keyId, nameSealed, emailHash };
    await insertPerson(
      tx,
      deps,
      { ...person, emailSealed: row.email_sealed, passwordHash: null },
      self,
    ).catch((error: unknown) => {
      throw isConflict(error) ? new SingleSignOnRefusal('email-taken') : error;
    });
    await recordInvitation(tx, deps, self, 'accepted', row.id);
    await joinTeams(tx, deps, userId, held.team_ids, self);
    await writeLink(tx, deps, { userId, link, by: 'invitation' }, self);
    return enter(tx, deps, userId, arrival, returned);
  });
}

function nameOf(identity: ProviderIdentity, email: string): string {
  try {
    return checkShownName((identity.name ?? email).slice(0, 200));
  } catch {
    return email;
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'conflict';
}
