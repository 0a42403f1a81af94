/**
 * The run of kind `snapshot`: everything is read once and stored on one target, the lead, and copied from there to every other target in
 * use. The first in the order that can be written to leads, so a lost target never stops backups; one that was away catches up by itself.
 */
import { recordAudit, systemActor, type Checkpoint } from '../audit/index.ts';
import { openRepositoryWriteKeys } from '../keys/index.ts';
import { requireFreeBytes } from '../lib/data-disk.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import type { Problem } from '../lib/shapes.ts';
import { copyOnto, emptyTally } from './copy-onto.ts';
import { noteCopied, raiseNumber } from './copy-queries.ts';
import { createCopySources, type CopySources } from './copy-sources.ts';
import { readRule, tellShort } from './copy-rule.ts';
import { noteNotCopied, problemOf } from './copy-problems.ts';
import { requireTargets } from './manage-targets.ts';
import { readQuarantine } from './quarantine.ts';
import { updateTarget, type TargetRow } from './queries.ts';
import { NoTurn, retryWhileBusy, withRepositoryTurn } from './repository-turn.ts';
import { findNewestHead } from './repository/find-head.ts';
import { openTargetConfig } from './target-config.ts';
import { isAskedFor, tellTargetWait } from './target-hours.ts';
import { TargetBusy, withTargetRepository } from './target-repository.ts';
import { openTarget } from './targets/open-target.ts';
import {
  FailedAfterPublishing,
  finishOn,
  signLog,
  storeOn,
  type SnapshotRunDeps,
  type StoredSnapshot,
} from './take-snapshot.ts';

/** The restore point ends a log file of PostgreSQL, which must be able to begin others, or it stops. */
const NEEDS_FREE_BYTES = 64 * 1024 ** 2;
/** More than this is brought by a run of its own, beside which snapshots go on. */
const MOST_COPIED_HERE = 4 * 1024 ** 3;

/** What became of the snapshot on a target. */
interface Place {
  target: TargetRow;
  /** Undefined where it is stored. */
  problem?: Problem;
  /** It comes with a run of its own, and nothing is wrong. */
  later?: string;
}

interface Led extends StoredSnapshot {
  lead: TargetRow;
  /** Those before it in the order, which could not lead. */
  passed: Place[];
}

export async function runSnapshot(deps: SnapshotRunDeps, run: RunContext): Promise<RunOutcome> {
  const targets = await requireTargets(deps.db);
  try {
    await requireFreeBytes(deps.dataDir, NEEDS_FREE_BYTES, 'a snapshot');
  } catch (error) {
    for (const target of targets) await recordFailure(deps, run, target, error);
    throw error;
  }
  try {
    return await withRepositoryTurn(deps.db, run, () => takeAndCopy(deps, run, targets));
  } catch (error) {
    const [first] = targets;
    if (error instanceof NoTurn && first !== undefined) await recordFailure(deps, run, first, error);
    throw error;
  }
}

async function takeAndCopy(
  deps: SnapshotRunDeps,
  run: RunContext,
  targets: readonly TargetRow[],
): Promise<RunOutcome> {
  const led = await withAdvisoryLock(deps.db, 'fileCollection', () => lead(deps, run, targets), {
    shared: true,
  });
  if (led === undefined) throw new HoldfastError('internal', 'The lock of the files was not waited for');
  const sources = createCopySources(deps, run);
  const places: Place[] = [{ target: led.lead }];
  try {
    for (const target of targets) {
      if (target.id === led.lead.id) continue;
      run.signal.throwIfAborted();
      const before = led.passed.find((place) => place.target.id === target.id);
      places.push(before?.problem === undefined ? await copyTo(deps, run, target, led, sources) : before);
    }
  } finally {
    await sources.close();
  }
  return tellOutcome(deps, run, led, places);
}

/**
 * Where all that can be written to are busy, the first of those is waited for.
 *
 * @throws what the first of them throws when none can be written to.
 */
async function lead(deps: SnapshotRunDeps, run: RunContext, targets: readonly TargetRow[]): Promise<Led> {
  const passed: Place[] = [];
  const failures: unknown[] = [];
  const checkpoint = await signLogOnce(deps, run, targets);
  const store = (target: TargetRow) => storeOn(deps, run, target, checkpoint);
  // Outside of its hours a target leads only where no other can: a snapshot waits for no target.
  const closed = new Set(targets.filter((target) => waitOf(deps, run, target) !== undefined));
  for (const target of targets.toSorted((a, b) => Number(closed.has(a)) - Number(closed.has(b)))) {
    await raiseByOthers(deps, targets, target);
    try {
      return { lead: target, passed, ...(await store(target)) };
    } catch (error) {
      const cause = await settleFailure(deps, run, target, error);
      failures.push(cause);
      const busy = cause instanceof TargetBusy;
      passed.push({ target, ...(busy ? { later: messageOf(cause) } : { problem: problemOf(cause) }) });
      if (passed.length < targets.length) {
        await run.log(
          'warn',
          `${target.name} cannot lead this snapshot: ${messageOf(cause)}. The next one does`,
        );
      }
    }
  }
  const waiting = passed.find(({ later }) => later !== undefined);
  if (waiting === undefined) throw failures[0];
  const { target } = waiting;
  try {
    const stored = await retryWhileBusy(run, () => store(target));
    return { lead: target, passed: passed.filter((place) => place !== waiting), ...stored };
  } catch (error) {
    throw await settleFailure(deps, run, target, error);
  }
}

/** @returns why it cannot lead. @throws it, when no other may lead instead */
async function settleFailure(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  error: unknown,
): Promise<unknown> {
  const cause = error instanceof FailedAfterPublishing ? error.cause : error;
  if (run.signal.aborted) throw cause;
  if (!(cause instanceof TargetBusy)) await recordFailure(deps, run, target, cause);
  if (error instanceof FailedAfterPublishing) throw cause;
  if ((await readQuarantine(deps.db)) !== undefined) throw cause;
  return cause;
}

/** Quarantine shows here too, before anything is signed. */
async function signLogOnce(
  deps: SnapshotRunDeps,
  run: RunContext,
  targets: readonly TargetRow[],
): Promise<Checkpoint | undefined> {
  try {
    return await signLog(deps, run, targets);
  } catch (error) {
    const [first] = targets;
    if (!run.signal.aborted && first !== undefined) await recordFailure(deps, run, first, error);
    throw error;
  }
}

/** A target that was not looked at since a recovery may hold snapshots whose numbers this appliance does not remember. */
async function raiseByOthers(
  deps: SnapshotRunDeps,
  targets: readonly TargetRow[],
  chosen: TargetRow,
): Promise<void> {
  const strange = targets.filter(
    (one) => one.id !== chosen.id && (one.unseen_since_recovery || one.last_ok_at === null),
  );
  if (strange.length === 0) return;
  const keys = await openRepositoryWriteKeys(deps.keys);
  for (const row of strange) {
    try {
      const target = await openTarget(await openTargetConfig(deps, row));
      try {
        const { newest } = await findNewestHead(target, keys, []);
        if (newest !== undefined) await raiseNumber(deps.db, newest.head.nextSnapshot - 1);
      } finally {
        await target.close();
      }
    } catch {
      // Away, or nothing there yet: said when its turn comes.
    }
  }
}

/** @returns why nothing that a person did not ask for begins there now. */
function waitOf(
  deps: Pick<SnapshotRunDeps, 'clock'>,
  run: RunContext,
  target: TargetRow,
): string | undefined {
  return isAskedFor(run) ? undefined : tellTargetWait(target, deps.clock.now());
}

async function copyTo(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  { record, checkpoint }: Led,
  sources: CopySources,
): Promise<Place> {
  const wait = waitOf(deps, run, target);
  if (wait !== undefined) return { target, later: `Nothing begins on ${target.name} now: ${wait}` };
  await run.step(`Copying to ${target.name}`);
  const tally = emptyTally();
  let tooMuch: string | undefined;
  try {
    await withTargetRepository(deps, target, run, async (open) => {
      await copyOnto(deps, run, { target, open, sources }, [record], {
        tally,
        progress: (bytesDone, bytesTotal) => run.report({ bytesDone, bytesTotal }),
        weigh: ({ bytes }) => {
          if (bytes <= MOST_COPIED_HERE) return;
          tooMuch = `${target.name} lacks much; a run of its own brings it, beside which snapshots go on`;
          throw new HoldfastError('wrong_state', tooMuch);
        },
      });
      const [left] = tally.left;
      if (left !== undefined) throw left.failed ?? new HoldfastError('integrity_failure', left.message);
      await finishOn(deps, run, target, open, { checkpoint, snapshotId: record.id });
    });
    // It can be written to again: what it lacks besides is brought in the next minute.
    await writeTransaction(deps.db, (tx) => noteCopied(tx, target.id, deps.clock.now()));
    return { target };
  } catch (error) {
    run.signal.throwIfAborted();
    if (tooMuch !== undefined) return { target, later: tooMuch };
    if (error instanceof TargetBusy)
      return { target, later: `${target.name} is being caught up; the snapshot comes with that` };
    if (tally.copied > 0) {
      await run.log('warn', `${target.name}: after the snapshot was copied: ${messageOf(error)}`);
      return { target };
    }
    await noteNotCopied(deps, run, target, error);
    return { target, problem: problemOf(error) };
  }
}

async function tellOutcome(
  deps: SnapshotRunDeps,
  run: RunContext,
  { record, problems, lead: first }: Led,
  places: readonly Place[],
): Promise<RunOutcome> {
  for (const { target, problem, later } of places) {
    if (later !== undefined) await run.log('info', later);
    if (problem !== undefined)
      await run.log('warn', `Not on ${target.name}: ${problem.message}. It is caught up by itself`);
  }
  const have = places.filter(({ problem, later }) => problem === undefined && later === undefined).length;
  const rule = await readRule(deps.db);
  const result = {
    ...{ snapshotId: record.id, number: record.number, problems, targetId: first.id },
    ...{ have, needed: rule.needed },
    targets: places.map(({ target, problem, later }) => ({
      ...{ id: target.id, name: target.name },
      state: problem === undefined ? (later === undefined ? 'stored' : 'later') : 'failed',
      ...(problem === undefined ? {} : { code: problem.code, message: problem.message }),
    })),
  };
  if (have >= rule.needed) return { state: problems === 0 ? 'succeeded' : 'partial', result };
  const missing = places.filter(({ problem, later }) => problem !== undefined || later !== undefined);
  return {
    state: 'partial',
    result,
    error: {
      code: missing.find(({ problem }) => problem !== undefined)?.problem?.code ?? 'unavailable',
      message: tellShort({ have, ...rule }),
      hint: `${missing.map(({ target, problem, later }) => `${target.name}: ${problem?.message ?? later ?? ''}`).join('. ')}. It is caught up by itself.`,
    },
  };
}

async function recordFailure(
  deps: SnapshotRunDeps,
  run: RunContext,
  target: TargetRow,
  error: unknown,
): Promise<void> {
  const problem = problemOf(error, 'The snapshot failed inside the appliance');
  await writeTransaction(deps.db, async (tx) => {
    await updateTarget(tx, target.id, { lastError: problem });
    await recordAudit(tx, deps.clock, systemActor('snapshot'), {
      action: 'backups.snapshot.failed',
      objectType: 'run',
      objectId: run.runId,
      result: 'failed',
      detail: { code: problem.code, targetId: target.id },
    });
  });
}
