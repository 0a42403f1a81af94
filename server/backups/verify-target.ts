/**
 * Reads a target back, whole or a part of it, and puts right what is damaged there with what other targets in use hold. What was repaired is read again: what
 * counts is what is there in the end. Damage is told all the same, because a disk that damaged something may go on.
 */
import { recordAudit, systemActor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { tellWait } from '../lib/hours.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { noteSourceFailed } from './copy-problems.ts';
import { openForReading } from './copy-sources.ts';
import type { Target } from './engine.ts';
import { listActiveTargets, updateTarget, type TargetRow } from './queries.ts';
import { reconcileSnapshots } from './record-snapshots.ts';
import { owedParts, type Cycle } from './read-back/cycle.ts';
import { findCycle, noteRead } from './read-back/keep-cycle.ts';
import { isSnapshotDue, listDamage, readPlan, replaceDamage } from './read-back/read-back-queries.ts';
import { isAskedFor, tellTargetWait } from './target-hours.ts';
import { SourceFailed } from './repository/source-failed.ts';
import { verifyRepository, type VerifyPart, type VerifyReport } from './repository/verify-repository.ts';
import { toRunProgress } from './run-progress.ts';
import {
  withTargetRepository,
  type OpenTargetRepository,
  type RepositoryRunDeps,
} from './target-repository.ts';
import { makeReport, putOnTarget } from './verification-reports/make-report.ts';
import { toReading, type MendedObject } from './verification-reports/reading.ts';
import { listShipped } from './wal/list-shipped.ts';

interface Repaired {
  /** What is whole again. */
  mended: MendedObject[];
  /** Of what had the bytes that its name says when it was to be repaired: another reading tells what is the matter with it. */
  untouched: string[];
}

const NOTHING_REPAIRED = (): Repaired => ({ mended: [], untouched: [] });
const sourcesOf = ({ mended }: Repaired): string[] => [...new Set(mended.map(({ from }) => from.name))];

interface ReadPart {
  target: TargetRow;
  part: VerifyPart;
}

const EVERYTHING: VerifyPart = { number: 0, of: 1 };
/** No further part of what is owed is begun after this: other work waits meanwhile. */
const CATCH_UP_MS = 4 * 3_600_000;

/** All of it; with `input.part` what is owed of the cycle, by a person's wish at least one part. @throws as opening the target does */
export async function verifyAndRepair(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
): Promise<RunOutcome> {
  if (run.input.part === true) return readOwedParts(deps, run, target);
  const { report, repaired } = await readAndRepair(deps, run, { target, part: EVERYTHING });
  return describe(target, report, repaired);
}

async function readOwedParts(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
): Promise<RunOutcome> {
  const plan = await readPlan(deps.db);
  const startedMs = deps.clock.monotonicMs();
  const all = NOTHING_REPAIRED();
  const asked = isAskedFor(run);
  const waits = () => {
    const now = deps.clock.now();
    return asked ? undefined : (tellTargetWait(target, now) ?? tellWait(plan.hours, now));
  };
  let cycle = await findCycle(deps.db, target.id, plan.days);
  let owed = owedParts(cycle, { now: deps.clock.now(), nextDueAt: plan.nextDueAt });
  if (asked) owed = Math.max(1, owed);
  const wait = waits();
  if (owed === 0 || wait !== undefined) {
    await run.log('info', `${target.name}: ${wait ?? 'nothing is owed today'}, ${tellCycle(cycle)}`);
    return {
      state: 'succeeded',
      result: { problems: 0, repaired: 0, foundWhole: 0, partsRead: 0, targetId: target.id },
    };
  }
  for (let read = 1; ; read++) {
    const part = { number: cycle.done, of: cycle.parts };
    const { report, repaired, closed } = await readAndRepair(deps, run, { target, part });
    all.mended.push(...repaired.mended);
    all.untouched.push(...repaired.untouched);
    cycle = await findCycle(deps.db, target.id, plan.days);
    await run.log('info', `${target.name}: part ${part.number + 1} of ${part.of} was read back`);
    if (closed) await run.log('info', `${target.name}: with this part, all was read back once`);
    const late = deps.clock.monotonicMs() - startedMs > CATCH_UP_MS;
    if (
      read >= owed ||
      closed ||
      late ||
      waits() !== undefined ||
      (await isSnapshotDue(deps.db, deps.clock.now()))
    )
      return describe(target, report, all, { partsRead: read });
  }
}

function tellCycle({ done, parts }: Cycle): string {
  return `${String(done)} of ${String(parts)} parts are read`;
}

async function readAndRepair(
  deps: RepositoryRunDeps,
  run: RunContext,
  what: ReadPart,
): Promise<{ report: VerifyReport; repaired: Repaired; closed: boolean }> {
  const { target, part } = what;
  const from = deps.clock.now();
  const words = part.of === 1 ? 'everything' : `part ${String(part.number + 1)} of ${String(part.of)}`;
  const { found, repaired, head } = await withTargetRepository(deps, target, run, async (open) => {
    const first = await readBack(deps, run, what, open, `Reading back ${words}`);
    const mending = await repairFromOthers(deps, run, target, open, first);
    return { found: first, repaired: mending, head: open.repository.headReference };
  });
  const { mended, untouched } = repaired;
  const report =
    mended.length + untouched.length === 0
      ? found
      : await withTargetRepository(deps, target, run, (open) =>
          readBack(deps, run, what, open, 'Reading again'),
        );
  const { runId } = run;
  const reading = toReading({
    ...{ part, runId, head, mended, untouched, first: found, last: report },
    ...{ software: SOFTWARE_VERSION, startedAt: from, finishedAt: deps.clock.now() },
  });
  const cycle = await findCycle(deps.db, target.id, part.of);
  const signed = await makeReport(deps, target, reading, cycle.startedAt);
  const bytes = report.packBytesRead + report.unindexedBytesRead;
  const { closed } = await noteRead(deps, target, { part, from, bytes, runId, reading, report: signed });
  if (closed && signed !== undefined) await putOnTarget(deps, run, target, signed);
  return { report, repaired, closed };
}

async function readBack(
  deps: RepositoryRunDeps,
  run: RunContext,
  { target, part }: ReadPart,
  open: OpenTargetRepository,
  step: string,
): Promise<VerifyReport> {
  await run.step(step);
  const whole = part.of === 1;
  const report = await verifyRepository(open.repository, {
    everyByte: true,
    ...(whole ? {} : { part, again: new Set(await listDamage(deps.db, target.id)) }),
    shipped: await listShipped(deps, target.id),
    signal: run.signal,
    progress: (progress) => run.report(toRunProgress(progress)),
  });
  const { unindexedPacks: unindexed } = report;
  if (unindexed > 0)
    await run.log(
      'info',
      `${target.name}: ${unindexed} packs that no index names yet were compared with their names alone`,
    );
  if (!report.contentChecked) await run.log('info', `${target.name}: ${tellDepth(report)}`);
  for (const problem of report.problems) await run.log('error', `${problem.object}: ${problem.message}`);
  const { snapshots } = await open.repository.snapshots();
  await writeTransaction(deps.db, async (tx) => {
    await reconcileSnapshots(tx, deps.clock, {
      repositoryId: open.repository.id,
      targetId: target.id,
      records: snapshots,
      retained: report.contentChecked
        ? snapshots.map((one) => one.id)
        : open.repository.snapshotReferences.map((one) => one.sha256),
    });
    await recordAudit(tx, deps.clock, systemActor('verify'), {
      action: 'backups.repository.verified',
      objectType: 'target',
      objectId: target.id,
      result: report.ok ? 'done' : 'failed',
      detail: {
        ...{ problems: report.problemCount, contentChecked: report.contentChecked, run: run.runId },
        ...(whole ? {} : { part: part.number + 1, of: part.of }),
      },
    });
    await replaceDamage(tx, target.id, { objects: report.readAgain, now: deps.clock.now() });
    const problems = report.problemCount;
    await updateTarget(tx, target.id, {
      verified: whole ? { at: deps.clock.now(), problems } : { problems },
    });
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
  const repaired = NOTHING_REPAIRED();
  let wanted = problems.map(({ object }) => object);
  const others = (await listActiveTargets(deps.db)).filter((one) => one.id !== target.id);
  try {
    for (const other of others) {
      if (wanted.length === 0) break;
      run.signal.throwIfAborted();
      await run.step(`Repairing from ${other.name}`);
      wanted = await repairFrom(deps, run, writer, { other, wanted, repaired });
    }
  } finally {
    if (repaired.mended.length > 0) await recordRepair(deps, run, target, repaired, wanted.length);
  }
  return repaired;
}

/** @returns what is left. @throws what the target that is repaired throws */
async function repairFrom(
  deps: RepositoryRunDeps,
  run: RunContext,
  writer: OpenTargetRepository['writer'],
  { other, wanted, repaired }: { other: TargetRow; wanted: string[]; repaired: Repaired },
): Promise<string[]> {
  const giveUp = async (failure: SourceFailed): Promise<void> => {
    await run.log('warn', `Nothing more could be repaired from ${other.name}: ${failure.message}`);
    await noteSourceFailed(deps, failure);
  };
  let source: Target;
  try {
    source = await openForReading(deps, other);
  } catch (error) {
    run.signal.throwIfAborted();
    await giveUp(error instanceof SourceFailed ? error : new SourceFailed(other, error));
    return wanted;
  }
  try {
    const { repaired: names, whole, left, failed } = await writer.repair(source, wanted, run.signal);
    for (const name of names) await run.log('info', `${name} is whole again, by its copy on ${other.name}`);
    for (const name of whole)
      await run.log('warn', `${name} has the bytes that its name says: nothing was done to it`);
    if (failed !== undefined) await giveUp(failed);
    else for (const { name, reason } of left) await run.log('warn', `${name}, from ${other.name}: ${reason}`);
    const from = { id: other.id, name: other.name };
    repaired.mended.push(...names.map((object) => ({ object, from })));
    repaired.untouched.push(...whole);
    return left.map(({ name }) => name);
  } finally {
    await source.close();
  }
}

async function recordRepair(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  repaired: Repaired,
  left: number,
): Promise<void> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, systemActor('verify'), {
      action: 'backups.repository.repaired',
      objectType: 'target',
      objectId: target.id,
      detail: { objects: repaired.mended.length, left, from: sourcesOf(repaired), run: run.runId },
    }),
  );
}

function describe(
  target: TargetRow,
  report: VerifyReport,
  repaired: Repaired,
  also: { partsRead?: number } = {},
): RunOutcome {
  const mended = repaired.mended.length;
  const damaged = new Set(report.problems.map(({ object }) => object));
  const foundWhole = new Set(repaired.untouched.filter((name) => !damaged.has(name))).size;
  const result = {
    problems: report.problemCount,
    repaired: mended,
    foundWhole,
    unindexedPacks: report.unindexedPacks,
    contentChecked: report.contentChecked,
    ...also,
    targetId: target.id,
  };
  const by = ` by the copies on ${sourcesOf(repaired).join(' and ')}`;
  if (!report.ok) {
    const besides = [
      ...(mended === 0 ? [] : [`${count(mended, 'damaged object')} made whole${by}`]),
      ...(foundWhole === 0 ? [] : [`${count(foundWhole, 'object')} found whole after all`]),
    ];
    return {
      state: 'failed',
      result,
      error: {
        code: 'integrity_failure',
        message: [`${String(report.problemCount)} problems were found in what is stored`, ...besides].join(
          '; ',
        ),
        hint: verifyHint(report.problems.map((problem) => problem.object)),
      },
    };
  }
  if (mended + foundWhole === 0) return { state: 'succeeded', result };
  const told = [
    ...(mended === 0 ? [] : [`${count(mended, 'damaged object')} found and made whole again${by}`]),
    ...(foundWhole === 0 ? [] : [`${count(foundWhole, 'object')} found whole after all, and not touched`]),
  ];
  const hint =
    mended === 0
      ? 'What was read is whole now. This target, or the line to it, did not give the same bytes each time: watch it.'
      : 'What was read is whole now. Find out what damages this target: it may go on.';
  return {
    state: 'partial',
    result,
    error: { code: mended === 0 ? 'found_whole' : 'repaired', message: told.join('; '), hint },
  };
}

/** What this appliance has no key to was compared with its names, and not opened. */
function tellDepth({ closedSnapshots, snapshotCount }: VerifyReport): string {
  const part =
    closedSnapshots === snapshotCount
      ? 'what is stored'
      : `what ${closedSnapshots === 1 ? 'one snapshot is' : `${String(closedSnapshots)} of ${String(snapshotCount)} snapshots are`} made of`;
  return `this appliance has no key to ${part}: its hashes were compared, and what is inside was not. A restore test with the kit reads that.`;
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
