/**
 * A new password for somebody who forgot theirs. Guarantees: it opens no session, and never gets past the second factor, which the next
 * sign-in asks for as ever; who must have one and has none is not reset by mail. Every session and every other link is over with it.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { mailState, queueMail } from '../../mail/index.ts';
import { hashPassword } from '../passwords/password-hash.ts';
import { checkPassword } from '../passwords/password-policy.ts';
import { getPerson, setPassword } from '../people/people.ts';
import { lockUser } from '../people/queries.ts';
import type { Role } from '../schema.ts';
import { sessionTokenHash } from '../sessions/session-cookie.ts';
import { mayKeepCredentials } from '../single-sign-on/local-credentials.ts';
import { lacksFactor, LINK_MINUTES, makeLink, unusableLink, type LinkDeps } from './mail-links.ts';
import { findLink, takeLink } from './queries.ts';
import type { ResetLook, ResetRequest, SentReset } from './schema.ts';

const KIND = 'password-reset';

/** What a link is for; nothing is used up. @throws HoldfastError `not_found` for any that cannot be used. */
export async function lookAtReset(deps: LinkDeps, token: string): Promise<ResetLook> {
  const link = await findLink(deps.db, KIND, sessionTokenHash(token), deps.clock.now());
  if (link === undefined) throw unusable();
  const { email } = await getPerson(deps, link.user_id);
  return { email, expiresAt: link.expires_at.toISOString() };
}

/**
 * @throws HoldfastError `not_found` for a link that cannot be used; `invalid_input` for a password that is not taken, which leaves the
 *   link as it is.
 */
export async function resetPassword(deps: LinkDeps, request: ResetRequest, actor: Actor): Promise<void> {
  const tokenHash = sessionTokenHash(request.token);
  const link = await findLink(deps.db, KIND, tokenHash, deps.clock.now());
  if (link === undefined) throw unusable();
  const { name, email } = await getPerson(deps, link.user_id);
  await checkPassword(deps, request.password, [name, email]);
  const passwordHash = await hashPassword(request.password);
  await writeTransaction(deps.db, async (tx) => {
    const user = await lockUser(tx, link.user_id);
    if ((await takeLink(tx, KIND, tokenHash, deps.clock.now())) === undefined) throw unusable();
    const allowed = user?.disabled_at === null && (await mayKeepCredentials(tx, user.role as Role));
    if (!allowed || (await lacksFactor(tx, user))) throw unusable();
    const self = { ...actor, id: user.id };
    await recordAudit(tx, deps.clock, self, {
      action: 'identity.password-reset.done',
      objectType: 'user',
      objectId: user.id,
    });
    await setPassword(tx, deps, { userId: user.id, passwordHash, reason: 'password-reset' }, self);
  });
  crashPoint('identity.password.reset');
}

/**
 * An owner makes a link for somebody: it goes out by mail, or is handed over where no mail can be sent.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for who is deactivated, for who must have a second factor and has none, and for oneself.
 */
export async function offerReset(
  deps: LinkDeps,
  userId: string,
  origin: string,
  actor: Actor,
): Promise<SentReset> {
  if (actor.id === userId)
    throw new HoldfastError('wrong_state', 'This is you', { hint: 'Change your password under Security.' });
  const { sends } = await mailState(deps.db);
  return writeTransaction(deps.db, async (tx) => {
    const user = await lockUser(tx, userId);
    if (user === undefined) throw new HoldfastError('not_found', 'There is no such person');
    if (user.disabled_at !== null) throw new HoldfastError('wrong_state', 'This account is deactivated');
    if (!(await mayKeepCredentials(tx, user.role as Role)))
      throw new HoldfastError('wrong_state', 'This person does not sign in with a password', {
        hint: 'Single sign-on is the only way in for everybody but owners.',
      });
    if (await lacksFactor(tx, user))
      throw new HoldfastError('wrong_state', 'This account must have a second factor and has none yet', {
        hint: 'Whoever has the link would become this person. Deactivate the account, give it another e-mail address, and invite them again under the address they have.',
      });
    const { url, expiresAt } = await makeLink(tx, deps, { kind: KIND, userId, origin });
    const until = expiresAt.toISOString();
    await queueMail(tx, deps, { to: { userId }, template: KIND, data: { url, until }, expiresAt });
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.password-reset.offered',
      objectType: 'user',
      objectId: userId,
    });
    return { mailed: sends, ...(sends ? {} : { link: url }), expiresAt: until };
  });
}

function unusable(): HoldfastError {
  return unusableLink(
    `It works once and for ${LINK_MINUTES[KIND]} minutes, and ends when you sign in. Ask for a new one at the sign-in page.`,
  );
}
