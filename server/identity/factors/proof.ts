/** Whether somebody has what they say: the one place where a code or a passkey is looked at. */
import type { WriteTransaction } from '../../lib/db.ts';
import type { PeopleDeps } from '../people/people.ts';
import { openPersonBytes } from '../people/person-fields.ts';
import { checkPasskey } from './passkeys.ts';
import {
  findAuthenticatorApp,
  findPasskeyByCredential,
  lockAuthenticatorApp,
  updateAppStep,
  useRecoveryCode,
} from './queries.ts';
import { recoveryCodeHash } from './recovery-codes.ts';
import type { RelyingParty } from './relying-party.ts';
import type { FactorProof } from './schema.ts';
import { matchTotp } from './totp.ts';

export const APP_FIELD = 'authenticator-app';

/** Uses the proof up, in the transaction of what it is for. False: it was not right, or was used meanwhile. */
export type TakeProof = (tx: WriteTransaction) => Promise<boolean>;

/** What a passkey must have answered. */
export interface Asked {
  challenge: string | undefined;
  party: RelyingParty;
}

/**
 * Looks at a proof. Nothing is used up yet.
 *
 * @returns undefined when it is wrong already.
 */
export async function checkFactor(
  deps: PeopleDeps,
  userId: string,
  proof: FactorProof,
  asked: Asked,
): Promise<TakeProof | undefined> {
  const at = deps.clock.now();
  switch (proof.kind) {
    case 'totp':
      return checkTotp(deps, userId, proof.code);
    case 'recovery-code': {
      const hash = recoveryCodeHash(proof.code);
      return (tx) => useRecoveryCode(tx, userId, hash, at);
    }
    case 'passkey': {
      if (asked.challenge === undefined) return undefined;
      const row = await findPasskeyByCredential(deps.db, Buffer.from(proof.response.id, 'base64url'));
      if (row?.user_id !== userId) return undefined;
      const { challenge, party } = asked;
      return checkPasskey(row, proof.response, { challenge, party, verified: false, at });
    }
  }
}

async function checkTotp(deps: PeopleDeps, userId: string, code: string): Promise<TakeProof | undefined> {
  const app = await findAuthenticatorApp(deps.db, userId);
  if (app?.secret_sealed == null) return undefined;
  const sealed = app.secret_sealed;
  const secret = await openPersonBytes(deps, userId, { field: APP_FIELD, objectId: userId, sealed });
  const now = deps.clock.now();
  const step = matchTotp(secret, code, now, Number(app.last_step));
  if (step === undefined) return undefined;
  return async (tx) => {
    const present = await lockAuthenticatorApp(tx, userId);
    const same = present?.secret_sealed?.equals(sealed) === true;
    if (!same || Number(present.last_step) >= step) return false;
    await updateAppStep(tx, userId, step, now);
    return true;
  };
}
