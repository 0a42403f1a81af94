/** Who here is whom at the provider. A person is found by issuer and subject, never by an e-mail address. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { queueMail } from '../../mail/index.ts';
import type { Person } from '../access.ts';
import { openPersonTexts } from '../people/person-fields.ts';
import { personField, type PeopleDeps } from '../people/people.ts';
import { findUser, lockUser, type UserRow } from '../people/queries.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import type { Role } from '../schema.ts';
import { describeBrowser } from '../sessions/browser.ts';
import { endSessionsOf, isStillSignedIn } from '../sessions/sessions.ts';
import type { Returned } from './attempts.ts';
import { isSingleSignOnOnly, mayKeepCredentials } from './local-credentials.ts';
import {
  deleteAttemptsOf,
  deleteLink,
  findLinkOf,
  findProvider,
  insertLink,
  type LinkRow,
} from './queries.ts';
import type { ProviderIdentity } from './read-identity.ts';
import { SingleSignOnRefusal } from './refusal.ts';
import type { LinkedIdentity, OwnLink } from './schema.ts';

const SUBJECT = 'single-sign-on-subject';
const LABEL = 'single-sign-on-label';

/** What a person is looked up by: only with a key of the appliance can a subject be compared with it. */
export async function subjectHashOf(deps: PeopleDeps, issuer: string, subject: string): Promise<Buffer> {
  const { id } = await deps.keys.applianceKey();
  return deps.sealer.blindIndex(id, SUBJECT, JSON.stringify([issuer, subject]));
}

export interface PreparedLink {
  subjectHash: Buffer;
  subjectSealed: Buffer;
  labelSealed: Buffer;
  issuer: string;
}

/** Seals what the provider says under the person's own key. */
export async function prepareLink(
  deps: PeopleDeps,
  person: { userId: string; subjectKeyId: string },
  identity: ProviderIdentity,
): Promise<PreparedLink> {
  const { issuer } = identity.provider;
  const seal = (field: string, value: string) => ({
    keyId: person.subjectKeyId,
    purpose: 'person' as const,
    context: personField(field, person.subjectKeyId, person.userId),
    value,
  });
  const label = identity.email ?? identity.name ?? identity.subject;
  const [subjectSealed, labelSealed] = await deps.sealer.seal([
    seal(SUBJECT, identity.subject),
    seal(LABEL, label.slice(0, 254)),
  ]);
  if (subjectSealed === undefined || labelSealed === undefined)
    throw new HoldfastError('internal', 'Sealing gave nothing back');
  const subjectHash = await subjectHashOf(deps, issuer, identity.subject);
  return { subjectHash, subjectSealed, labelSealed, issuer };
}

/** @param by how it came about. @throws SingleSignOnRefusal when one of the two is linked already. */
export async function writeLink(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  { userId, link, by }: { userId: string; link: PreparedLink; by: 'person' | 'invitation' | 'first-sign-in' },
  actor: Actor,
): Promise<void> {
  const now = deps.clock.now();
  const written = await insertLink(tx, {
    ...{ user_id: userId, subject_hash: link.subjectHash, subject_sealed: link.subjectSealed },
    ...{ label_sealed: link.labelSealed, issuer: link.issuer, linked_at: now, last_used_at: now },
  });
  if (!written) throw new SingleSignOnRefusal('linked-elsewhere', { userId });
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.single-sign-on.linked',
    objectType: 'user',
    objectId: userId,
    detail: { by, issuer: link.issuer },
  });
}

/** A signed-in person links themself. The session must be the one that began it. @throws SingleSignOnRefusal */
export async function linkSelf(
  deps: PersonLifeDeps,
  person: Person,
  identity: ProviderIdentity,
  { actor, userAgent }: Pick<Returned, 'actor' | 'userAgent'>,
): Promise<void> {
  const user = await findUser(deps.db, person.userId);
  if (user === undefined) throw new SingleSignOnRefusal('not-signed-in');
  const keys = { userId: user.id, subjectKeyId: user.subject_key_id };
  const link = await prepareLink(deps, keys, identity);
  await writeTransaction(deps.db, async (tx) => {
    await lockUser(tx, person.userId);
    if (!(await isStillSignedIn(deps, person, tx))) throw new SingleSignOnRefusal('not-signed-in');
    await writeLink(tx, deps, { userId: person.userId, link, by: 'person' }, actor);
    await notice(tx, deps, person.userId, 'Your account was linked with single sign-on', actor, userAgent);
  });
}

export async function describeOwnLink(deps: PeopleDeps, person: Person): Promise<OwnLink> {
  const [row, user, linked, localCredentials] = await Promise.all([
    findProvider(deps.db),
    findUser(deps.db, person.userId),
    showLink(deps, person.userId),
    mayKeepCredentials(deps.db, person.role),
  ]);
  const kept =
    linked === null ? undefined : whyKept(user?.password_hash ?? null, person.role, row?.only_since != null);
  return {
    provider: row?.enabled === true ? row.name : null,
    linked,
    keptBecause: kept ?? null,
    proves: row?.enabled === true && linked?.issuer === row.issuer,
    localCredentials,
  };
}

/** What is known of a person's link; null for none. */
export async function showLink(deps: PeopleDeps, userId: string): Promise<LinkedIdentity | null> {
  const row = await findLinkOf(deps.db, userId);
  if (row === undefined) return null;
  const [label = ''] = await openPersonTexts(deps, userId, [
    { field: LABEL, objectId: userId, sealed: row.label_sealed },
  ]);
  return toReply(row, label);
}

/** @throws HoldfastError `not_found`; `wrong_state` when it is the person's only way in. */
export async function unlinkSelf(
  deps: PersonLifeDeps,
  person: Person,
  { actor, userAgent }: Pick<Returned, 'actor' | 'userAgent'>,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const user = await lockUser(tx, person.userId);
    const kept = whyKept(user?.password_hash ?? null, person.role, await isSingleSignOnOnly(tx));
    if (kept !== undefined && (await findLinkOf(tx, person.userId)) !== undefined)
      throw new HoldfastError('wrong_state', kept, { hint: 'An owner can help.' });
    await takeAway(tx, deps, { userId: person.userId, except: person.sessionId }, actor);
    await notice(
      tx,
      deps,
      person.userId,
      'Your account is not linked with single sign-on any more',
      actor,
      userAgent,
    );
  });
}

/**
 * An owner takes somebody's link away, such as when the provider made a new account for them.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for whom it is the only way in.
 */
export async function unlinkPerson(deps: PersonLifeDeps, userId: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const user = await lockUser(tx, userId);
    if (user === undefined) throw new HoldfastError('not_found', 'There is no such person');
    await refuseOnlyWay(tx, user);
    await takeAway(tx, deps, { userId }, actor);
    await notice(
      tx,
      deps,
      userId,
      'Your account is not linked with single sign-on any more',
      actor,
      undefined,
    );
  });
}

async function takeAway(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  { userId, except }: { userId: string; except?: string },
  actor: Actor,
): Promise<void> {
  if (!(await deleteLink(tx, userId))) throw new HoldfastError('not_found', 'This person is not linked');
  await deleteAttemptsOf(tx, userId);
  const endedSessions = await endSessionsOf(tx, deps, userId, 'factor-changed', except);
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.single-sign-on.unlinked',
    objectType: 'user',
    objectId: userId,
    detail: { endedSessions },
  });
}

/** Without it, and without a password, nobody could let them in again. Whoever is deactivated is out anyway. */
async function refuseOnlyWay(tx: WriteTransaction, user: UserRow): Promise<void> {
  if (user.disabled_at !== null || (await findLinkOf(tx, user.id)) === undefined) return;
  if ((await isSingleSignOnOnly(tx)) && user.role !== 'owner')
    throw new HoldfastError('wrong_state', 'Single sign-on is the only way in for this person', {
      hint: 'To shut them out, deactivate the account. To link another account of the provider, let people sign in by password too, and send them a link for one.',
    });
  if (user.password_hash === null)
    throw new HoldfastError('wrong_state', 'This person has no password, so it is their only way in', {
      hint: 'Send them a link for a password first. To shut them out, deactivate the account.',
    });
}

function whyKept(passwordHash: string | null, role: Role, only: boolean): string | undefined {
  if (only && role !== 'owner') return 'Single sign-on is the only way in here';
  return passwordHash === null ? 'You have no password here, so it is your only way in' : undefined;
}

async function notice(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  userId: string,
  what: string,
  actor: Actor,
  userAgent: string | undefined,
): Promise<void> {
  const address = actor.address === undefined ? {} : { address: actor.address };
  const device = userAgent === undefined ? {} : { device: describeBrowser(userAgent) };
  const data = { what, at: deps.clock.now().toISOString(), ...address, ...device };
  await queueMail(tx, deps, { to: { userId }, template: 'security-notice', data });
}

function toReply(row: LinkRow, label: string): LinkedIdentity {
  return {
    ...{ label, issuer: row.issuer, linkedAt: row.linked_at.toISOString() },
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
  };
}
