/**
 * Adding and taking away what a person signs in with. Guarantees: a session that lacks a factor may add one only while the person has
 * none, so a password alone never gets past a factor; every change ends the other sessions and gives this one a new token; the first
 * factor brings recovery codes; somebody who must have a factor cannot take away the last.
 */
import { randomBytes } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { getPerson, type PeopleDeps } from '../people/people.ts';
import { openPersonBytes, sealPersonBytes } from '../people/person-fields.ts';
import { queueMail } from '../../mail/index.ts';
import { findUser } from '../people/queries.ts';
import { describeBrowser } from '../sessions/browser.ts';
import {
  endSessionsOf,
  isStillSignedIn,
  openSession,
  providerSessionOf,
  type OpenedSession,
} from '../sessions/sessions.ts';
import type { SignInMethod } from '../schema.ts';
import { isStrong, needsSecondFactor } from './methods.ts';
import {
  checkNewPasskey,
  describePasskeys,
  newPasskeyId,
  newPasskeyOptions,
  preparePasskeyName,
  writePasskey,
} from './passkeys.ts';
import { APP_FIELD } from './proof.ts';
import {
  confirmApp,
  countFactors,
  deleteApp,
  deletePasskey,
  deletePasskeysOf,
  deletePendingOf,
  findAuthenticatorApp,
  lockUser,
  membersNeedSecondFactor,
  replaceRecoveryCodes,
  setPasskeyChallenge,
  setPendingApp,
  takePasskeyChallenge,
  updatePasskeyName,
  type FactorCount,
} from './queries.ts';
import { requireFactorsHere } from '../single-sign-on/local-credentials.ts';
import { clearAttempts, countAttempt, throttleBucket } from '../sign-in/sign-in-throttle.ts';
import { writeRecoveryCodes } from './recovery-codes.ts';
import type { RelyingParty } from './relying-party.ts';
import type { NewAuthenticatorApp, PasskeyAttestation, SignInWays } from './schema.ts';
import { base32, matchTotp, TOTP_SECRET_BYTES, totpUri } from './totp.ts';

/** Who changes their own ways, and through what. */
export interface Self {
  person: Person;
  actor: Actor;
  userAgent: string | undefined;
}

export interface FactorChange {
  session: OpenedSession;
  /** Secret; shown once. */
  recoveryCodes?: string[];
}

const CHALLENGE_MS = 5 * 60_000;
/** A secret that was shown and not confirmed is forgotten after this. */
const CONFIRM_MS = 30 * 60_000;

export async function describeWays(
  deps: PeopleDeps,
  person: Person,
  party: RelyingParty,
): Promise<SignInWays> {
  const [user, app, count, membersNeed, passkeys] = await Promise.all([
    findUser(deps.db, person.userId),
    findAuthenticatorApp(deps.db, person.userId),
    countFactors(deps.db, person.userId),
    membersNeedSecondFactor(deps.db),
    describePasskeys(deps, person.userId),
  ]);
  return {
    passwordChangedAt: user?.password_changed_at?.toISOString() ?? null,
    secondFactorRequired: needsSecondFactor(person.role, membersNeed),
    authenticatorApp:
      app?.confirmed_at == null
        ? null
        : {
            confirmedAt: app.confirmed_at.toISOString(),
            lastUsedAt: app.last_used_at?.toISOString() ?? null,
          },
    passkeys,
    recoveryCodes: {
      left: count.recoveryCodes,
      madeAt: count.recoveryCodesMadeAt?.toISOString() ?? null,
    },
    passkeysImpossible: party.impossible ?? null,
  };
}

/** A new secret for an app; what counted before counts until a code of the new one was given. */
export async function beginAuthenticatorApp(deps: PeopleDeps, self: Self): Promise<NewAuthenticatorApp> {
  const { userId } = self.person;
  refuseWeakSession(self.person, await countFactors(deps.db, userId));
  const secret = randomBytes(TOTP_SECRET_BYTES);
  const [user, sealed] = await Promise.all([
    getPerson(deps, userId),
    sealPersonBytes(deps, userId, { field: APP_FIELD, objectId: userId }, secret),
  ]);
  await writeTransaction(deps.db, (tx) => setPendingApp(tx, userId, sealed, deps.clock.now()));
  return { secret: base32(secret), uri: totpUri(secret, 'Holdfast', user.email) };
}

/** @throws HoldfastError `invalid_input` for a wrong code, `wrong_state` when nothing waits for one. */
export async function confirmAuthenticatorApp(
  deps: PeopleDeps,
  self: Self,
  code: string,
): Promise<FactorChange> {
  const { userId } = self.person;
  const app = await findAuthenticatorApp(deps.db, userId);
  const now = deps.clock.now();
  const sealed = app?.pending_sealed;
  if (sealed == null || now.getTime() - (app?.pending_at?.getTime() ?? 0) > CONFIRM_MS)
    throw new HoldfastError('wrong_state', 'No authenticator app waits to be confirmed', {
      hint: 'Begin again.',
    });
  const bucket = throttleBucket('confirm-app', Buffer.from(userId), undefined);
  await countAttempt(deps, bucket);
  const secret = await openPersonBytes(deps, userId, { field: APP_FIELD, objectId: userId, sealed });
  const step = matchTotp(secret, code, now, 0);
  if (step === undefined)
    throw new HoldfastError('invalid_input', 'The code is not right', {
      hint: 'Take the one that the app shows now. If none works, look whether the clock of the phone is right.',
    });
  await clearAttempts(deps, bucket);
  return changeFactors(deps, self, 'totp', async (tx) => {
    const present = await findAuthenticatorApp(tx, userId);
    if (present?.pending_sealed?.equals(sealed) !== true)
      throw new HoldfastError('conflict', 'Another secret was made meanwhile', { hint: 'Begin again.' });
    await confirmApp(tx, userId, sealed, step, now);
    return { action: 'identity.totp.added' };
  });
}

export async function beginPasskey(deps: PeopleDeps, self: Self, party: RelyingParty): Promise<unknown> {
  refuseWeakSession(self.person, await countFactors(deps.db, self.person.userId));
  const options = await newPasskeyOptions(deps, self.person.userId, party);
  const expiresAt = new Date(deps.clock.now().getTime() + CHALLENGE_MS);
  await writeTransaction(deps.db, (tx) =>
    setPasskeyChallenge(tx, self.person.sessionId, 'enrol', options.challenge, expiresAt),
  );
  return options;
}

export async function addPasskey(
  deps: PeopleDeps,
  self: Self,
  party: RelyingParty,
  request: { name: string; response: PasskeyAttestation },
): Promise<FactorChange> {
  const { userId, sessionId } = self.person;
  const at = deps.clock.now();
  const challenge = await writeTransaction(deps.db, (tx) => takePasskeyChallenge(tx, sessionId, 'enrol', at));
  if (challenge === undefined)
    throw new HoldfastError('wrong_state', 'No passkey waits to be added', { hint: 'Begin again.' });
  const checked = await checkNewPasskey(request.response, challenge, party);
  const id = newPasskeyId();
  const nameSealed = await preparePasskeyName(deps, userId, id, request.name);
  return changeFactors(deps, self, 'passkey', async (tx) => {
    await writePasskey(tx, { id, userId, nameSealed, at }, checked);
    return { action: 'identity.passkey.added', objectType: 'passkey', objectId: id };
  });
}

/** @throws HoldfastError `not_found` for a passkey of somebody else too. */
export async function renamePasskey(deps: PeopleDeps, self: Self, id: string, name: string): Promise<void> {
  const { userId } = self.person;
  const nameSealed = await preparePasskeyName(deps, userId, id, name);
  await writeTransaction(deps.db, async (tx) => {
    if (!(await updatePasskeyName(tx, userId, id, nameSealed))) throw noSuchPasskey();
    await recordAudit(tx, deps.clock, self.actor, {
      action: 'identity.passkey.renamed',
      objectType: 'passkey',
      objectId: id,
    });
  });
}

export async function removePasskey(deps: PeopleDeps, self: Self, id: string): Promise<FactorChange> {
  return changeFactors(deps, self, undefined, async (tx) => {
    if (!(await deletePasskey(tx, self.person.userId, id))) throw noSuchPasskey();
    return { action: 'identity.passkey.removed', objectType: 'passkey', objectId: id };
  });
}

export async function removeAuthenticatorApp(deps: PeopleDeps, self: Self): Promise<FactorChange> {
  return changeFactors(deps, self, undefined, async (tx) => {
    if (!(await deleteApp(tx, self.person.userId)))
      throw new HoldfastError('not_found', 'There is no authenticator app');
    return { action: 'identity.totp.removed' };
  });
}

/** Ten new codes; those before work no more. */
export async function renewRecoveryCodes(deps: PeopleDeps, self: Self): Promise<string[]> {
  const { userId } = self.person;
  return writeTransaction(deps.db, async (tx) => {
    await lockUser(tx, userId);
    const count = await countFactors(tx, userId);
    if (!hasFactor(count))
      throw new HoldfastError(
        'wrong_state',
        'Recovery codes stand in for a second factor, and there is none',
        {
          hint: 'Add a passkey or an authenticator app first.',
        },
      );
    const codes = await writeRecoveryCodes(tx, userId, deps.clock.now());
    await recordAudit(tx, deps.clock, self.actor, {
      action: 'identity.recovery-codes.made',
      objectType: 'user',
      objectId: userId,
    });
    await noticeChange(tx, deps, self, 'identity.recovery-codes.made');
    return codes;
  });
}

/** Whether a sign-in of this person has a second step. */
export async function hasSecondFactor(tx: WriteTransaction, userId: string): Promise<boolean> {
  return hasFactor(await countFactors(tx, userId));
}

/** Takes everything beside the password away. The caller answers for who may, and ends the sessions. */
export async function removeAllFactors(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  userId: string,
  actor: Actor,
  detail: Record<string, string | number> = {},
): Promise<'removed' | 'none'> {
  await lockUser(tx, userId);
  const { authenticatorApp, passkeys, recoveryCodes } = await countFactors(tx, userId);
  if (!authenticatorApp && passkeys === 0 && recoveryCodes === 0) return 'none';
  await deleteApp(tx, userId);
  await deletePasskeysOf(tx, userId);
  await replaceRecoveryCodes(tx, userId, [], deps.clock.now());
  await deletePendingOf(tx, userId);
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.second-factors.removed',
    objectType: 'user',
    objectId: userId,
    detail: { authenticatorApp, passkeys, recoveryCodes, ...detail },
  });
  return 'removed';
}

interface Entry {
  action: string;
  objectType?: string;
  objectId?: string;
}

/** @param added what was just proven; undefined when something is taken away. */
async function changeFactors(
  deps: PeopleDeps,
  self: Self,
  added: SignInMethod | undefined,
  act: (tx: WriteTransaction) => Promise<Entry>,
): Promise<FactorChange> {
  const { person, actor } = self;
  return writeTransaction(deps.db, async (tx) => {
    await lockUser(tx, person.userId);
    // Their sessions may have been ended while this was on its way; it would open a new one.
    if (!(await isStillSignedIn(deps, person, tx)))
      throw new HoldfastError('unauthenticated', 'Sign in first');
    const before = await countFactors(tx, person.userId);
    refuseWeakSession(person, before);
    if (added !== undefined) await requireFactorsHere(tx, person.role);
    const entry = await act(tx);
    await recordAudit(tx, deps.clock, actor, { objectType: 'user', objectId: person.userId, ...entry });
    const after = await countFactors(tx, person.userId);
    const recoveryCodes = await followUp(tx, deps, person, before, after);
    await deletePendingOf(tx, person.userId);
    const providerSession = await providerSessionOf(tx, person.sessionId);
    await endSessionsOf(tx, deps, person.userId, 'factor-changed');
    const methods = [...new Set([...person.methods, ...(added === undefined ? [] : [added])])];
    const session = await openSession(tx, deps, { id: person.userId, role: person.role }, actor, {
      userAgent: self.userAgent,
      methods,
      providerSession,
      // What was proven is the new factor, by whoever holds it; dangerous acts go on asking from when they did.
      authenticatedAt: person.authenticatedAt,
    });
    await noticeChange(tx, deps, self, entry.action);
    crashPoint('identity.factor.changed');
    return { session, ...(recoveryCodes === undefined ? {} : { recoveryCodes }) };
  });
}

const NOTICES: Record<string, string> = {
  'identity.totp.added': 'An authenticator app was added to your account',
  'identity.totp.removed': 'The authenticator app was removed from your account',
  'identity.passkey.added': 'A passkey was added to your account',
  'identity.passkey.removed': 'A passkey was removed from your account',
  'identity.recovery-codes.made': 'New recovery codes were made for your account',
};

async function noticeChange(
  tx: WriteTransaction,
  deps: PeopleDeps,
  { person, actor, userAgent }: Self,
  action: string,
): Promise<void> {
  const what = NOTICES[action];
  if (what === undefined) return;
  const address = actor.address === undefined ? {} : { address: actor.address };
  const device = userAgent === undefined ? {} : { device: describeBrowser(userAgent) };
  const data = { what, at: deps.clock.now().toISOString(), ...address, ...device };
  await queueMail(tx, deps, { to: { userId: person.userId }, template: 'security-notice', data });
}

/** What else follows from the first factor, and from the last. */
async function followUp(
  tx: WriteTransaction,
  deps: PeopleDeps,
  person: Person,
  before: FactorCount,
  after: FactorCount,
): Promise<string[] | undefined> {
  if (!hasFactor(after)) {
    if (needsSecondFactor(person.role, await membersNeedSecondFactor(tx)))
      throw new HoldfastError('wrong_state', 'This is your only second factor, and you must have one', {
        hint: 'Add another passkey or an authenticator app first, then remove this one.',
      });
    await replaceRecoveryCodes(tx, person.userId, [], deps.clock.now());
    return undefined;
  }
  return hasFactor(before) ? undefined : writeRecoveryCodes(tx, person.userId, deps.clock.now());
}

function hasFactor(count: FactorCount): boolean {
  return count.authenticatorApp || count.passkeys > 0;
}

/** Whoever has only the password must not add a factor of their own beside the person's. */
function refuseWeakSession(person: Person, count: FactorCount): void {
  if (!hasFactor(count) || isStrong(person.methods)) return;
  throw new HoldfastError('second_factor_required', 'Sign in again with your second factor', {
    hint: 'One was added since this session began.',
  });
}

function noSuchPasskey(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such passkey');
}
