/**
 * Another address of one's own. Guarantees: it counts when the link that was sent to it is followed; the old one is told before and after.
 * Whether somebody has that address already is said only to who reads its mail.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { queueMail } from '../../mail/index.ts';
import type { Self } from '../factors/enrolment.ts';
import { getPerson, normaliseEmail } from '../people/people.ts';
import { openPersonBytes, openPersonTexts, sealPersonBytes } from '../people/person-fields.ts';
import { changePerson, type PersonLifeDeps } from '../people/person-life.ts';
import { lockUser } from '../people/queries.ts';
import { sessionTokenHash } from '../sessions/session-cookie.ts';
import { isStillSignedIn } from '../sessions/sessions.ts';
import { takeAccountTurn } from './mail-budget.ts';
import { makeLink, requireMail, unusableLink, type LinkDeps } from './mail-links.ts';
import { deleteLinksOf, findLink, findLinkOf, takeLink } from './queries.ts';
import type { PendingEmailChange } from './schema.ts';

const KIND = 'email-change';
const FIELD = 'new-email';

type Deps = LinkDeps & PersonLifeDeps;

/**
 * Sends the link to the new address; one that was asked for before is over.
 *
 * @throws HoldfastError `invalid_input` for the address that one has; `wrong_state` where no mail can be sent; `too_many_requests`.
 */
export async function askEmailChange(
  deps: Deps,
  self: Self,
  { email: typed, origin }: { email: string; origin: string },
): Promise<PendingEmailChange> {
  const { person, actor } = self;
  const { userId } = person;
  const email = typed.trim();
  await requireMail(deps);
  const before = await getPerson(deps, userId);
  if (normaliseEmail(before.email) === normaliseEmail(email))
    throw new HoldfastError('invalid_input', 'This is your address already');
  const id = randomUUID();
  const emailSealed = await sealPersonBytes(deps, userId, { field: FIELD, objectId: id }, email);
  return writeTransaction(deps.db, async (tx) => {
    await lockUser(tx, userId);
    if (!(await isStillSignedIn(deps, person, tx)))
      throw new HoldfastError('unauthenticated', 'Sign in first');
    const asking = { kind: KIND, key: Buffer.from(userId), address: actor.address };
    if (!(await takeAccountTurn(tx, deps.clock, asking, true)))
      throw new HoldfastError('too_many_requests', 'Too many changes of address for one day');
    await deleteLinksOf(tx, userId, [KIND]);
    const { url, expiresAt } = await makeLink(tx, deps, { id, kind: KIND, userId, origin, emailSealed });
    const until = expiresAt.toISOString();
    const data = { url, until, name: before.name };
    await queueMail(tx, deps, { to: { email }, template: 'email-confirmation', data, expiresAt });
    await queueMail(tx, deps, {
      to: { userId },
      template: 'security-notice',
      data: {
        what: 'Another e-mail address was asked for in your account',
        detail: `It becomes ${email} when the link that was sent there is followed.`,
        at: deps.clock.now().toISOString(),
        ...(actor.address === undefined ? {} : { address: actor.address }),
      },
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.email-change.requested',
      objectType: 'user',
      objectId: userId,
    });
    return { email, expiresAt: until };
  });
}

/** What waits to be confirmed. */
export async function readEmailChange(deps: Deps, userId: string): Promise<PendingEmailChange | null> {
  const link = await findLinkOf(deps.db, userId, KIND, deps.clock.now());
  if (link?.email_sealed == null) return null;
  const place = { field: FIELD, objectId: link.id, sealed: link.email_sealed };
  const [email = ''] = await openPersonTexts(deps, userId, [place]);
  return { email, expiresAt: link.expires_at.toISOString() };
}

/** Idempotent. */
export async function cancelEmailChange(deps: Deps, userId: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    if ((await deleteLinksOf(tx, userId, [KIND])) === 0) return;
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.email-change.cancelled',
      objectType: 'user',
      objectId: userId,
    });
  });
}

/**
 * The link was followed: the address counts, for signing in too.
 *
 * @returns the new address. @throws HoldfastError `not_found` for a link that cannot be used; `conflict` when somebody has that address.
 */
export async function confirmEmailChange(
  deps: Deps,
  token: string,
  actor: Actor,
): Promise<{ email: string }> {
  const tokenHash = sessionTokenHash(token);
  const link = await findLink(deps.db, KIND, tokenHash, deps.clock.now());
  if (link?.email_sealed == null) throw unusable();
  const place = { field: FIELD, objectId: link.id, sealed: link.email_sealed };
  const email = (await openPersonBytes(deps, link.user_id, place)).toString('utf8');
  await changePerson(deps, link.user_id, { email }, { ...actor, id: link.user_id }, async (tx) => {
    const user = await lockUser(tx, link.user_id);
    const taken = await takeLink(tx, KIND, tokenHash, deps.clock.now());
    if (taken === undefined || user?.disabled_at !== null) throw unusable();
  });
  return { email };
}

function unusable(): HoldfastError {
  return unusableLink('It works once and for a day. Ask for a new one in your profile.');
}
