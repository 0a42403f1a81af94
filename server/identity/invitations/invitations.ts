/**
 * Invitations: an owner asks somebody in, who chooses name and password. Guarantees: the token is 256 random bits, kept as a hash, works
 * once and for seven days; the address is sealed under the subject key that will be the person's; sending again makes the link from
 * before useless.
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { queueMail } from '../../mail/index.ts';
import { emailHashOf, namePeople, normaliseEmail, personField } from '../people/people.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { findUserByEmailHash, lockUser } from '../people/queries.ts';
import { hasRight, ROLE_WORDS } from '../rights.ts';
import type { Role } from '../schema.ts';
import { nameTeams, noSuchTeam } from '../teams/teams.ts';
import {
  findInvitationByToken,
  insertInvitation,
  listInvitationRows,
  listOpenRows,
  lockInvitation,
  updateInvitation,
  type InvitationRow,
} from './queries.ts';
import type {
  Invitation,
  InvitationLook,
  InvitationsQuery,
  InviteRequest,
  SentInvitation,
} from './schema.ts';

const LIFETIME_MS = 7 * 24 * 3_600_000;
/** The newest ones are listed; older ones are in the audit log. */
const MOST_LISTED = 1_000;

/**
 * @param origin `https://…` under which the invited person reaches the appliance.
 * @throws HoldfastError `conflict` when the address belongs to a person or to an open invitation; `not_found` for a team.
 */
export async function invite(
  deps: PersonLifeDeps,
  request: InviteRequest,
  origin: string,
  actor: Actor,
): Promise<SentInvitation> {
  const email = request.email.trim();
  const teamIds = [...new Set(request.teamIds ?? [])];
  if ((await nameTeams(deps, teamIds)).size < teamIds.length) throw noSuchTeam();
  await refuseKnownAddress(deps, email);
  const [id, personId, token] = [randomUUID(), randomUUID(), newToken()];
  const { id: keyId } = await deps.keys.createSubjectKey(null);
  const context = personField('user-email', keyId, personId);
  const [emailSealed] = await deps.sealer.seal([{ keyId, purpose: 'person', context, value: email }]);
  if (emailSealed === undefined) throw new HoldfastError('internal', 'Sealing gave nothing back');
  const now = deps.clock.now();
  const expiresAt = new Date(now.getTime() + LIFETIME_MS);
  const mailed = await writeTransaction(deps.db, async (tx) => {
    if (actor.id !== undefined) await holdInviter(tx, actor.id);
    await insertInvitation(tx, {
      ...{ id, person_id: personId, subject_key_id: keyId, email_sealed: emailSealed, role: request.role },
      ...{ token_hash: hashOf(token), team_ids: teamIds, invited_by: actor.id ?? null },
      ...{ invited_at: now, expires_at: expiresAt },
    });
    await recordInvitation(tx, deps, actor, 'sent', id, { role: request.role, teams: teamIds.length });
    return sendLink(tx, deps, { email, role: request.role, origin, token, expiresAt });
  });
  return toSent(deps, id, { mailed, origin, token });
}

/** Whoever ends their account, or takes their role away, waits for this invitation and withdraws it, or is done before. */
async function holdInviter(tx: WriteTransaction, id: string): Promise<void> {
  const inviter = await lockUser(tx, id);
  if (inviter?.disabled_at !== null || !hasRight(inviter.role as Role, 'people.manage'))
    throw new HoldfastError('forbidden', 'You may not invite anybody any more');
}

/** Sends a new link for an open or expired invitation; the one before is useless then. @throws as `withdraw` */
export async function resend(
  deps: PersonLifeDeps,
  id: string,
  origin: string,
  actor: Actor,
): Promise<SentInvitation> {
  const token = newToken();
  const expiresAt = new Date(deps.clock.now().getTime() + LIFETIME_MS);
  const mailed = await writeTransaction(deps.db, async (tx) => {
    const row = await holdOpen(tx, id);
    await updateInvitation(tx, id, { token_hash: hashOf(token), expires_at: expiresAt });
    await recordInvitation(tx, deps, actor, 'sent-again', id);
    const email = (await openEmails(deps, [row]))[0] ?? '';
    return sendLink(tx, deps, { email, role: row.role as Role, origin, token, expiresAt });
  });
  return toSent(deps, id, { mailed, origin, token });
}

/** @throws HoldfastError `not_found`; `wrong_state` when it was accepted or withdrawn. */
export async function withdraw(deps: PersonLifeDeps, id: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    await holdOpen(tx, id);
    await updateInvitation(tx, id, { ended_at: deps.clock.now(), outcome: 'withdrawn' });
    await recordInvitation(tx, deps, actor, 'withdrawn', id);
  });
}

/** The newest thousand, those that wait first. */
export async function listInvitations(deps: PersonLifeDeps, query: InvitationsQuery): Promise<Invitation[]> {
  const all = await describe(deps, await listInvitationRows(deps.db, MOST_LISTED));
  const needle = normaliseEmail(query.search ?? '');
  return all.filter(
    (one) =>
      (query.state === undefined || one.state === query.state) && normaliseEmail(one.email).includes(needle),
  );
}

/** What the invited person sees before accepting. @throws HoldfastError `not_found` for any token that cannot be used. */
export async function lookAtInvitation(deps: PersonLifeDeps, token: string): Promise<InvitationLook> {
  const row = await findUsable(deps, token);
  const [email = ''] = await openEmails(deps, [row]);
  return { email, role: row.role as Role, expiresAt: row.expires_at.toISOString() };
}

/** The invitation of a token that can be used now. @throws HoldfastError `not_found` */
export async function findUsable(
  deps: Pick<PersonLifeDeps, 'db' | 'clock'>,
  token: string,
): Promise<InvitationRow> {
  const row = await findInvitationByToken(deps.db, hashOf(token));
  if (row?.ended_at !== null || row.expires_at <= deps.clock.now()) throw unusable();
  return row;
}

/** The addresses of invitations. */
export async function openEmails(
  deps: Pick<PersonLifeDeps, 'sealer'>,
  rows: readonly InvitationRow[],
): Promise<string[]> {
  const opened = await deps.sealer.tryOpen(
    rows.map((row) => ({
      ...{ keyId: row.subject_key_id, purpose: 'person' as const, sealed: row.email_sealed },
      context: personField('user-email', row.subject_key_id, row.person_id),
    })),
  );
  return opened.map((email) => (Buffer.isBuffer(email) ? email.toString('utf8') : '(unreadable)'));
}

export function unusable(): HoldfastError {
  return new HoldfastError('not_found', 'This invitation cannot be used any more', {
    hint: 'It works once and for seven days. Ask whoever invited you for a new one.',
  });
}

export async function recordInvitation(
  tx: WriteTransaction,
  deps: Pick<PersonLifeDeps, 'clock'>,
  actor: Actor,
  what: string,
  id: string,
  detail?: Record<string, string | number>,
): Promise<void> {
  await recordAudit(tx, deps.clock, actor, {
    ...{ action: `identity.invitation.${what}`, objectType: 'invitation', objectId: id },
    ...(detail === undefined ? {} : { detail }),
  });
}

async function refuseKnownAddress(deps: PersonLifeDeps, email: string): Promise<void> {
  if ((await findUserByEmailHash(deps.db, await emailHashOf(deps, email))) !== undefined)
    throw new HoldfastError('conflict', 'Somebody with this e-mail address exists already', {
      hint: 'See the list of people; a deactivated person can be activated again.',
    });
  const open = await openEmails(deps, await listOpenRows(deps.db, deps.clock.now()));
  if (open.some((other) => normaliseEmail(other) === normaliseEmail(email)))
    throw new HoldfastError('conflict', 'This e-mail address is invited already', {
      hint: 'Send that invitation again, or withdraw it.',
    });
}

async function sendLink(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  sent: { email: string; role: Role; origin: string; token: string; expiresAt: Date },
): Promise<boolean> {
  const { email, role, origin, token, expiresAt } = sent;
  const data = { url: linkOf(origin, token), role: ROLE_WORDS[role].title, until: expiresAt.toISOString() };
  const { sending } = await queueMail(tx, deps, { to: { email }, template: 'invitation', data, expiresAt });
  return sending;
}

/** The token stands in the fragment, which no browser sends: it is in no log of a server or proxy. */
function linkOf(origin: string, token: string): string {
  return `${origin}/invitation#${token}`;
}

async function toSent(
  deps: PersonLifeDeps,
  id: string,
  { mailed, origin, token }: { mailed: boolean; origin: string; token: string },
): Promise<SentInvitation> {
  const invitation = (await listInvitations(deps, {})).find((one) => one.id === id);
  if (invitation === undefined) throw unusable();
  return { invitation, mailed, ...(mailed ? {} : { link: linkOf(origin, token) }) };
}

async function holdOpen(tx: WriteTransaction, id: string): Promise<InvitationRow> {
  const row = await lockInvitation(tx, id);
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such invitation');
  if (row.outcome === null) return row;
  throw new HoldfastError('wrong_state', `This invitation was ${row.outcome} already`);
}

async function describe(deps: PersonLifeDeps, rows: readonly InvitationRow[]): Promise<Invitation[]> {
  const emails = await openEmails(deps, rows);
  const inviters = rows.flatMap((row) => (row.invited_by === null ? [] : [row.invited_by]));
  const people = await namePeople(deps, [...new Set(inviters)]);
  const teams = await nameTeams(
    deps,
    rows.flatMap((row) => row.team_ids),
  );
  const now = deps.clock.now();
  return rows.map((row, index) => ({
    id: row.id,
    email: emails[index] ?? '',
    role: row.role as Role,
    state: stateOf(row, now),
    teams: row.team_ids.flatMap((id) => (teams.has(id) ? [{ id, name: teams.get(id) ?? '' }] : [])),
    invitedAt: row.invited_at.toISOString(),
    invitedBy: people.get(row.invited_by ?? '')?.name ?? null,
    expiresAt: row.expires_at.toISOString(),
  }));
}

function stateOf(row: InvitationRow, now: Date): Invitation['state'] {
  if (row.outcome !== null) return row.outcome as 'accepted' | 'withdrawn';
  return row.expires_at > now ? 'open' : 'expired';
}

function newToken(): string {
  return randomBytes(32).toString('base64url');
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
