/**
 * Reads a target back, and puts right what is damaged there with what other targets in use hold. What was repaired is read again: what
 * counts is what is there in the end. Damage is told all the same, because a disk that damaged something may go on.
 */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { messageOf } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { listActiveTargets, updateTarget, type TargetRow } from './queries.ts';
import { reconcileSnapshots } from './record-snapshots.ts';
import { verifyRepository, type VerifyReport } from './repository/verify-repository.ts';
import { toRunProgress } from './run-progress.ts';
import { openTargetConfig } from './target-config.ts';
import {
  withTargetRepository,
  type OpenTargetRepository,
  type RepositoryRunDeps,
} from './target-repository.ts';
import { openTarget } from './targets/open-target.ts';

/** Names of what is whole again, and of the targets that had it. */
interface Repaired {
  names: string[];
  from: string[];
}

/** @throws as opening the target does */
export async function verifyAndRepair(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
): Promise<RunOutcome> {
  const { report, repaired } = await withTargetRepository(deps, target, run, async (open) => {
    const found = await readBack(deps, run, target, open, 'Reading everything back');
    return { report: found, repaired: await repairFromOthers(deps, run, target, open, found) };
  });
  if (repaired.names.length === 0) return describe(target, report);
  const left = await withTargetRepository(deps, target, run, (open) =>
    readBack(deps, run, target, open, 'Reading again what was repaired'),
  );
  return describe(target, left, repaired);
}

async function readBack(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  open: OpenTargetRepository,
  step: string,
): Promise<VerifyReport> {
  await run.step(step);
  const report = await verifyRepository(open.repository, {
    everyByte: true,
    signal: run.signal,
    progress: (progress) => run.report(toRunProgress(progress)),
  });
  for (const problem of report.problems) await run.log('error', `${problem.object}: ${problem.message}`);
  const { snapshots } = await open.repository.snapshots();
  await writeTransaction(deps.db, async (tx) => {
    await reconcileSnapshots(tx, deps.clock, {
      repositoryId: open.repository.id,
      targetId: target.id,
      records: snapshots,
      retained: snapshots.map((one) => one.id),
    });
    await recordAudit(tx, deps.clock, systemActor('verify'), {
      action: 'backups.repository.verified',
      objectType: 'target',
      objectId: target.id,
      result: report.ok ? 'done' : 'failed',
      detail: { problems: report.problemCount, run: run.runId },
    });
    await updateTarget(tx, target.id, { verified: { at: deps.clock.now(), problems: report.problemCount } });
  });
  return report;
}

/** From one target after the other, until nothing is left. One that cannot be reached is passed over, and said. */
async function repairFromOthers(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  { writer }: OpenTargetRepository,
  { problems }: VerifyReport,
): Promise<Repaired> {
  const repaired: Repaired = { names: [], from: [] };
  let wanted = problems.map(({ object }) => object);
  const others = (await listActiveTargets(deps.db)).filter((one) => one.id !== target.id);
  for (const other of others) {
    if (wanted.length === 0) break;
    run.signal.throwIfAborted();
    await run.step(`Repairing from ${other.name}`);
    try {
      const source = await openTarget(await openTargetConfig(deps, other));
      try {
        const { repaired: names, left } = await writer.repair(source, wanted, run.signal);
        for (const name of names)
          await run.log('info', `${name} is whole again, by its copy on ${other.name}`);
        for (const { name, reason } of left) await run.log('warn', `${name}, from ${other.name}: ${reason}`);
        repaired.names.push(...names);
        if (names.length > 0) repaired.from.push(other.name);
        wanted = left.map(({ name }) => name);
      } finally {
        await source.close();
      }
    } catch (error) {
      run.signal.throwIfAborted();
      await run.log('warn', `Nothing could be repaired from ${other.name}: ${messageOf(error)}`);
    }
  }
  if (repaired.names.length > 0) await recordRepair(deps, run, target, repaired, wanted.length);
  return repaired;
}

async function recordRepair(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  { names, from }: Repaired,
  left: number,
): Promise<void> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, systemActor('verify'), {
      action: 'backups.repository.repaired',
      objectType: 'target',
      objectId: target.id,
      detail: { objects: names.length, left, from, run: run.runId },
    }),
  );
}

function describe(target: TargetRow, report: VerifyReport, repaired?: Repaired): RunOutcome {
  const mended = repaired?.names.length ?? 0;
  const result = { problems: report.problemCount, repaired: mended, targetId: target.id };
  const by = repaired === undefined ? '' : ` by the copies on ${repaired.from.join(' and ')}`;
  if (!report.ok) {
    const also = mended === 0 ? '' : `; ${count(mended, 'damaged object')} made whole${by}`;
    return {
      state: 'failed',
      result,
      error: {
        code: 'integrity_failure',
        message: `${String(report.problemCount)} problems were found in what is stored${also}`,
        hint: verifyHint(report.problems.map((problem) => problem.object)),
      },
    };
  }
  if (mended === 0) return { state: 'succeeded', result };
  return {
    state: 'partial',
    result,
    error: {
      code: 'repaired',
      message: `${count(mended, 'damaged object')} found and made whole again${by}`,
      hint: 'Everything was read again and is whole. Find out what damages this target: it may go on.',
    },
  };
}

function count(number: number, word: string): string {
  return number === 1 ? `1 ${word} was` : `${String(number)} ${word}s were`;
}

/** A lost snapshot cannot be stored again; what it is made of can, as long as its sources hold it. */
function verifyHint(objects: readonly string[]): string {
  const lost = objects.filter((name) => name.startsWith('snapshots/')).length;
  const again = 'Take a snapshot now: it stores again what is damaged.';
  const forget = `Forget ${lost === 1 ? 'the snapshot that' : 'the snapshots that'} cannot be read; others are not touched by that.`;
  const what = lost === 0 ? again : lost === objects.length ? forget : `${again} ${forget}`;
  return `${what} The log of this run names each object.`;
}
