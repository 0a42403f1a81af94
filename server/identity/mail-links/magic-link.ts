/**
 * Signing in by a link, for members where their workspaces allow it. Guarantees: it counts only in the browser that asked, which holds a
 * secret of its own; opening it uses nothing up, since programs that look through mail open links too; the second factor is asked for as
 * after a password.
 */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { countFactors } from '../factors/queries.ts';
import { lockUser } from '../people/queries.ts';
import { sessionTokenHash } from '../sessions/session-cookie.ts';
import { openSession } from '../sessions/sessions.ts';
import { beginSecondStep, secondWays } from '../sign-in/pending-sign-in.ts';
import type { SignedIn } from '../sign-in/sign-in.ts';
import { mayKeepCredentials } from '../single-sign-on/local-credentials.ts';
import { unusableLink, type LinkDeps } from './mail-links.ts';
import { findLink, takeLink } from './queries.ts';

/** @throws HoldfastError `not_found` for a link that cannot be used, or not in this browser: that uses nothing up. */
export async function signInByLink(
  deps: LinkDeps,
  request: { token: string; browserToken: string | undefined; userAgent: string | undefined },
  actor: Actor,
): Promise<SignedIn> {
  const { token, browserToken, userAgent } = request;
  const [tokenHash, browserHash] = [sessionTokenHash(token), sessionTokenHash(browserToken ?? '')];
  const signedIn = await writeTransaction(deps.db, async (tx): Promise<SignedIn | undefined> => {
    // The person first, as everywhere: whoever is being deactivated holds them, and ends this link next.
    const found = await findLink(tx, 'magic-link', tokenHash, deps.clock.now());
    const user = found && (await lockUser(tx, found.user_id));
    if ((await takeLink(tx, 'magic-link', tokenHash, deps.clock.now(), browserHash)) === undefined)
      return undefined;
    // What was right when it was sent may not be any more.
    if (user?.disabled_at !== null || user.role !== 'member') return undefined;
    const allowed = (await mayKeepCredentials(tx, user.role)) && (await deps.magicLinksAllowed(tx, user.id));
    if (!allowed) return undefined;
    const ways = secondWays(await countFactors(tx, user.id));
    if (ways.length > 0)
      return { pending: await beginSecondStep(tx, deps, user.id, ways, { methods: ['magic-link'] }) };
    const proof = { userAgent, methods: ['magic-link'] as const };
    return { session: await openSession(tx, deps, { id: user.id, role: user.role }, actor, proof) };
  });
  if (signedIn !== undefined) return signedIn;
  throw unusableLink(
    'It works once, for ten minutes, and only in the browser in which you asked for it. Ask for a new one at the sign-in page.',
  );
}
