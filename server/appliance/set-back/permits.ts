/**
 * A set-back that a person wants needs a second one. What is approved is a permit: the recovery kit must be there, so somebody begins
 * it later, in the browser. Guarantees: for that snapshot on that target only; once; within a day; never from a database of before.
 *
 * That last one is what this is about: a set-back brings back an older database, in which a used permit may lie unused. So a permit
 * holds only while the last set-back of the machine is the one that it was when it was asked for. hostd remembers that outside of
 * everything that is set back, and changes it when it begins one. Besides, a recovered database knows of no permit and of no
 * request any more (`server/backups/recover-queries.ts`), so that none is shown there.
 */
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import { parsePoint } from '../../backups/index.ts';
import { mayStill } from '../../identity/index.ts';
import { canonicalJson } from '../../lib/canonical-json.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Config } from '../../lib/config.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { JsonObject } from '../../lib/tables.ts';
import { queueMail, type QueueMailDeps } from '../../mail/index.ts';
import { connectHost, requireHost } from '../host/client.ts';
import type { SetBackView } from '../host/set-back/schema.ts';
import { hasGrown, tellLost } from './loss.ts';
import { insertPermit, listOpenPermits, lockOpenPermit, lockPermit, updatePermit } from './permit-queries.ts';
import { countWrittenSince, findSnapshotPlace } from './queries.ts';
import type { WrittenSince } from './schema.ts';

export const SET_BACK = 'Set this appliance back';
export const SET_BACK_ACT = 'appliance.set-back';
/** Time to fetch the kit from its safe. */
const PERMIT_MS = 24 * 3_600_000;

export interface PermitDeps {
  config: Pick<Config, 'hostSocket'>;
  db: Database;
  clock: Clock;
}

/** A snapshot, or a later moment that is gone on to from it. */
export interface SetBackPoint {
  snapshot: string;
  moment?: string | undefined;
  /** Which of several that hold it: the log of one may reach a moment that the log of another does not. */
  target?: string | undefined;
}

/** With one writing for each instant: it is compared, shown and entered as it stands. @throws HoldfastError `invalid_input` */
export function exactPoint({ snapshot, moment, target }: SetBackPoint): SetBackPoint {
  const at = moment === undefined ? undefined : parsePoint({ time: moment });
  return {
    snapshot,
    ...(at?.kind === 'time' ? { moment: at.at.toISOString() } : {}),
    ...(target === undefined ? {} : { target }),
  };
}

/** What the request keeps. */
export interface WantedSetBack extends SetBackPoint {
  /** What was to be lost when it was asked for. */
  lost: WrittenSince;
}

/** A permit that is being used. */
export interface UsedPermit {
  id: string;
  reason: string;
  askedBy: string;
  approvedBy: string | null;
}

/** What a set-back to a point is about, as it is now. @throws HoldfastError `unavailable` while hostd does not answer. */
export async function lookAtSetBack(
  db: Database,
  { config }: Pick<PermitDeps, 'config'>,
  point: SetBackPoint,
): Promise<JsonObject> {
  const { snapshot, moment } = point;
  const { record } = await requireHost(connectHost(config)).get<SetBackView>('/set-back');
  const place = await findSnapshotPlace(db, point);
  return {
    snapshot,
    ...(moment === undefined ? {} : { moment }),
    ...{ target: place?.targetId ?? 'none', lastSetBack: record?.id ?? 'none' },
  };
}

/** Approved: from now on it may be begun. */
export async function givePermit(
  tx: WriteTransaction,
  { clock }: Pick<PermitDeps, 'clock'>,
  { snapshot, moment }: WantedSetBack,
  actor: Actor,
  approvalId: string,
): Promise<void> {
  const now = clock.now();
  const expiresAt = new Date(now.getTime() + PERMIT_MS);
  await insertPermit(tx, {
    ...{ approval_id: approvalId, snapshot_id: snapshot, state: 'open' },
    ...{ given_at: now, expires_at: expiresAt },
  });
  await recordAudit(tx, clock, actor, {
    action: 'appliance.set-back.permitted',
    objectType: 'set-back',
    objectId: approvalId,
    detail: { snapshot, ...(moment === undefined ? {} : { moment }), until: expiresAt.toISOString() },
  });
}

/**
 * Uses up the permit of a point.
 *
 * @param acceptMore it is agreed that more is lost than when it was asked for.
 * @throws HoldfastError `wrong_state` without one that holds, and when more would be lost.
 */
export async function usePermit(
  tx: WriteTransaction,
  deps: PermitDeps,
  { acceptMore, ...point }: SetBackPoint & { acceptMore: boolean },
  actor: Actor,
): Promise<UsedPermit> {
  const permit = await lockOpenPermit(tx, point);
  if (permit === undefined || permit.expires_at <= deps.clock.now())
    throw new HoldfastError('wrong_state', 'Nobody has approved this set-back, or its time is over', {
      hint: 'Ask for it, with a reason: another administrator is asked to approve it.',
    });
  if (!(await mayStill(tx, permit.requested_by, 'recovery.manage')))
    throw new HoldfastError('wrong_state', 'Whoever asked for it may not do it any more', {
      hint: 'Withdraw the approval, and ask for it anew.',
    });
  if (canonicalJson(permit.seen) !== canonicalJson(await lookAtSetBack(tx, deps, point)))
    throw new HoldfastError('wrong_state', CHANGED, { hint: 'Ask for it anew.' });
  const { lost } = permit.payload as unknown as WantedSetBack;
  const now = await countWrittenSince(tx, new Date(lost.since));
  if (hasGrown(lost, now) && !acceptMore)
    throw new HoldfastError('wrong_state', 'More would be lost than when this was asked for', {
      hint: `Now it is ${tellLost(now)}. Look at it again, and agree to it.`,
    });
  await updatePermit(tx, permit.approval_id, {
    ...{ state: 'used', ended_at: deps.clock.now(), ended_by: actor.id ?? null },
  });
  const { approval_id: id, reason, requested_by: askedBy, decided_by: approvedBy } = permit;
  return { id, reason, askedBy, approvedBy };
}

const CHANGED =
  'What was approved is not so any more: this machine was set back since, or the snapshot lies elsewhere';

/** It was refused before it began. Should it have begun all the same, the permit does not hold any more. */
export async function giveBackPermit(tx: WriteTransaction, { id }: UsedPermit): Promise<void> {
  await updatePermit(tx, id, { state: 'open', ended_at: null, ended_by: null });
}

/** Anybody who decides may take it back: nothing is done by that. @throws HoldfastError `not_found`, `wrong_state` */
export async function withdrawPermit(
  deps: PermitDeps & QueueMailDeps,
  id: string,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const permit = await lockPermit(tx, id);
    if (permit === undefined) throw new HoldfastError('not_found', 'There is no such approval');
    if (permit.state !== 'open')
      throw new HoldfastError('wrong_state', 'It is used or over already', { hint: 'Load the page again.' });
    await endPermit(tx, deps, permit.approval_id, 'withdrawn', actor);
    if (permit.requested_by === actor.id) return;
    await queueMail(tx, deps, {
      to: { userId: permit.requested_by },
      template: 'approval-ended',
      data: { title: SET_BACK, state: 'withdrawn', at: deps.clock.now().toISOString(), reason: '' },
    });
  });
}

/** Once a minute: ends those whose time is over, and those that do not hold any more. */
export async function settlePermits(deps: PermitDeps): Promise<void> {
  for (const approvalId of await listOpenPermits(deps.db)) {
    await writeTransaction(deps.db, async (tx) => {
      const permit = await lockPermit(tx, approvalId);
      if (permit?.state !== 'open') return;
      const system = systemActor('set-back');
      if (permit.expires_at <= deps.clock.now()) await endPermit(tx, deps, approvalId, 'expired', system);
      else if (
        canonicalJson(permit.seen) !==
        canonicalJson(await lookAtSetBack(tx, deps, permit.payload as unknown as WantedSetBack))
      )
        await endPermit(tx, deps, approvalId, 'void', system);
    });
  }
}

async function endPermit(
  tx: WriteTransaction,
  { clock }: Pick<PermitDeps, 'clock'>,
  approvalId: string,
  state: 'withdrawn' | 'expired' | 'void',
  actor: Actor,
): Promise<void> {
  await updatePermit(tx, approvalId, { state, ended_at: clock.now(), ended_by: actor.id ?? null });
  await recordAudit(tx, clock, actor, {
    action: `appliance.set-back.permit-${state}`,
    objectType: 'set-back',
    objectId: approvalId,
    ...(state === 'void' ? { detail: { why: CHANGED } } : {}),
  });
}
