/** How long sessions last, per role, who needs a second factor, and what is done about signs of theft: the owner's to set, within bounds. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { membersNeedSecondFactor, setMembersNeedSecondFactor } from '../factors/queries.ts';
import type { Role } from '../schema.ts';
import {
  getSessionSettings,
  listLimits,
  lockSessionSettings,
  setLimits,
  updateSessionSettings,
} from './queries.ts';
import type { SessionSettings } from './schema.ts';
import type { SessionDeps } from './sessions.ts';

const ORDER: readonly Role[] = ['owner', 'admin', 'auditor', 'member'];

export async function readSessionSettings(db: Database): Promise<SessionSettings> {
  const rows = await listLimits(db);
  const settings = await getSessionSettings(db);
  const limits = ORDER.flatMap((role) => {
    const row = rows.find((one) => one.role === role);
    return row ? [{ role, idleMinutes: row.idle_minutes, absoluteHours: row.absolute_hours }] : [];
  });
  return {
    limits,
    proofMinutes: settings.proof_minutes,
    likelyTheftEnds: settings.likely_theft_ends,
    membersNeedSecondFactor: await membersNeedSecondFactor(db),
  };
}

/**
 * Shorter limits hold for open sessions at once; longer ones from the next sign-in on. A second factor that members need from now on
 * restricts their open sessions to adding one with the next request.
 *
 * @throws HoldfastError `invalid_input` when not every role is named once.
 */
export async function changeSessionSettings(
  deps: SessionDeps,
  change: SessionSettings,
  actor: Actor,
): Promise<SessionSettings> {
  if (new Set(change.limits.map(({ role }) => role)).size !== ORDER.length) {
    throw new HoldfastError('invalid_input', 'Every role is named once');
  }
  return writeTransaction(deps.db, async (tx) => {
    await lockSessionSettings(tx);
    const before = await readSessionSettings(tx);
    for (const { role, idleMinutes, absoluteHours } of change.limits)
      await setLimits(tx, { role, idle_minutes: idleMinutes, absolute_hours: absoluteHours });
    await updateSessionSettings(tx, {
      proof_minutes: change.proofMinutes,
      likely_theft_ends: change.likelyTheftEnds,
    });
    await setMembersNeedSecondFactor(tx, change.membersNeedSecondFactor);
    const after = await readSessionSettings(tx);
    await recordAudit(tx, deps.clock, actor, {
      action: 'identity.session-settings.changed',
      objectType: 'settings',
      detail: { before, after },
    });
    return after;
  });
}
