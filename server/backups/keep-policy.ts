/**
 * The policy of a target as people see and change it. A change, or the carrying out of one, that would take most of a target's past needs
 * a second person: the act names what goes in numbers, and what was agreed is a list of snapshots, nothing else.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import { requestApproval } from '../identity/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Run } from '../lib/run-schema.ts';
import type { AskedApproval } from '../lib/shapes.ts';
import type { JsonObject } from '../lib/tables.ts';
import type { QueueMailDeps } from '../mail/index.ts';
import { agreedOf, baselineOf, baselineStart } from './apply-retention.ts';
import { requestRepositoryRun } from './list-snapshots.ts';
import { findLock, lockUnder } from './lock-days.ts';
import { measureReclaim } from './measure-reclaim.ts';
import { getTarget } from './queries.ts';
import {
  countPartsLost,
  findRecoveredAt,
  findRetention,
  listRetained,
  listRetentionOfActive,
  lockRetention,
  policyOf,
  setPolicy,
  updateRetention,
  type RetentionRow,
} from './retention-queries.ts';
import { decide, type Decision, type RetainedSnapshot } from './retention/decide.ts';
import { LOG_PART } from './retention/parts.ts';
import { checkPolicy, type RetentionPolicy } from './retention/policy.ts';
import { tellPolicy } from './retention/policy-words.ts';
import type {
  RemovalRequest,
  RetentionChange,
  RetentionPreview,
  RetentionStatus,
  WaitingRemoval,
} from './retention/schema.ts';
import { agreementTo, weigh, whyAsk } from './retention/weigh.ts';

export interface RetentionDeps extends QueueMailDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
}

export const SHORTER_BACKUP_RETENTION = 'Keep snapshots by a policy that removes most of them';
export const REMOVE_SNAPSHOTS = 'Remove snapshots as the policy says';

const DAY_MS = 86_400_000;
/** Later than this, a policy that should be carried out daily is behind. */
const BEHIND_MS = DAY_MS + 2 * 3_600_000;
/** Longer than this, people are told. */
const TROUBLE_MS = 3 * DAY_MS;
const MOST_SHOWN = 5_000;

export async function showRetention(
  deps: Pick<RetentionDeps, 'db' | 'clock'>,
  id: string,
): Promise<RetentionStatus> {
  const target = await getTarget(deps.db, id);
  const row = await findRetention(deps.db, target.id);
  const policy = policyOf(row);
  const now = deps.clock.now();
  const decisions = decide(await listRetained(deps.db, id), policy, { now, agreed: agreedOf(row) });
  return {
    policy,
    words: tellPolicy(policy),
    state: stateOf(row, now),
    changedAt: row?.changed_at.toISOString() ?? null,
    appliedAt: row?.applied_at?.toISOString() ?? null,
    triedAt: row?.tried_at?.toISOString() ?? null,
    problem: (row?.problem ?? null) as RetentionStatus['problem'],
    waiting: (row?.waiting ?? null) as WaitingRemoval | null,
    overdueCount: weigh(decisions).overdueCount,
    reclaimedBytes: Number(row?.reclaimed_bytes ?? 0),
    waitingBytes: Number(row?.waiting_bytes ?? 0),
    nextPruneAt: row?.next_prune_at?.toISOString() ?? null,
    lockedUntil: row?.locked_until?.toISOString() ?? null,
  };
}

function stateOf(row: RetentionRow | undefined, now: Date): RetentionStatus['state'] {
  if (row === undefined || policyOf(row).kind === 'keep-everything') return 'keeps-everything';
  if (row.waiting !== null) return 'asks';
  if (row.problem !== null) return 'behind';
  if (row.applied_at === null || row.applied_at < row.changed_at) return 'new';
  return now.getTime() - row.applied_at.getTime() > BEHIND_MS ? 'behind' : 'applied';
}

/** Policies that wait for people, or could not be carried out for days. */
export async function findRetentionTrouble(
  deps: Pick<RetentionDeps, 'db' | 'clock'>,
): Promise<{ targetName: string; message: string; hint: string }[]> {
  const now = deps.clock.now();
  const found = [];
  for (const row of await listRetentionOfActive(deps.db)) {
    const since = (row.applied_at ?? row.changed_at).getTime();
    const waiting = row.waiting as WaitingRemoval | null;
    if (waiting === null && now.getTime() - since <= TROUBLE_MS) continue;
    const { name: targetName } = await getTarget(deps.db, row.target_id);
    const message =
      waiting === null
        ? `The retention policy was not carried out since ${new Date(since).toISOString().slice(0, 10)}`
        : `The retention policy waits for people: ${waiting.why}`;
    found.push({ targetName, message, hint: 'The page of the target says why, under Retention.' });
  }
  return found;
}

/** What a policy would do now, before it is saved. @throws HoldfastError `invalid_input` */
export async function previewRetention(
  deps: Pick<RetentionDeps, 'db' | 'clock' | 'dataDir'>,
  id: string,
  policy: RetentionPolicy,
): Promise<RetentionPreview> {
  checkPolicy(policy);
  const target = await getTarget(deps.db, id);
  const row = await findRetention(deps.db, target.id);
  const snapshots = await listRetained(deps.db, id);
  const now = deps.clock.now();
  const draft = decide(snapshots, policy, { now });
  const lock = await findLock(deps.db, target);
  const decided = new Map(draft.map((one) => [one.snapshot.id, one]));
  const expires = (snapshotId: string): readonly string[] => decided.get(snapshotId)?.expires ?? [];
  const goes = (one: { id: string }) => decided.get(one.id)?.keep === false && expires(one.id).length === 0;
  const { held, ...reclaim } = await measureReclaim(deps, target, {
    removed: snapshots.filter(goes),
    kept: snapshots.filter((one) => !goes(one)),
    ...{ expires, lock, now },
  });
  return {
    words: tellPolicy(policy),
    items: draft
      .slice(0, MOST_SHOWN)
      .map(({ snapshot, keep, reasons, overdue, expires, reducedUntil, leftover = false }) => ({
        ...{ id: snapshot.id, number: String(snapshot.number), takenAt: snapshot.takenAt.toISOString() },
        ...{ state: snapshot.state, keep, reasons, overdue },
        ...{ held: snapshot.hold !== null, proven: snapshot.proof !== null },
        reducedUntil: reducedUntil?.toISOString() ?? null,
        ...{ losesLogs: keep && expires !== undefined, leftover },
      })),
    ...weigh(draft),
    reclaim,
    lock:
      lock === undefined
        ? null
        : {
            ...{ mode: lock.mode, days: lock.days, daysThen: lockUnder(lock, policy).days },
            ...{ heldBytes: held?.bytes ?? 0, exact: held?.exact ?? true },
            heldUntil: held?.until.toISOString() ?? null,
          },
    hasLogs: snapshots.some((one) => one.parts?.includes(LOG_PART)),
    asks: whyChangeAsks(row, await howItIs(deps, id, { snapshots, draft, now, row })) ?? null,
  };
}

interface Change {
  draft: readonly Decision[];
  current: readonly Decision[];
  /** How many lost their logs and configuration in the last days. */
  partsLost: number;
  now: Date;
}

async function howItIs(
  { db }: Pick<RetentionDeps, 'db'>,
  targetId: string,
  of: {
    snapshots: readonly RetainedSnapshot[];
    draft: readonly Decision[];
    now: Date;
    row: RetentionRow | undefined;
  },
): Promise<Change> {
  const { draft, now } = of;
  const current = decide(of.snapshots, policyOf(of.row), { now });
  return { draft, now, current, partsLost: await countPartsLost(db, targetId, baselineStart(now)) };
}

/** Only what the policy of now would keep counts: the rest is that policy's own matter. */
function whyChangeAsks(
  row: RetentionRow | undefined,
  { draft, current, partsLost, now }: Change,
): string | undefined {
  const goesNow = new Set(agreementsTo(current));
  if (agreementsTo(draft).every((named) => goesNow.has(named))) return undefined;
  return whyAsk(draft, baselineOf(row, weigh(draft).total, now).count, partsLost);
}

const agreementsTo = (decisions: readonly Decision[]): string[] =>
  decisions.flatMap((one) => agreementTo(one) ?? []);

/**
 * Saves a policy, or asks for approval where it would take too much.
 *
 * @throws HoldfastError `invalid_input`; `wrong_state` for a target that is not in use, and at the console where approval is needed;
 *   `conflict` while the same is asked for.
 */
export async function changeRetention(
  deps: RetentionDeps,
  actor: Actor,
  targetId: string,
  { policy, reason }: RetentionChange,
): Promise<RetentionStatus | AskedApproval> {
  checkPolicy(policy);
  const target = await getTarget(deps.db, targetId);
  if (target.state !== 'active') {
    throw new HoldfastError('wrong_state', 'This target is retired: nothing is removed from it any more');
  }
  const asked = await writeTransaction(deps.db, async (tx) => {
    const row = await lockRetention(tx, targetId);
    const snapshots = await listRetained(tx, targetId);
    const now = deps.clock.now();
    const draft = decide(snapshots, policy, { now });
    const why = whyChangeAsks(row, await howItIs({ db: tx }, targetId, { snapshots, draft, now, row }));
    if (why === undefined) {
      const baseline = baselineOf(row, weigh(draft).total, now);
      await savePolicy(tx, deps, actor, { targetId, policy, agreed: [] });
      await updateRetention(tx, targetId, { baseline });
      return undefined;
    }
    const gone = agreementsTo(draft);
    return ask(tx, deps, actor, {
      act: 'backups.retention.change',
      title: SHORTER_BACKUP_RETENTION,
      payload: { targetId, policy, agreed: gone },
      reason: reason?.trim() ?? '',
      consequence: `${why} (${target.name}). ${tellLoss(draft)} ${tellPolicy(policy)}`,
    });
  });
  return asked ?? showRetention(deps, targetId);
}

interface Ask {
  act: string;
  title: string;
  payload: JsonObject & { targetId: string };
  reason: string;
  consequence: string;
}

async function ask(
  tx: WriteTransaction,
  deps: RetentionDeps,
  actor: Actor,
  { payload, reason, ...request }: Ask,
): Promise<AskedApproval> {
  const { id } = actor;
  if (id === undefined) {
    throw new HoldfastError('wrong_state', `A second person has to agree. ${request.consequence}`, {
      hint: 'The console is no person: an administrator asks for it on the page of the target.',
    });
  }
  if (reason === '') {
    throw new HoldfastError('invalid_input', `A second person has to agree. ${request.consequence}`, {
      hint: 'Say why it is wanted: whoever decides reads it.',
    });
  }
  return requestApproval(
    tx,
    deps,
    {
      ...request,
      ...{ payload, reason, object: { type: 'target', id: payload.targetId } },
      seen: await lookAtPolicy(tx, payload),
    },
    { ...actor, id },
  );
}

/** Of what is asked for: the policy that it replaces or carries out, held until the transaction ends. */
export async function lookAtPolicy(tx: WriteTransaction, payload: JsonObject): Promise<JsonObject> {
  const row = await lockRetention(tx, payload.targetId as string);
  return { policy: policyOf(row), changedAt: row?.changed_at.toISOString() ?? null };
}

export async function savePolicy(
  tx: WriteTransaction,
  deps: Pick<RetentionDeps, 'clock'>,
  actor: Actor,
  { targetId, policy, agreed }: { targetId: string; policy: RetentionPolicy; agreed: readonly string[] },
): Promise<void> {
  const before = policyOf(await lockRetention(tx, targetId));
  const lock = await findLock(tx, await getTarget(tx, targetId));
  await setPolicy(tx, targetId, { policy, agreed, now: deps.clock.now() });
  if (agreed.length > 0) await updateRetention(tx, targetId, { baseline: null });
  await recordAudit(tx, deps.clock, actor, {
    action: 'backups.retention.changed',
    objectType: 'target',
    objectId: targetId,
    detail: {
      ...{ before, after: policy, agreed: agreed.length },
      ...(lock?.followsPolicy === true
        ? { lockDays: { before: lock.days, after: lockUnder(lock, policy).days } }
        : {}),
    },
  });
}

/**
 * Agrees to what the policy would remove now, overdue snapshots included.
 *
 * @throws HoldfastError `wrong_state` when nothing waits; `conflict` when another number goes than the person saw.
 */
export async function agreeToRemoval(
  deps: RetentionDeps,
  actor: Actor,
  targetId: string,
  request: RemovalRequest,
): Promise<RetentionStatus | AskedApproval> {
  const target = await getTarget(deps.db, targetId);
  const asked = await writeTransaction(deps.db, async (tx) => {
    const row = await lockRetention(tx, targetId);
    const going = await listGoing(tx, deps, row, targetId);
    if (row === undefined || going.removed.length === 0) {
      throw new HoldfastError('wrong_state', 'Nothing waits to be agreed to', {
        hint: 'Load the page again.',
      });
    }
    if (going.removed.length !== request.removes) {
      throw new HoldfastError(
        'conflict',
        `${going.removed.length} snapshots would go or lose parts, not ${request.removes}`,
        {
          hint: 'Load the page again, and look at what goes.',
        },
      );
    }
    const doubt = (row.waiting as WaitingRemoval | null)?.doubt;
    if (doubt !== undefined) {
      throw new HoldfastError(
        'wrong_state',
        `Snapshot ${doubt.number} holds much less than those before it`,
        {
          hint: 'Say on its page first that this is right: what is missing in it may lie only in older ones.',
        },
      );
    }
    const payload = { targetId, snapshotIds: going.removed };
    const recoveredAt = await findRecoveredAt(tx);
    const onlyRecovered = recoveredAt !== undefined && recoveredAt > row.changed_at && !going.takesLasting;
    if (onlyRecovered && whyAsk(going.decisions) === undefined) {
      await letGo(tx, deps, payload, actor);
      return undefined;
    }
    return ask(tx, deps, actor, {
      ...{ act: 'backups.retention.remove', title: REMOVE_SNAPSHOTS, payload, reason: request.reason.trim() },
      consequence: `${tellLoss(going.decisions)} Target: ${target.name}. ${tellPolicy(policyOf(row))}`,
    });
  });
  return asked ?? showRetention(deps, targetId);
}

async function listGoing(
  tx: WriteTransaction,
  deps: Pick<RetentionDeps, 'clock'>,
  row: RetentionRow | undefined,
  targetId: string,
) {
  const snapshots = await listRetained(tx, targetId);
  const now = deps.clock.now();
  const agreed = new Set(snapshots.map((one) => one.id));
  const decisions = decide(snapshots, policyOf(row), { now, agreed });
  return {
    decisions,
    removed: agreementsTo(decisions),
    takesLasting: decide(snapshots, policyOf(row), { now }).some((one) => one.overdue),
  };
}

export type Removal = { targetId: string; snapshotIds: readonly string[] };

/** The next run of the policy, within a minute, may remove these. */
export async function letGo(
  tx: WriteTransaction,
  deps: Pick<RetentionDeps, 'clock'>,
  { targetId, snapshotIds }: Removal,
  actor: Actor,
): Promise<void> {
  await updateRetention(tx, targetId, {
    ...{ agreed: snapshotIds, waiting: null, baseline: null },
    changedAt: deps.clock.now(),
  });
  await recordAudit(tx, deps.clock, actor, {
    action: 'backups.retention.agreed',
    objectType: 'target',
    objectId: targetId,
    detail: { snapshots: snapshotIds.length },
  });
}

/** Carries the policy out now. @throws HoldfastError `wrong_state` when there is none, or such a run is under way. */
export async function requestApply(deps: RetentionDeps, actor: Actor, targetId: string): Promise<Run> {
  const target = await getTarget(deps.db, targetId);
  const policy = policyOf(await findRetention(deps.db, targetId));
  if (target.state !== 'active' || policy.kind === 'keep-everything') {
    throw new HoldfastError('wrong_state', 'This target has no policy to carry out', {
      hint: 'Everything on it is kept.',
    });
  }
  return requestRepositoryRun(deps, actor, 'prune', { policy: true, targetId });
}

function tellLoss(decisions: readonly Decision[]): string {
  const { removes, reduces, total, keeps, proven, provenLeft, partsGo } = weigh(decisions);
  const logs = partsGo === 0 ? '' : ` The logs and configuration of ${partsGo} go.`;
  if (removes === 0) return logs.trim();
  const gone = decisions
    .filter((one) => !one.keep && one.leftover !== true)
    .map((one) => one.snapshot.takenAt.toISOString().slice(0, 10));
  const [newest, oldest] = [gone.at(0), gone.at(-1)];
  const span = newest === oldest ? `of ${newest ?? ''}` : `from ${oldest ?? ''} to ${newest ?? ''}`;
  const tested = `${provenLeft} of ${proven} proven ones stay`;
  const left = reduces === 0 ? '' : ` Of ${reduces} logs and configuration stay for a time.`;
  return `${removes} of ${total} snapshots (${span}) can be restored no more; ${keeps} stay, ${tested}.${left}${logs}`;
}
