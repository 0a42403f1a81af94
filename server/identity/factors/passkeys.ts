/**
 * Passkeys (Web Authentication level 3), by @simplewebauthn/server, which is loaded when the first is used. What it checks: challenge,
 * origin, relying party, signature, presence, and verification of the person where that is asked for. What this adds: a challenge serves
 * once, a passkey works only under the name it was made for, and its counter moves on in the transaction of the act.
 */
import { randomUUID } from 'node:crypto';
import type { AuthenticatorTransport } from '@simplewebauthn/server';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { getPerson, type PeopleDeps } from '../people/people.ts';
import { openPersonTexts, sealPersonBytes } from '../people/person-fields.ts';
import { insertPasskey, listPasskeyRows, updatePasskeyUse, type PasskeyRow } from './queries.ts';
import type { RelyingParty } from './relying-party.ts';
import type { Passkey, PasskeyAssertion, PasskeyAttestation } from './schema.ts';

const NAME_FIELD = 'passkey-name';
const LIMIT = 20;

const library = () => import('@simplewebauthn/server');

/** For `navigator.credentials.create`, with the challenge to remember. */
export async function newPasskeyOptions(deps: PeopleDeps, userId: string, party: RelyingParty) {
  if (party.impossible !== undefined) throw new HoldfastError('wrong_state', party.impossible);
  const [person, present, { generateRegistrationOptions }] = await Promise.all([
    getPerson(deps, userId),
    listPasskeyRows(deps.db, userId),
    library(),
  ]);
  if (present.length >= LIMIT)
    throw new HoldfastError('wrong_state', `There are ${LIMIT} passkeys already`, {
      hint: 'Remove one that is not used any more.',
    });
  return generateRegistrationOptions({
    rpName: 'Holdfast',
    rpID: party.id,
    userID: userHandle(userId),
    userName: person.email,
    userDisplayName: person.name,
    attestationType: 'none',
    excludeCredentials: present.map(credentialOf),
    authenticatorSelection: { residentKey: 'preferred', userVerification: 'preferred' },
  });
}

export interface CheckedPasskey {
  credentialId: Buffer;
  publicKey: Buffer;
  counter: number;
  transports: string[];
  backupEligible: boolean;
  backedUp: boolean;
  relyingParty: string;
}

/** @throws HoldfastError `invalid_input` when the answer is not one to this challenge at this address. */
export async function checkNewPasskey(
  response: PasskeyAttestation,
  challenge: string,
  party: RelyingParty,
): Promise<CheckedPasskey> {
  const { verifyRegistrationResponse } = await library();
  const { registrationInfo } = await verifyRegistrationResponse({
    response: response as Parameters<typeof verifyRegistrationResponse>[0]['response'],
    expectedChallenge: challenge,
    expectedOrigin: party.origin,
    expectedRPID: party.id,
    requireUserVerification: false,
  }).catch((error: unknown) => {
    throw unfit(messageOf(error));
  });
  if (registrationInfo === undefined) throw unfit('not verified');
  const { credential, credentialDeviceType, credentialBackedUp } = registrationInfo;
  return {
    credentialId: Buffer.from(credential.id, 'base64url'),
    publicKey: Buffer.from(credential.publicKey),
    counter: credential.counter,
    transports: credential.transports ?? [],
    backupEligible: credentialDeviceType === 'multiDevice',
    backedUp: credentialBackedUp,
    relyingParty: party.id,
  };
}

/** Seals its name. Outside a transaction: keyd is asked. */
export async function preparePasskeyName(deps: PeopleDeps, userId: string, id: string, name: string) {
  return sealPersonBytes(deps, userId, { field: NAME_FIELD, objectId: id }, checkShownName(name));
}

export async function writePasskey(
  tx: WriteTransaction,
  row: { id: string; userId: string; nameSealed: Buffer; at: Date },
  passkey: CheckedPasskey,
): Promise<void> {
  const fresh = await insertPasskey(tx, {
    id: row.id,
    user_id: row.userId,
    credential_id: passkey.credentialId,
    public_key: passkey.publicKey,
    relying_party: passkey.relyingParty,
    counter: passkey.counter,
    transports: passkey.transports,
    backup_eligible: passkey.backupEligible,
    backed_up: passkey.backedUp,
    name_sealed: row.nameSealed,
    created_at: row.at,
  });
  if (!fresh) throw new HoldfastError('conflict', 'This passkey is known already');
}

export function newPasskeyId(): string {
  return randomUUID();
}

/**
 * What a passkey of this person is asked at this address.
 *
 * @throws HoldfastError `wrong_state` when none of theirs works here.
 */
export async function askOwnPasskey(deps: Pick<PeopleDeps, 'db'>, userId: string, party: RelyingParty) {
  const rows = (await listPasskeyRows(deps.db, userId)).filter((row) => row.relying_party === party.id);
  if (rows.length === 0 && party.impossible === undefined)
    throw new HoldfastError('wrong_state', 'None of your passkeys was made for this address', {
      hint: 'Open the appliance by the name that you used then, or take another way.',
    });
  return passkeyRequestOptions(party, rows, 'preferred');
}

/** For `navigator.credentials.get`. @param rows those that may answer; none: any that the browser finds. */
export async function passkeyRequestOptions(
  party: RelyingParty,
  rows: readonly PasskeyRow[],
  verify: 'required' | 'preferred',
) {
  if (party.impossible !== undefined) throw new HoldfastError('wrong_state', party.impossible);
  const { generateAuthenticationOptions } = await library();
  return generateAuthenticationOptions({
    rpID: party.id,
    allowCredentials: rows.map(credentialOf),
    userVerification: verify,
  });
}

/**
 * Whether an answer is one of this passkey to this challenge.
 *
 * @returns what notes the use in the transaction of the act, and is false when the same answer was used meanwhile; undefined when the
 *   answer is not right.
 */
export async function checkPasskey(
  row: PasskeyRow,
  response: PasskeyAssertion,
  expected: { challenge: string; party: RelyingParty; verified: boolean; at: Date },
): Promise<((tx: WriteTransaction) => Promise<boolean>) | undefined> {
  const { party } = expected;
  if (party.id !== row.relying_party || party.impossible !== undefined) return undefined;
  const handle = response.response.userHandle ?? undefined;
  if (handle !== undefined && !Buffer.from(handle, 'base64url').equals(userHandle(row.user_id)))
    return undefined;
  const { verifyAuthenticationResponse } = await library();
  const checked = await verifyAuthenticationResponse({
    response: response as Parameters<typeof verifyAuthenticationResponse>[0]['response'],
    expectedChallenge: expected.challenge,
    expectedOrigin: party.origin,
    expectedRPID: row.relying_party,
    requireUserVerification: expected.verified,
    credential: {
      id: row.credential_id.toString('base64url'),
      publicKey: new Uint8Array(row.public_key),
      counter: Number(row.counter),
    },
  }).catch(() => undefined);
  if (checked?.verified !== true) return undefined;
  const { newCounter: counter, credentialBackedUp: backedUp } = checked.authenticationInfo;
  return (tx) => updatePasskeyUse(tx, row.id, { counter, backedUp, at: expected.at });
}

/** For the person's own page. */
export async function describePasskeys(deps: PeopleDeps, userId: string): Promise<Passkey[]> {
  const rows = await listPasskeyRows(deps.db, userId);
  const fields = rows.map((row) => ({
    field: NAME_FIELD,
    objectId: row.id,
    sealed: row.name_sealed,
  }));
  const names = await openPersonTexts(deps, userId, fields);
  return rows.map((row, index) => ({
    id: row.id,
    name: names[index] ?? '',
    createdAt: row.created_at.toISOString(),
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
    backedUp: row.backed_up,
    relyingParty: row.relying_party,
  }));
}

/** What an authenticator keeps to say whose passkey it is: the id, no name. */
function userHandle(userId: string): Buffer<ArrayBuffer> {
  return Buffer.from(userId.replaceAll('-', ''), 'hex');
}

function credentialOf(row: PasskeyRow) {
  return {
    id: row.credential_id.toString('base64url'),
    transports: row.transports as AuthenticatorTransport[],
  };
}

function unfit(detail: string): HoldfastError {
  return new HoldfastError('invalid_input', 'The passkey could not be taken', {
    hint: 'Begin again. If it stays so, use another browser or device, or an authenticator app.',
    detail,
  });
}
