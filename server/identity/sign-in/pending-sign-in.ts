/**
 * A sign-in between its steps: the password was right and a second factor is asked for, or a passkey was asked for first. Known by an
 * opaque token in a cookie of the browser that began it, of which only the hash is kept; it lasts five minutes and five attempts.
 */
import { randomUUID } from 'node:crypto';
import type { Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { askOwnPasskey, checkPasskey, passkeyRequestOptions } from '../factors/passkeys.ts';
import { checkFactor, type TakeProof } from '../factors/proof.ts';
import {
  countFactors,
  countPendingAttempt,
  deleteOldPending,
  deletePending,
  findPasskeyByCredential,
  findPending,
  insertPending,
  isKnownAddress,
  setPendingChallenge,
  type FactorCount,
  type PasskeyRow,
  type PendingRow,
} from '../factors/queries.ts';
import { recordRecoveryCodeUse } from '../factors/recovery-codes.ts';
import type { RelyingParty } from '../factors/relying-party.ts';
import type { FactorKind, FactorProof, PasskeyAssertion, SecondStep } from '../factors/schema.ts';
import type { PeopleDeps } from '../people/people.ts';
import { lockUser } from '../people/queries.ts';
import type { Role, SignInMethod } from '../schema.ts';
import { countAccountFailure } from '../sessions/alerts.ts';
import { newSessionToken, sessionTokenHash } from '../sessions/session-cookie.ts';
import { openSession, type OpenedSession } from '../sessions/sessions.ts';
import { mayKeepCredentials } from '../single-sign-on/local-credentials.ts';
import { recordRefusal } from './refusals.ts';
import { accountBucket, clearAttempts, countAttempt, throttleBucket } from './sign-in-throttle.ts';

const LIFETIME_MS = 5 * 60_000;
const ATTEMPTS = 5;

export interface PendingSignIn {
  /** Secret; goes into the cookie and nowhere else. */
  token: string;
  step: SecondStep;
}

/** Where a step of a sign-in comes from. */
export interface From {
  actor: Actor;
  userAgent: string | undefined;
  party: RelyingParty;
  /** Of the cookie. */
  token: string | undefined;
}

/** The ways a person has as a second step; none: the password is all. */
export function secondWays(count: FactorCount): FactorKind[] {
  if (!count.authenticatorApp && count.passkeys === 0) return [];
  return [
    ...(count.passkeys > 0 ? (['passkey'] as const) : []),
    ...(count.authenticatorApp ? (['totp'] as const) : []),
    ...(count.recoveryCodes > 0 ? (['recovery-code'] as const) : []),
  ];
}

/** By what a sign-in began. */
export interface FirstStep {
  methods: readonly SignInMethod[];
  /** Of the session at the provider of single sign-on. */
  providerSession?: Buffer | undefined;
}

/** Remembers that the first step held: the password, unless it is said otherwise. */
export async function beginSecondStep(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  userId: string,
  ways: FactorKind[],
  began: FirstStep = { methods: ['password'] },
): Promise<PendingSignIn> {
  const { token, expiresAt } = await writePending(tx, deps, { userId, began });
  return { token, step: { ways, expiresAt: expiresAt.toISOString() } };
}

/** What the browser's passkey is asked, after the password. @throws HoldfastError `unauthenticated` when there is no such sign-in. */
export async function askSecondPasskey(deps: PeopleDeps, from: From): Promise<unknown> {
  const pending = await findPendingOf(deps, from.token);
  if (pending?.user_id == null) throw signInOver();
  const options = await askOwnPasskey(deps, pending.user_id, from.party);
  await writeTransaction(deps.db, (tx) => setPendingChallenge(tx, pending.id, options.challenge));
  return options;
}

/** What the browser's passkey is asked when it is the first thing. */
export async function askFirstPasskey(
  deps: PeopleDeps,
  party: RelyingParty,
): Promise<{ token: string; options: unknown }> {
  const options = await passkeyRequestOptions(party, [], 'required');
  const { token } = await writeTransaction(deps.db, (tx) =>
    writePending(tx, deps, { challenge: options.challenge }),
  );
  return { token, options };
}

/**
 * Ends a sign-in with its second step.
 *
 * @throws HoldfastError `unauthenticated` for a wrong or used proof, and when the sign-in is over; `too_many_requests` after repeated
 *   failures.
 */
export async function finishWithFactor(
  deps: PeopleDeps,
  proof: FactorProof,
  from: From,
): Promise<OpenedSession> {
  const pending = await countPending(deps, from.token);
  const userId = pending?.user_id;
  if (pending === undefined || userId == null) throw signInOver();
  const buckets = await countFactorAttempt(deps, userId, proof.kind, from.actor);
  const asked = { challenge: pending.challenge ?? undefined, party: from.party };
  const take = await checkFactor(deps, userId, proof, asked);
  const session = await finish(
    deps,
    { pending, userId, take },
    [...(pending.methods as SignInMethod[]), proof.kind],
    from,
  );
  if (session === undefined) {
    await recordFactorRefusal(deps, userId, proof.kind, from.actor);
    throw wrongFactor(proof.kind);
  }
  for (const bucket of [...buckets, accountBucket(userId)]) await clearAttempts(deps, bucket);
  return session;
}

/** Signs in with a passkey alone, which must have verified the person. @throws as `finishWithFactor`. */
export async function finishWithPasskey(
  deps: PeopleDeps,
  response: PasskeyAssertion,
  from: From,
): Promise<OpenedSession> {
  const pending = await countPending(deps, from.token);
  if (pending?.challenge == null || pending.user_id !== null) throw signInOver();
  const row = await findPasskeyByCredential(deps.db, Buffer.from(response.id, 'base64url'));
  const take = row === undefined ? undefined : await takeFirst(deps, row, response, pending.challenge, from);
  const session =
    row === undefined
      ? undefined
      : await finish(deps, { pending, userId: row.user_id, take }, ['passkey'], from);
  if (session === undefined) {
    await recordFactorRefusal(deps, row?.user_id, 'passkey', from.actor);
    throw wrongFactor('passkey');
  }
  if (row !== undefined) await clearAttempts(deps, accountBucket(row.user_id));
  return session;
}

function takeFirst(
  deps: PeopleDeps,
  row: PasskeyRow,
  response: PasskeyAssertion,
  challenge: string,
  from: From,
): Promise<TakeProof | undefined> {
  return checkPasskey(row, response, {
    challenge,
    party: from.party,
    verified: true,
    at: deps.clock.now(),
  });
}

/** @returns undefined when the proof does not hold; the sign-in goes on then. */
async function finish(
  deps: PeopleDeps,
  { pending, userId, take }: { pending: PendingRow; userId: string; take: TakeProof | undefined },
  methods: SignInMethod[],
  from: From,
): Promise<OpenedSession | undefined> {
  if (take === undefined) return undefined;
  return writeTransaction(deps.db, async (tx) => {
    const user = await lockUser(tx, userId);
    if (user?.disabled_at !== null) return undefined;
    if (!methods.includes('sso') && !(await mayKeepCredentials(tx, user.role as Role))) return undefined;
    if (!(await take(tx))) return undefined;
    if (!(await deletePending(tx, pending.id))) throw signInOver();
    if (methods.includes('recovery-code')) await recordRecoveryCodeUse(tx, deps.clock, userId, from.actor);
    const { userAgent, actor } = from;
    const providerSession = pending.provider_session_hash ?? undefined;
    const opening = { userAgent, methods, providerSession };
    return openSession(tx, deps, { id: user.id, role: user.role as Role }, actor, opening);
  });
}

async function writePending(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  what: { userId?: string; challenge?: string; began?: FirstStep },
): Promise<{ token: string; expiresAt: Date }> {
  const now = deps.clock.now();
  const token = newSessionToken();
  const expiresAt = new Date(now.getTime() + LIFETIME_MS);
  await deleteOldPending(tx, now);
  await insertPending(tx, {
    id: randomUUID(),
    token_hash: sessionTokenHash(token),
    user_id: what.userId ?? null,
    challenge: what.challenge ?? null,
    methods: [...(what.began?.methods ?? [])],
    provider_session_hash: what.began?.providerSession ?? null,
    expires_at: expiresAt,
  });
  return { token, expiresAt };
}

async function findPendingOf(deps: PeopleDeps, token: string | undefined): Promise<PendingRow | undefined> {
  return token === undefined ? undefined : findPending(deps.db, sessionTokenHash(token), deps.clock.now());
}

async function countPending(deps: PeopleDeps, token: string | undefined): Promise<PendingRow | undefined> {
  if (token === undefined) return undefined;
  const hash = sessionTokenHash(token);
  return writeTransaction(deps.db, (tx) => countPendingAttempt(tx, hash, deps.clock.now(), ATTEMPTS));
}

/**
 * Codes of six digits can be guessed: beside account and address they count for the account alone, wherever they come from. An address
 * from which the person has been in before is spared that, so that who learned the password cannot lock them out; passkeys and recovery
 * codes are never held up by it.
 *
 * @returns what a success forgets.
 */
async function countFactorAttempt(
  deps: PeopleDeps,
  userId: string,
  kind: FactorKind,
  actor: Actor,
): Promise<string[]> {
  const key = Buffer.from(userId);
  const buckets = [throttleBucket(`second-factor ${kind}`, key, actor.address)];
  const known = actor.address !== undefined && (await isKnownAddress(deps.db, userId, actor.address));
  if (kind === 'totp' && !known) buckets.push(throttleBucket('second-factor anywhere', key, undefined));
  for (const bucket of buckets) await countAttempt(deps, bucket);
  return buckets;
}

async function recordFactorRefusal(
  deps: PeopleDeps,
  userId: string | undefined,
  kind: FactorKind,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    await recordRefusal(
      tx,
      deps,
      { action: 'identity.second-factor.refused', userId, detail: { kind } },
      actor,
    );
    if (userId === undefined) return;
    // Somebody has the password already: many of these are worth telling.
    await countAccountFailure(tx, deps, accountBucket(userId), userId, actor);
  });
}

/** What a person may do as a second step now. */
export async function secondWaysOf(deps: Pick<PeopleDeps, 'db'>, userId: string): Promise<FactorKind[]> {
  return secondWays(await countFactors(deps.db, userId));
}

function signInOver(): HoldfastError {
  return new HoldfastError('unauthenticated', 'This sign-in is over', {
    hint: 'It lasts five minutes and five attempts. Begin again.',
  });
}

function wrongFactor(kind: FactorKind): HoldfastError {
  const words: Record<FactorKind, [string, string]> = {
    totp: ['The code is wrong, or was used before', 'Each code works once. Wait for the next one.'],
    'recovery-code': [
      'The recovery code is wrong, or was used before',
      'Each works once. Take the next one.',
    ],
    passkey: ['The passkey was not accepted', 'Try again, or sign in another way.'],
  };
  return new HoldfastError('unauthenticated', words[kind][0], { hint: words[kind][1] });
}
