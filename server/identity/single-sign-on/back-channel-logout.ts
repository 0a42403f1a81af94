/**
 * The provider says that somebody signed out there, or left (OpenID Connect Back-Channel Logout 1.0). Guarantees: a message counts only
 * when every check of section 2.6 holds, once, and for ten minutes; what it ends is over at the next request in every process.
 */
import { createHash } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { systemActor, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { revokeKeysOf } from '../api-keys/api-keys.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { lockUser } from '../people/queries.ts';
import { endOneSession } from '../sessions/sessions.ts';
import { ATTEMPT_LIFETIME_MS } from './attempts.ts';
import { endAccess } from './enter.ts';
import { subjectHashOf } from './links.ts';
import { CLOCK_TOLERANCE_S, openProvider, SIGNATURE_ALGORITHMS, type Provider } from './provider.ts';
import { providerSessionHash } from './provider-session.ts';
import {
  deleteOldLogouts,
  deleteProviderPending,
  findLinkBySubject,
  findProvider,
  listProviderSessions,
  lockProviderSession,
  noteLoggedOut,
  noteLogout,
  noteProviderSessionEnded,
} from './queries.ts';

const EVENT = 'http://schemas.openid.net/event/backchannel-logout';
const OLDEST_S = 600;
const MOST_TOKEN = 8_192;
const MOST_TEXT = 1_024;

interface Message {
  sub: string | undefined;
  sid: string | undefined;
  tokenIdHash: Buffer;
  expiresAt: Date;
}

/** @throws HoldfastError `invalid_input` for a message that does not hold; `unavailable` when that cannot be found out now. */
export async function takeLogout(deps: PersonLifeDeps, token: string, request: Actor): Promise<void> {
  const row = await findProvider(deps.db);
  if (row?.enabled !== true) throw invalid('single sign-on is not set up');
  if (token.length > MOST_TOKEN) throw invalid('it is too long');
  // Before anybody is asked for keys: whoever sends anything must not make us ask.
  await checkHead(token);
  const provider = await openProvider(deps, row);
  const message = readClaims(await verify(deps, provider, token));
  const subject =
    message.sub === undefined
      ? undefined
      : await findLinkBySubject(deps.db, await subjectHashOf(deps, provider.issuer, message.sub));
  const { address, requestId } = request;
  const actor = { ...systemActor('single sign-on'), address, requestId };
  await writeTransaction(deps.db, async (tx) => {
    await deleteOldLogouts(tx, deps.clock.now());
    if (!(await noteLogout(tx, message.tokenIdHash, message.expiresAt))) throw invalid('it was used before');
    const sessionHash = providerSessionHash(provider.issuer, message.sid);
    if (sessionHash === undefined) {
      if (subject !== undefined) await endPerson(tx, deps, subject.user_id, actor);
    } else {
      await lockProviderSession(tx, sessionHash);
      // A sign-in may be on its way that it let begin; it has so long.
      await noteProviderSessionEnded(
        tx,
        sessionHash,
        new Date(deps.clock.now().getTime() + ATTEMPT_LIFETIME_MS),
      );
      const userIds = await endProviderSession(tx, deps, sessionHash, actor);
      if (row.logout_ends_keys && subject !== undefined) userIds.add(subject.user_id);
      if (row.logout_ends_keys)
        for (const userId of userIds) await revokeKeysOf(tx, deps, userId, 'left the provider');
    }
  });
}

async function endPerson(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  userId: string,
  actor: Actor,
): Promise<void> {
  // A sign-in on its way either ends before, and its session with this, or finds that the provider takes it no more.
  await lockUser(tx, userId);
  await noteLoggedOut(tx, userId, deps.clock.now());
  await endAccess(tx, deps, userId, actor);
}

async function endProviderSession(
  tx: WriteTransaction,
  deps: PersonLifeDeps,
  sessionHash: Buffer,
  actor: Actor,
): Promise<Set<string>> {
  await deleteProviderPending(tx, sessionHash);
  const userIds = new Set<string>();
  for (const { id, user_id: userId } of await listProviderSessions(tx, sessionHash)) {
    userIds.add(userId);
    await endOneSession(tx, deps, id, 'provider-logout', actor);
  }
  return userIds;
}

async function checkHead(token: string): Promise<void> {
  const { decodeProtectedHeader } = await import('jose');
  let head: ReturnType<typeof decodeProtectedHeader>;
  try {
    head = decodeProtectedHeader(token);
  } catch {
    throw invalid('it is no signed token');
  }
  if (!SIGNATURE_ALGORITHMS.includes(head.alg ?? '')) throw invalid(`it is not signed with a public key`);
  // An ID token, or any other, must not pass for it; older providers name no kind of their own.
  const kind = (head.typ ?? 'JWT').toLowerCase().replace(/^application\//, '');
  if (kind !== 'logout+jwt' && kind !== 'jwt') throw invalid('it is a token of another kind');
}

async function verify(
  deps: Pick<PersonLifeDeps, 'clock'>,
  { keyFor, issuer, row }: Provider,
  token: string,
): Promise<JWTPayload> {
  const { jwtVerify, errors } = await import('jose');
  try {
    const { payload } = await jwtVerify(token, keyFor, {
      ...{ issuer, audience: row.client_id, algorithms: SIGNATURE_ALGORITHMS },
      ...{ currentDate: deps.clock.now(), clockTolerance: CLOCK_TOLERANCE_S, maxTokenAge: OLDEST_S },
      requiredClaims: ['iss', 'aud', 'iat', 'exp', 'jti', 'events'],
    });
    return payload;
  } catch (cause) {
    if (cause instanceof errors.JOSEError) throw invalid(messageOf(cause), cause);
    throw cause;
  }
}

function readClaims(claims: JWTPayload): Message {
  const { events, jti, sub, sid, exp = 0, iat = 0 } = claims;
  const event =
    typeof events === 'object' && events !== null && EVENT in events
      ? (events as Record<string, unknown>)[EVENT]
      : undefined;
  if (typeof event !== 'object' || event === null) throw invalid('it tells of no logout');
  if ('nonce' in claims) throw invalid('it has a nonce, as an ID token has');
  if (!isText(jti)) throw invalid('it has no usable jti');
  if ((sub !== undefined && !isText(sub)) || (sid !== undefined && !isText(sid)))
    throw invalid('whom it names cannot be read');
  if (sub === undefined && sid === undefined) throw invalid('it names nobody');
  const until = Math.max(exp, iat + OLDEST_S) + 2 * CLOCK_TOLERANCE_S;
  return {
    ...{ sub, sid },
    tokenIdHash: createHash('sha256').update(jti).digest(),
    // Never so far that a date cannot say it.
    expiresAt: new Date(Math.min(until, iat + 10 * 86_400) * 1000),
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MOST_TEXT;
}

function invalid(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('invalid_input', 'This logout token is not taken', {
    detail: `back-channel logout: ${why}`,
    ...(cause === undefined ? {} : { cause }),
  });
}
