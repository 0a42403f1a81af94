/**
 * When the secret of a session is renewed, and what a secret that was shown means. Pure: the table and the clock are given.
 *
 * A new secret counts only once it was used. Until then the one before is good without limit, because the reply that carried the
 * new one may be lost, or the process may have ended before it left; it is given again. From its first use the one before stays
 * good for a grace, because requests were under way. Whoever shows it after that has a copy: a browser keeps only one.
 */
export const RENEW_AFTER_MS = 5 * 60_000;
export const GRACE_MS = 2 * 60_000;

export interface RenewalState {
  secretHash: Buffer;
  previousSecretHash: Buffer | null;
  renewedAt: Date;
  /** When the present secret was first shown; null: only the one before it was, if there is one. */
  renewalUsedAt: Date | null;
}

export type Shown =
  /** `firstUse`: nobody showed it before, which ends the time of the one before. `due`: give a new one. */
  | { secret: 'present'; firstUse: boolean; due: boolean }
  /** `again`: the present one never arrived, as far as is known; give it again. */
  | { secret: 'previous'; again: boolean }
  | { secret: 'spent' };

/**
 * @param shownHash of the secret that a request carries.
 * @param ownMs how long ago this process saw the first use of the present secret, by a clock that is never set; undefined when it did
 *   not. The grace lasts as long as either clock says: a step of the wall clock is no theft.
 */
export function judgeSecret(state: RenewalState, shownHash: Buffer, now: Date, ownMs?: number): Shown {
  const { previousSecretHash, renewalUsedAt } = state;
  if (shownHash.equals(state.secretHash)) {
    const firstUse = previousSecretHash !== null && renewalUsedAt === null;
    return { secret: 'present', firstUse, due: !firstUse && isDue(state, now) };
  }
  if (previousSecretHash === null || !shownHash.equals(previousSecretHash)) return { secret: 'spent' };
  if (renewalUsedAt === null) return { secret: 'previous', again: true };
  const inGrace = msSince(renewalUsedAt, now) <= GRACE_MS || (ownMs !== undefined && ownMs <= GRACE_MS);
  return inGrace ? { secret: 'previous', again: false } : { secret: 'spent' };
}

/** Never while the grace of the secret before lasts: then two would be forgotten at once. A clock that went back counts as due. */
function isDue({ previousSecretHash, renewedAt, renewalUsedAt }: RenewalState, now: Date): boolean {
  const old = msSince(renewedAt, now);
  if (old >= 0 && old < RENEW_AFTER_MS) return false;
  if (previousSecretHash === null || renewalUsedAt === null) return true;
  const used = msSince(renewalUsedAt, now);
  return used < 0 || used > GRACE_MS;
}

function msSince(at: Date, now: Date): number {
  return now.getTime() - at.getTime();
}
