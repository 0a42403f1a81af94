/** What follows a sign of theft, and what somebody is told whose session has ended. */
import type { Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { QueueMailDeps } from '../../mail/index.ts';
import { noteMove, raiseAlert } from './alerts.ts';
import type { FoundSessionRow } from './queries.ts';
import { endOneSession, type SessionDeps, type TheftSign } from './sessions.ts';

export type TheftDeps = SessionDeps & QueueMailDeps;

/**
 * Ends a session that was certainly stolen. Nobody knows which of the two is the thief, so neither goes on. That it ends does not
 * wait for the keyring, which the mail needs.
 */
export async function endStolenSession(
  deps: TheftDeps,
  { sign, row }: { sign: TheftSign; row: FoundSessionRow },
  request: Actor,
  userAgent: string | undefined,
): Promise<void> {
  const actor: Actor = { ...request, id: row.user_id, sessionId: row.id };
  const alert = {
    ...{ kind: sign, userId: row.user_id, sessionId: row.id, ended: true },
    userAgent: userAgent ?? null,
  };
  try {
    await writeTransaction(deps.db, async (tx) => {
      if (await endOneSession(tx, deps, row.id, sign, actor)) await raiseAlert(tx, deps, alert, actor);
    });
  } catch (error) {
    await writeTransaction(deps.db, (tx) => endOneSession(tx, deps, row.id, sign, actor));
    throw error;
  }
}

/** @returns whether the session was ended for coming from a new network. */
export async function followMove(
  deps: TheftDeps,
  row: FoundSessionRow,
  address: string,
  request: Actor,
): Promise<boolean> {
  const actor: Actor = { ...request, id: row.user_id, sessionId: row.id };
  return writeTransaction(deps.db, (tx) => noteMove(tx, deps, row, address, actor));
}

const SIGN_IN_AGAIN = 'Sign in to go on.';
const LOOK_AT_SESSIONS =
  'Sign in, look at your sessions, and change your password if one of them was not yours.';
const ENDED: Record<string, readonly [message: string, hint: string]> = {
  'signed-out': ['You have signed out', SIGN_IN_AGAIN],
  idle: ['Your session has ended after a time without activity', SIGN_IN_AGAIN],
  'too-old': ['Your session has reached its longest time', SIGN_IN_AGAIN],
  revoked: ['This session was ended from another one of yours', SIGN_IN_AGAIN],
  'revoked-by-owner': ['An owner of this appliance has ended this session', SIGN_IN_AGAIN],
  'password-changed': ['Your password was changed, which ends every session', 'Sign in with the new one.'],
  'password-reset': [
    'Your password was reset by a link sent by mail, which ends every session',
    'Sign in with the new one.',
  ],
  'factor-changed': ['Your second factor was changed, which ends every session', SIGN_IN_AGAIN],
  'role-changed': ['Your role was changed, which ends every session', SIGN_IN_AGAIN],
  'provider-logout': ['You were signed out by the provider of single sign-on', SIGN_IN_AGAIN],
  'single-sign-on-only': [
    'Single sign-on is now the only way in',
    'Sign in by the provider of your organisation.',
  ],
  'token-replayed': [
    'You were signed out: the token of this session was used twice, so somebody may have a copy of it',
    LOOK_AT_SESSIONS,
  ],
  'two-browsers': [
    'You were signed out: this session was used from two different browsers',
    LOOK_AT_SESSIONS,
  ],
  'likely-theft': [
    'You were signed out: something about your account is unusual, such as a new device or network',
    LOOK_AT_SESSIONS,
  ],
};

/** For whoever still has the token of an ended session. */
export function sessionEnded(reason: string): HoldfastError {
  const [message, hint] = ENDED[reason] ?? ['Your session has ended', SIGN_IN_AGAIN];
  return new HoldfastError('session_ended', message, { hint });
}
