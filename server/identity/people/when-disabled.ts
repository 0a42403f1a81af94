import type { WriteTransaction } from '../../lib/db.ts';
import { revokeKeysOf } from '../api-keys/api-keys.ts';
import { deletePendingOf } from '../factors/queries.ts';
import { deleteLinksOf } from '../mail-links/queries.ts';
import { withdrawInvitationsOf } from '../invitations/queries.ts';
import type { SessionDeps } from '../sessions/sessions.ts';
import { endSessionsOf } from '../sessions/sessions.ts';
import { deleteAttemptsOf } from '../single-sign-on/queries.ts';

/**
 * Everything by which a person can act, ended in the transaction that disables them: whatever lets somebody in later belongs into this
 * one list, so that no way in outlives an account.
 *
 * @returns how many of each were open, for the audit entry.
 */
export async function endEveryWayIn(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  userId: string,
): Promise<{ endedSessions: number; revokedKeys: number; withdrawnInvitations: number }> {
  await deletePendingOf(tx, userId);
  await deleteLinksOf(tx, userId);
  await deleteAttemptsOf(tx, userId);
  return {
    endedSessions: await endSessionsOf(tx, deps, userId, 'disabled'),
    revokedKeys: await revokeKeysOf(tx, deps, userId, 'disabled'),
    // Else somebody who leaves could let themself in again under another address.
    withdrawnInvitations: await withdrawInvitationsOf(tx, userId, deps.clock.now()),
  };
}
