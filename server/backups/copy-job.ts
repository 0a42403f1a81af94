/** The run of kind `copy`: brings to one target what it lacks of the snapshots on the others. Snapshots go on beside it. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Run } from '../lib/run-schema.ts';
import { enqueueRun, findOpenRun, getRun, type RunContext, type RunOutcome } from '../lib/runs.ts';
import { copyOnto, emptyTally, type CopyTally } from './copy-onto.ts';
import { noteCopied, noteTurnOver } from './copy-queries.ts';
import { noteNotCopied } from './copy-problems.ts';
import { createCopySources } from './copy-sources.ts';
import { findLacking } from './lacking.ts';
import { readQuarantine } from './quarantine.ts';
import { getTarget, listActiveTargets, type TargetRow } from './queries.ts';
import { HoursOver, isAskedFor, isOpen } from './target-hours.ts';
import {
  TargetBusy,
  withTargetRepository,
  type OpenTargetRepository,
  type RepositoryRunDeps,
} from './target-repository.ts';

/** After the first failure; twice as long after each further one, up to an hour. */
const FIRST_RETRY_MS = 5 * 60_000;
const LONGEST_RETRY_MS = 3_600_000;
/** What is taken while it runs is brought too, so often. */
const MOST_ROUNDS = 100;

export async function runCopy(deps: RepositoryRunDeps, run: RunContext): Promise<RunOutcome> {
  const target = await getTarget(deps.db, (run.input as { targetId: string }).targetId);
  if (target.state !== 'active') throw new HoldfastError('wrong_state', `${target.name} is retired`);
  const tally = emptyTally();
  try {
    await withTargetRepository(deps, target, run, (open) => catchUp(deps, run, { target, open, tally }));
  } catch (error) {
    if (error instanceof HoursOver && !run.signal.aborted)
      return await tellHoursOver(deps, run, target, error, tally);
    // Other work on it is no fault of the target: its turn comes without waiting ever longer.
    if (!run.signal.aborted && !(error instanceof TargetBusy)) await noteNotCopied(deps, run, target, error);
    throw error;
  }
  const { copied, packs, bytes, left } = tally;
  const result = { targetId: target.id, copied, packs, bytes, left: left.length };
  // Damage is told before a source that is away, whose snapshots come when it is back.
  const first = left.find(({ failed }) => failed === undefined) ?? left[0];
  if (first === undefined) {
    await writeTransaction(deps.db, (tx) => noteCopied(tx, target.id, deps.clock.now()));
    return { state: 'succeeded', result };
  }
  const message = tellLeft(left.length, first.message);
  const { failed } = first;
  const error = {
    code: failed?.code ?? 'integrity_failure',
    message,
    hint: failed?.hint ?? 'The log of this run names each.',
  };
  const noted = failed ?? new HoldfastError('integrity_failure', message, { hint: error.hint });
  await noteNotCopied(deps, run, target, noted);
  return { state: copied > 0 ? 'partial' : 'failed', result, error };
}

/** What arrived counts, and the rest is neither lost nor the fault of anybody: it is no failure after which it would wait ever longer. */
async function tellHoursOver(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  { code, message, hint }: HoursOver,
  { copied, packs, bytes }: CopyTally,
): Promise<RunOutcome> {
  await run.log('info', message);
  // Its turn is over: another one whose hours are the same is next.
  await writeTransaction(deps.db, (tx) => noteTurnOver(tx, target.id, deps.clock.now(), packs > 0));
  const left = (await findLacking(deps, target)).length;
  return {
    state: 'partial',
    result: { targetId: target.id, copied, packs, bytes, left },
    error: { code, message, ...(hint === undefined ? {} : { hint }) },
  };
}

function tellLeft(count: number, why: string): string {
  return `${count === 1 ? 'A snapshot was' : `${String(count)} snapshots were`} not copied: ${why}`.slice(
    0,
    500,
  );
}

async function catchUp(
  deps: RepositoryRunDeps,
  run: RunContext,
  onto: { target: TargetRow; open: OpenTargetRepository; tally: CopyTally },
): Promise<void> {
  const { target, tally } = onto;
  const sources = createCopySources(deps, run);
  const goOn = (): void => {
    const now = deps.clock.now();
    if (!isAskedFor(run) && !isOpen(target, now)) throw new HoursOver(target, now);
  };
  const startedMs = deps.clock.monotonicMs();
  try {
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const failed = new Set(tally.left.map((one) => one.id));
      const lacking = (await findLacking(deps, target)).filter((one) => !failed.has(one.id));
      if (lacking.length === 0) return;
      await run.step(
        `Copying ${lacking.length === 1 ? 'a snapshot' : `${String(lacking.length)} snapshots`} to ${target.name}`,
      );
      // By what was written when each was taken; a snapshot's own packs are counted when its turn comes.
      let expected = lacking.reduce((sum, one) => sum + one.storedBytes, tally.bytes);
      for (const snapshot of lacking) {
        const before = tally.bytes;
        await copyOnto(deps, run, { ...onto, sources }, [snapshot], {
          tally,
          // Asked after each pack: what is there already is not brought again.
          progress: (done, total) => {
            goOn();
            run.report({
              bytesDone: before + done,
              bytesTotal: Math.max(expected, before + total),
              filesDone: tally.copied,
              filesTotal: tally.copied + lacking.length,
              bytesPerSecond: Math.round(
                ((before + done) * 1000) / Math.max(1, deps.clock.monotonicMs() - startedMs),
              ),
            });
          },
        });
        expected += tally.bytes - before - snapshot.storedBytes;
      }
    }
  } finally {
    await sources.close();
  }
}

interface CopyChoreDeps {
  db: Database;
  clock: Clock;
}

/** Once a minute: queues the run for a target that lacks something. One that fails waits ever longer, and keeps no other from its turn. */
export async function copyWhenDue(deps: CopyChoreDeps): Promise<void> {
  if ((await readQuarantine(deps.db)) !== undefined) return;
  const targets = await listActiveTargets(deps.db);
  if (targets.length < 2 || (await findOpenRun(deps.db, 'copy')) !== undefined) return;
  // A snapshot's own copying is on its way, and the others hold the targets: what is left afterwards is seen in the next minute.
  for (const kind of ['snapshot', 'verify', 'prune'] as const)
    if ((await findOpenRun(deps.db, kind)) !== undefined) return;
  const now = deps.clock.now();
  const due = targets
    .filter((target) => isDue(target, now) && isOpen(target, now))
    .sort((a, b) => (a.copy_tried_at?.getTime() ?? 0) - (b.copy_tried_at?.getTime() ?? 0));
  for (const target of due) {
    if ((await findLacking(deps, target)).length === 0) continue;
    await writeTransaction(deps.db, async (tx) => {
      if ((await findOpenRun(tx, 'copy')) !== undefined) return;
      await enqueueRun(tx, deps.clock, { kind: 'copy', input: { targetId: target.id }, cause: 'schedule' });
    });
    return;
  }
}

function isDue({ copy_failures, copy_tried_at }: TargetRow, now: Date): boolean {
  if (copy_failures === 0 || copy_tried_at === null) return true;
  const waitMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(copy_failures - 1, 10), LONGEST_RETRY_MS);
  // A clock that was set back must not make it wait for years.
  return Math.abs(now.getTime() - copy_tried_at.getTime()) >= waitMs;
}

/** @throws HoldfastError `wrong_state` for a target that lacks nothing, is retired, or while such a run is under way. */
export async function requestCopy(deps: CopyChoreDeps, actor: Actor, targetId: string): Promise<Run> {
  const target = await getTarget(deps.db, targetId);
  if (target.state !== 'active') {
    throw new HoldfastError('wrong_state', 'This target is retired', { hint: 'Add it again to send to it.' });
  }
  if ((await findLacking(deps, target)).length === 0) {
    throw new HoldfastError('wrong_state', 'This target lacks nothing that another one has', {
      hint: 'What its own policy does not keep, and what was forgotten on it, is not brought there.',
    });
  }
  const id = await writeTransaction(deps.db, async (tx) => {
    const input = { targetId };
    const runId = await enqueueRun(tx, deps.clock, {
      ...{ kind: 'copy', input, requestedBy: actor.id },
      cause: actor.kind === 'console' ? 'console' : 'person',
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.copy.requested',
      objectType: 'target',
      objectId: targetId,
      detail: { run: runId },
    });
    return runId;
  });
  return getRun(deps.db, id);
}
