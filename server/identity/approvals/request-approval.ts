/**
 * Asks for what needs a second person. With another administrator the request is open until that one decides; with a sole
 * administrator it waits, in sight of everybody, and then runs by itself.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import type { JsonObject } from '../../lib/tables.ts';
import { queueMail, type QueueMailDeps } from '../../mail/index.ts';
import { listAdministratorIds } from '../people/queries.ts';
import { getApprovalSettings, insertApproval } from './queries.ts';

export interface ApprovalRequest {
  /** Name in the registry of acts. */
  act: string;
  /** Of the act, for people: `Keep audit entries for a shorter time`. */
  title: string;
  object: { type: string; id: string | null };
  /** Why the person wants it. */
  reason: string;
  /** What it means, in numbers where they are known. */
  consequence: string;
  /** What the act needs; no secrets, it lies in the table as it is. */
  payload: JsonObject;
  /** What the act's `look` says now, in this transaction. */
  seen: JsonObject;
  /** To approve it does nothing yet: it permits what somebody must be there for, and has the recovery kit for. */
  permit?: boolean;
  /** People who are no second person here: whoever lost their way in cannot come and decide that they get it back. They are told. */
  about?: readonly string[];
}

const HOUR_MS = 3_600_000;

/**
 * @param actor the person who asks.
 * @throws HoldfastError `conflict` while the same is asked for already.
 */
export async function requestApproval(
  tx: WriteTransaction,
  deps: QueueMailDeps,
  request: ApprovalRequest,
  actor: Actor & { id: string },
): Promise<AskedApproval> {
  const now = deps.clock.now();
  const settings = await getApprovalSettings(tx);
  const others = (await listAdministratorIds(tx)).filter((id) => id !== actor.id);
  const waits = others.every((id) => request.about?.includes(id) === true);
  const waitMs = settings.waiting_hours * HOUR_MS;
  const runsAt = waits ? new Date(now.getTime() + waitMs) : null;
  // What waits runs when its time has come, however long the appliance was off; it does not expire on the way.
  const expiryMs = waits ? 100 * 365 * 24 * HOUR_MS : settings.expiry_hours * HOUR_MS;
  const expiresAt = new Date(now.getTime() + expiryMs);
  const id = randomUUID();
  const state = waits ? 'waiting' : 'open';
  const permit = request.permit === true;
  const payload = permit ? { ...request.payload, permit } : request.payload;
  const inserted = await insertApproval(tx, {
    ...{ id, act: request.act, object_type: request.object.type, object_id: request.object.id, state },
    ...{ reason: request.reason, consequence: request.consequence, payload: JSON.stringify(payload) },
    ...{ requested_by: actor.id, requested_at: now, expires_at: expiresAt, runs_at: runsAt },
    ...{ seen: JSON.stringify(request.seen), wait_ms: waits ? waitMs : null },
  });
  if (!inserted) {
    throw new HoldfastError('conflict', 'The same is asked for already', {
      hint: 'Open the approvals: decide or withdraw that request first.',
    });
  }
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.approval.requested',
    objectType: 'approval',
    objectId: id,
    detail: { act: request.act, object: request.object, reason: request.reason, state },
  });
  for (const userId of waits ? [actor.id, ...others] : others) {
    await queueMail(tx, deps, {
      to: { userId },
      template: 'approval-requested',
      data: {
        title: request.title,
        ...{ reason: request.reason, consequence: request.consequence, permit },
        ...(runsAt === null ? { until: expiresAt.toISOString() } : { runsAt: runsAt.toISOString() }),
      },
    });
  }
  return {
    approval: { id, state, runsAt: runsAt?.toISOString() ?? null, expiresAt: expiresAt.toISOString() },
  };
}
