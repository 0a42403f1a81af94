/**
 * The way back in for a sole owner who lost the password: at the console, with the recovery kit. Two things that nobody has
 * by accident. A second factor stays unless it is said that it goes; then the next sign-in asks for a new one. It ends every session, is in the audit log, and shows a banner to everybody for a month.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import {
  hashNewPassword,
  hasSecondFactor,
  listOwners,
  removeAllFactors,
  revokeKeysOf,
  setPassword,
  type PasswordDeps,
  type PeopleDeps,
} from '../identity/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { lockAppliance, updateAppliance } from './queries.ts';
import { proveRecoveryKit, type KitDeps } from './recovery-kits.ts';

export type OwnerRecoveryDeps = Omit<PasswordDeps, 'keys'> &
  KitDeps & { keys: PeopleDeps['keys'] & KitDeps['keys'] };

export interface OwnerRecovery {
  kitId: string;
  /** Answer to the kit's challenge. */
  response: string;
  /** New password. Secret. */
  password: string;
  /** Takes passkeys, authenticator app and recovery codes away, for an owner who lost these too. */
  removeSecondFactors?: boolean;
}

/**
 * Sets a new password for the sole owner.
 *
 * @throws HoldfastError `wrong_key` when the kit is not proven, `wrong_state` when there is not exactly one owner,
 * `invalid_input` for an unfit password; nothing is changed then.
 */
export async function recoverOwner(
  deps: OwnerRecoveryDeps,
  recovery: OwnerRecovery,
  actor: Actor,
): Promise<{ userId: string; secondFactors: 'kept' | 'removed' | 'none' }> {
  if (actor.kind !== 'console')
    throw new HoldfastError('forbidden', 'An owner is recovered at the console only');
  const [userId, other] = await listOwners(deps);
  if (userId === undefined) {
    throw new HoldfastError('wrong_state', 'This appliance has no owner yet', {
      hint: 'Claim it: holdfast claim-code.',
    });
  }
  if (other !== undefined) {
    throw new HoldfastError('wrong_state', 'This appliance has more than one owner', {
      hint: 'Another owner gives back access, on the page of that person: a link for a new password first, then “Remove second factors”.',
    });
  }
  const passwordHash = await hashNewPassword(deps, userId, recovery.password);
  await proveRecoveryKit(deps, recovery.kitId, recovery.response, actor);
  const secondFactors = await writeTransaction(deps.db, async (tx) => {
    const appliance = await lockAppliance(tx);
    await setPassword(tx, deps, { userId, passwordHash, reason: 'recovered' }, actor);
    // Whoever had the account may have made keys to stay.
    const revokedKeys = await revokeKeysOf(tx, deps, userId, 'recovered');
    const factors =
      recovery.removeSecondFactors === true
        ? await removeAllFactors(tx, deps, userId, actor)
        : (await hasSecondFactor(tx, userId))
          ? 'kept'
          : 'none';
    await updateAppliance(tx, { console_recovery_at: deps.clock.now() });
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.owner.recovered',
      objectType: 'user',
      objectId: userId,
      detail: { kitId: recovery.kitId, applianceId: appliance.id, secondFactors: factors, revokedKeys },
    });
    return factors;
  });
  return { userId, secondFactors };
}
