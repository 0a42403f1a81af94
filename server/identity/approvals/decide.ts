/**
 * What becomes of a request. The decision and the act are one transaction: a kill between them leaves a request that is still open, and
 * no act is done twice. An act that takes long queues a run in that transaction.
 */
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import { canonicalJson } from '../../lib/canonical-json.ts';
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { JsonObject } from '../../lib/tables.ts';
import { queueMail } from '../../mail/index.ts';
import type { Person } from '../access.ts';
import type { PeopleDeps } from '../people/people.ts';
import { findUser } from '../people/queries.ts';
import { hasRight, type Right } from '../rights.ts';
import type { Role } from '../schema.ts';
import {
  addWaited,
  findApproval,
  isPermit,
  listDueApprovals,
  lockApproval,
  updateApproval,
  type ApprovalRow,
} from './queries.ts';
import { isPending, type ApprovalState } from './schema.ts';

export interface ApprovalAct {
  /** For people: `Keep audit entries for a shorter time`. */
  title: string;
  /** Whoever asked must still have it when it runs. */
  right: Right;
  /**
   * What it is about as it is now, held until the transaction ends. It is done only while this is as it was when it was asked for: what
   * was decided since must not be undone by an older request.
   */
  look(tx: WriteTransaction, payload: JsonObject): Promise<JsonObject>;
  /** Ids of people who may refuse it but not approve it: it is about them, and they count as no second person. */
  barred?(payload: JsonObject): readonly string[];
  /**
   * Does it, or queues the run that does, or, for what somebody must be there for, writes down that they may.
   *
   * @param actor the person who asked for it.
   * @param id of the request.
   */
  perform(tx: WriteTransaction, payload: JsonObject, actor: Actor, id: string): Promise<unknown>;
}

/** Every act that needs approval, by name. */
export type ApprovalActs = Readonly<Record<string, ApprovalAct>>;

export interface ApprovalDeps extends PeopleDeps {
  acts: ApprovalActs;
}

/**
 * Approves and does it.
 *
 * @throws HoldfastError `forbidden` for one's own request, and for one about oneself; `wrong_state` when it is not pending any more, and when what it is about has
 *   changed since, which ends it; or as the act says.
 */
export async function approve(deps: ApprovalDeps, person: Person, id: string, actor: Actor): Promise<void> {
  const changed = await writeTransaction(deps.db, async (tx) => {
    const row = await lockPending(tx, deps, id);
    refuseOwn(row, person);
    refuseBarred(deps, row, person);
    await recordDecision(tx, deps, row, actor, 'approved');
    const why = await perform(tx, deps, row, { decided_by: person.userId });
    crashPoint('identity.approval.executed');
    return why;
  });
  crashPoint('identity.approval.committed');
  if (changed !== undefined)
    throw new HoldfastError('wrong_state', changed, { hint: 'Whoever still wants it asks again.' });
}

/** @throws HoldfastError as `approve`. */
export async function refuse(
  deps: ApprovalDeps,
  person: Person,
  id: string,
  reason: string,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockPending(tx, deps, id);
    refuseOwn(row, person);
    await end(tx, deps, row, 'refused', { decided_by: person.userId, decision_reason: reason });
    await recordDecision(tx, deps, row, actor, 'refused', { reason });
  });
}

/** The person who asked takes it back. @throws HoldfastError `not_found` for anybody else. */
export async function withdraw(deps: ApprovalDeps, person: Person, id: string, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    if ((await findApproval(tx, id))?.requested_by !== person.userId) throw noSuchRequest();
    const row = await lockPending(tx, deps, id);
    await end(tx, deps, row, 'withdrawn', {});
    await recordDecision(tx, deps, row, actor, 'withdrawn');
  });
}

/**
 * Once a minute: what has waited runs, what nobody decided expires. One that cannot be done ends as failed and holds up no other; one
 * for which something is away at the moment is tried again.
 *
 * @throws the first failure that nobody foresaw, when all are through.
 */
export async function settleApprovals(deps: ApprovalDeps): Promise<void> {
  const failures: unknown[] = [];
  const sinceLastMs = sinceLastLook(deps.clock);
  await writeTransaction(deps.db, (tx) => addWaited(tx, deps.clock.now(), sinceLastMs));
  for (const id of await listDueApprovals(deps.db, deps.clock.now())) {
    try {
      await settleOne(deps, id);
    } catch (error) {
      failures.push(error);
    }
    crashPoint('identity.approval.settled');
  }
  if (failures.length > 0) throw failures[0];
}

async function settleOne(deps: ApprovalDeps, id: string): Promise<void> {
  try {
    await writeTransaction(deps.db, (tx) => settle(tx, deps, id));
  } catch (error) {
    const known = error instanceof HoldfastError;
    if (known && (error.code === 'unavailable' || error.code === 'no_space')) throw error;
    const why = known ? error.message : 'Something unforeseen went wrong; the log of the appliance says what';
    await writeTransaction(deps.db, (tx) => fail(tx, deps, id, why));
    if (!known) throw error;
  }
}

const lastLooks = new WeakMap<Clock, number>();

/**
 * How long this process has run since it looked last, in ms; 0 at first. By the clock that nobody sets: a wall clock put forward makes
 * no waiting period shorter, and time in which the server was off, when nobody could object, does not count.
 */
function sinceLastLook(clock: Clock): number {
  const now = clock.monotonicMs();
  const before = lastLooks.get(clock) ?? now;
  lastLooks.set(clock, now);
  return Math.max(0, Math.floor(now - before));
}

async function settle(tx: WriteTransaction, deps: ApprovalDeps, id: string): Promise<void> {
  const row = await lockApproval(tx, id);
  if (row === undefined || !isPending(row.state as ApprovalState)) return;
  if (row.wait_ms !== null && Number(row.waited_ms) >= Number(row.wait_ms)) {
    await perform(tx, deps, row, {});
    crashPoint('identity.approval.executed');
  } else if (row.expires_at <= deps.clock.now()) {
    await end(tx, deps, row, 'expired', {});
    await recordDecision(tx, deps, row, systemActor('identity'), 'expired');
  }
}

/**
 * In the same transaction as the decision: the act, its state, and the entry that says so.
 *
 * @returns why it ended without being done; undefined when it was done.
 */
async function perform(
  tx: WriteTransaction,
  deps: ApprovalDeps,
  row: ApprovalRow,
  decision: { decided_by?: string },
): Promise<string | undefined> {
  const act = deps.acts[row.act];
  if (act === undefined) throw new HoldfastError('wrong_state', 'This version does not know that act');
  if (!(await mayStill(tx, row.requested_by, act.right))) {
    throw new HoldfastError('wrong_state', 'Whoever asked for it may not do it any more', {
      hint: 'Refuse it.',
    });
  }
  const payload = row.payload as JsonObject;
  if (canonicalJson(row.seen) !== canonicalJson(await act.look(tx, payload))) {
    await end(tx, deps, row, 'failed', { ...decision, failure: CHANGED });
    await recordDecision(tx, deps, row, systemActor('identity'), 'failed', { why: CHANGED });
    return CHANGED;
  }
  await end(tx, deps, row, 'executed', decision);
  await act.perform(tx, payload, { kind: 'user', id: row.requested_by }, row.id);
  await recordDecision(tx, deps, row, systemActor('identity'), 'executed');
  return undefined;
}

/** Whether somebody is here and has the right. */
export async function mayStill(tx: WriteTransaction, userId: string, right: Right): Promise<boolean> {
  const user = await findUser(tx, userId);
  return user?.disabled_at === null && hasRight(user.role as Role, right);
}

const CHANGED = 'What it is about has changed since it was asked for, so nothing was done';

async function fail(tx: WriteTransaction, deps: ApprovalDeps, id: string, why: string): Promise<void> {
  const row = await lockApproval(tx, id);
  if (row === undefined || !isPending(row.state as ApprovalState)) return;
  await end(tx, deps, row, 'failed', { failure: why });
  await recordDecision(tx, deps, row, systemActor('identity'), 'failed', { why });
}

async function end(
  tx: WriteTransaction,
  deps: ApprovalDeps,
  row: ApprovalRow,
  state: ApprovalState,
  change: { decided_by?: string; decision_reason?: string; failure?: string },
): Promise<void> {
  await updateApproval(tx, row.id, { state, decided_at: deps.clock.now(), ...change });
  if (state === 'withdrawn') return;
  await queueMail(tx, deps, {
    to: { userId: row.requested_by },
    template: 'approval-ended',
    data: {
      title: deps.acts[row.act]?.title ?? row.act,
      state: state === 'executed' && isPermit(row) ? 'approved' : state,
      at: deps.clock.now().toISOString(),
      reason: change.decision_reason ?? change.failure ?? '',
    },
  });
}

async function recordDecision(
  tx: WriteTransaction,
  deps: ApprovalDeps,
  row: ApprovalRow,
  actor: Actor,
  what: 'approved' | 'refused' | 'withdrawn' | 'expired' | 'executed' | 'failed',
  detail: Record<string, string> = {},
): Promise<void> {
  await recordAudit(tx, deps.clock, actor, {
    action: `identity.approval.${what}`,
    objectType: 'approval',
    objectId: row.id,
    detail: { act: row.act, requestedBy: row.requested_by, ...detail },
    ...(what === 'failed' ? { result: 'failed' as const } : {}),
  });
}

async function lockPending(
  tx: WriteTransaction,
  deps: Pick<ApprovalDeps, 'clock'>,
  id: string,
): Promise<ApprovalRow> {
  const row = await lockApproval(tx, id);
  if (row === undefined) throw noSuchRequest();
  if (!isPending(row.state as ApprovalState) || row.expires_at <= deps.clock.now()) {
    throw new HoldfastError('wrong_state', 'It is decided already, or its time is over', {
      hint: 'Look at the approvals again.',
    });
  }
  return row;
}

function refuseOwn(row: ApprovalRow, person: Person): void {
  if (row.requested_by !== person.userId) return;
  throw new HoldfastError('forbidden', 'Another administrator decides about what you asked for', {
    hint: 'You can withdraw it.',
  });
}

/** Whoever may refuse this request and not approve it. */
export function isBarred({ acts }: Pick<ApprovalDeps, 'acts'>, row: ApprovalRow, userId: string): boolean {
  return acts[row.act]?.barred?.(row.payload as JsonObject).includes(userId) === true;
}

function refuseBarred(deps: ApprovalDeps, row: ApprovalRow, person: Person): void {
  if (!isBarred(deps, row, person.userId)) return;
  throw new HoldfastError('forbidden', 'This is about you: somebody else approves it', {
    hint: 'You can refuse it.',
  });
}

function noSuchRequest(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such request');
}
