/**
 * What a browser has begun at the provider. Guarantees: it belongs to the browser that began it, by an opaque token in a cookie; it
 * serves once and for ten minutes. What the provider is given (state, nonce, the verifier of RFC 7636) is made from the token, so the
 * database knows none of it.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { Actor } from '../../audit/index.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import type { PeopleDeps } from '../people/people.ts';
import { newSessionToken, sessionTokenHash } from '../sessions/session-cookie.ts';
import { openProvider } from './provider.ts';
import { deleteOldAttempts, findProvider, insertAttempt, takeAttempt, type AttemptRow } from './queries.ts';
import { SingleSignOnRefusal } from './refusal.ts';

export const ATTEMPT_LIFETIME_MS = 10 * 60_000;
/** The provider lets nobody through who last showed it who they are before that. */
const MOST_SILENT_S = 24 * 60 * 60;
/** A page of ours, registered at the provider. */
export const RETURN_PATH = '/sign-in/return';

export type Purpose =
  | { kind: 'sign-in' }
  | { kind: 'invitation'; invitationHash: Buffer }
  | { kind: 'link' | 'proof'; person: Person };

export interface BegunAttempt {
  /** Secret; goes into the cookie and nowhere else. */
  token: string;
  /** Where the browser goes. */
  url: string;
}

/** @param origin under which this browser reaches us. @throws HoldfastError `wrong_state`, `unavailable` */
export async function beginAttempt(
  deps: PeopleDeps,
  purpose: Purpose,
  origin: string,
): Promise<BegunAttempt> {
  const row = await findProvider(deps.db);
  if (row?.enabled !== true)
    throw new HoldfastError('wrong_state', 'Single sign-on is not set up on this appliance');
  const { configuration } = await openProvider(deps, row);
  const oidc = await import('openid-client');
  const token = newSessionToken();
  const secrets = secretsOf(token, purpose.kind);
  const url = oidc.buildAuthorizationUrl(configuration, {
    redirect_uri: `${origin}${RETURN_PATH}`,
    scope: [...new Set(['openid', ...row.scopes])].join(' '),
    state: secrets.state,
    nonce: secrets.nonce,
    code_challenge: createHash('sha256').update(secrets.verifier).digest('base64url'),
    code_challenge_method: 'S256',
    // Asks for it, of providers that know more than one.
    ...(row.strong_acr.length === 0 ? {} : { acr_values: row.strong_acr.join(' ') }),
    // A proof is worth something only when the provider asks for it now. Otherwise it may let somebody through without asking, and says
    // when it last did: only asked for an age does it have to (OpenID Connect Core 1.0, section 2).
    ...(purpose.kind === 'proof' ? { prompt: 'login', max_age: '0' } : { max_age: String(MOST_SILENT_S) }),
  });
  const now = deps.clock.now();
  const person = 'person' in purpose ? purpose.person : undefined;
  await writeTransaction(deps.db, async (tx) => {
    await deleteOldAttempts(tx, now);
    await insertAttempt(tx, {
      ...{ token_hash: sessionTokenHash(token), purpose: purpose.kind, origin, created_at: now },
      ...{ user_id: person?.userId ?? null, session_id: person?.sessionId ?? null },
      invitation_hash: purpose.kind === 'invitation' ? purpose.invitationHash : null,
      settings_version: row.version,
      expires_at: new Date(now.getTime() + ATTEMPT_LIFETIME_MS),
    });
  });
  return { token, url: url.href };
}

/** What a browser came back with. */
export interface Returned {
  /** Of the cookie. */
  token: string | undefined;
  state: string;
  code: string | undefined;
  iss: string | undefined;
  error: string | undefined;
  actor: Actor;
  userAgent: string | undefined;
}

export interface TakenAttempt {
  row: AttemptRow;
  nonce: string;
  verifier: string;
}

/** Uses it up. @throws SingleSignOnRefusal */
export async function endAttempt(
  deps: Pick<PeopleDeps, 'db' | 'clock'>,
  returned: Returned,
  kinds: readonly Purpose['kind'][],
): Promise<TakenAttempt> {
  const { token, state } = returned;
  const kind = kinds.find((one) => state.startsWith(`${one}.`));
  if (token === undefined || kind === undefined) throw new SingleSignOnRefusal('not-begun');
  const secrets = secretsOf(token, kind);
  const [expected, found] = [Buffer.from(secrets.state), Buffer.from(state)];
  // Somebody else's answer must not use up what this browser has begun.
  if (expected.length !== found.length || !timingSafeEqual(expected, found))
    throw new SingleSignOnRefusal('not-begun', { detail: 'the state is another' });
  const now = deps.clock.now();
  const row = await writeTransaction(deps.db, (tx) => takeAttempt(tx, sessionTokenHash(token), now));
  if (row?.purpose !== kind) throw new SingleSignOnRefusal('not-begun');
  return { row, ...secrets };
}

function secretsOf(token: string, kind: Purpose['kind']): { state: string; nonce: string; verifier: string } {
  const derive = (what: string) => createHmac('sha256', token).update(`${what} ${kind}`).digest('base64url');
  // The page that comes back sees by the state what it was begun for.
  return { state: `${kind}.${derive('state')}`, nonce: derive('nonce'), verifier: derive('verifier') };
}
