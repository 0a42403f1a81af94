/**
 * What a run of the schedule left unread gets its turn before the next one: a run stops at a snapshot that is due, after some hours, and at a
 * target that other work holds, and a weekly schedule would come back to it only a week later.
 */
import type { Selectable } from 'kysely';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { mayBegin } from '../../lib/hours.ts';
import { enqueueRun, findOpenRun } from '../../lib/runs.ts';
import type { Runs } from '../../lib/tables.ts';
import { findCopyRun } from '../copy-queries.ts';
import { readQuarantine } from '../quarantine.ts';
import { listActiveTargets, type TargetRow } from '../queries.ts';
import { isOpen } from '../target-hours.ts';
import { DAY_MS, owedParts } from './cycle.ts';
import { cycleOf } from './keep-cycle.ts';
import {
  findLastReading,
  findReadBack,
  isSnapshotDue,
  readPlan,
  type ReadBackPlan,
} from './read-back-queries.ts';

/** Time for what waited meanwhile: a snapshot, copying, pruning. */
const SOON_MS = 15 * 60_000;

interface GoOnDeps {
  db: Database;
  clock: Clock;
}

/** Once a minute: queues the run for the first target that is owed something since its time came. */
export async function goOnReadingBack(deps: GoOnDeps): Promise<void> {
  const plan = await readPlan(deps.db);
  const now = deps.clock.now();
  if (plan.lastDueAt === null || plan.nextDueAt === null || plan.nextDueAt <= now) return;
  if (!mayBegin(plan.hours, now) || (await readQuarantine(deps.db)) !== undefined) return;
  for (const target of await listActiveTargets(deps.db)) {
    if (!isOpen(target, now)) continue;
    if (!(await isOwed(deps.db, target, plan, now)) || !(await isItsTurn(deps.db, target.id, now))) continue;
    await writeTransaction(deps.db, async (tx) => {
      if (await isSnapshotDue(tx, now)) return;
      for (const kind of ['snapshot', 'verify', 'prune'] as const)
        if ((await findOpenRun(tx, kind)) !== undefined) return;
      const input = { part: true, targetId: target.id };
      await enqueueRun(tx, deps.clock, { kind: 'verify', input, cause: 'catch-up' });
    });
    return;
  }
}

async function isOwed(db: Database, target: TargetRow, plan: ReadBackPlan, now: Date): Promise<boolean> {
  const row = await findReadBack(db, target.id);
  const cycle = cycleOf(row, plan.days);
  if (cycle.startedAt !== null) return owedParts(cycle, { now, nextDueAt: plan.nextDueAt }) > 0;
  // Between two cycles nothing is owed before the schedule says so.
  const since = [target.created_at, plan.since, row?.closed_at ?? null].filter((at) => at !== null);
  return since.every((at) => plan.lastDueAt !== null && at < plan.lastDueAt);
}

/** A target that could not be read at all is tried again a day later, as by a daily schedule. */
async function isItsTurn(db: Database, targetId: string, now: Date): Promise<boolean> {
  // Held by the run that copies to it, for days where there is much.
  if ((await findCopyRun(db, targetId)) !== undefined) return false;
  const last = await findLastReading(db, targetId);
  if (last?.finished_at == null) return true;
  // A clock that was set back must not make it wait for years.
  const sinceMs = Math.abs(now.getTime() - last.finished_at.getTime());
  return sinceMs >= (wasInVain(last, targetId) ? DAY_MS : SOON_MS);
}

/** Damage was read, and other work ends. */
const NOT_IN_VAIN: readonly (string | undefined)[] = ['integrity_failure', 'locked'];

function wasInVain(run: Pick<Selectable<Runs>, 'state' | 'result' | 'error'>, targetId: string): boolean {
  const { targets } = (run.result ?? {}) as { targets?: { id: string; state: string; code?: string }[] };
  const error = run.error as { code?: string } | null;
  const ended = targets?.find(({ id }) => id === targetId) ?? { state: run.state, code: error?.code };
  return ended.state === 'cancelled' || (ended.state === 'failed' && !NOT_IN_VAIN.includes(ended.code));
}
