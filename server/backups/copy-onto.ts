/** Brings snapshots from the targets that have them to one that lacks them, and keeps the rows in step. */
import { recordAudit, systemActor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import { listHolders } from './copy-queries.ts';
import type { CopySources } from './copy-sources.ts';
import { placeSnapshot, updateTarget, type TargetRow } from './queries.ts';
import { copySnapshot, type CopyOptions, type CopyReport } from './repository/copy-snapshot.ts';
import { SourceFailed } from './repository/source-failed.ts';
import type { OpenTargetRepository, RepositoryRunDeps } from './target-repository.ts';
import { publishKeyring } from './publish-keyring.ts';
import { noteTakenOver, takeOverBorn, type TakenOver } from './wal/take-over-born.ts';

export interface CopyTally {
  copied: number;
  packs: number;
  bytes: number;
  /** Snapshots that could not be copied, with the reason. */
  left: ({ id: string; number: number } & NotCopied)[];
}

interface NotCopied {
  message: string;
  /** Set when it is the fault of the target that it was to be copied from. */
  failed?: SourceFailed;
}

export const emptyTally = (): CopyTally => ({ copied: 0, packs: 0, bytes: 0, left: [] });

interface Onto {
  target: TargetRow;
  open: OpenTargetRepository;
  sources: CopySources;
}

/** What is wrong with a snapshot at a source says nothing about the next one; what is wrong with the target does. */
const OF_THE_SNAPSHOT: readonly string[] = [
  'integrity_failure',
  'not_found',
  'wrong_key',
  'needs_kit',
  'conflict',
];

/**
 * Before anything is copied there: the keyring is as new as the snapshots need, or newer.
 *
 * @throws what the target throws; then nothing more can be copied to it.
 */
export async function copyOnto(
  deps: RepositoryRunDeps,
  run: RunContext,
  onto: Onto,
  wanted: readonly { id: string; number: number }[],
  options: Pick<CopyOptions, 'progress' | 'weigh'> & { tally: CopyTally },
): Promise<void> {
  const { tally, ...rest } = options;
  if (wanted.length === 0) return;
  await publishKeyring(deps, onto.open);
  crashPoint('backups.copy.keyring-published');
  const born = await takeOverBorn(deps.dataDir, onto.target.id, onto.open.writer);
  for (const snapshot of wanted) {
    run.signal.throwIfAborted();
    const done = await copyOne(deps, run, { ...onto, born }, snapshot, { signal: run.signal, ...rest });
    if ('message' in done) {
      tally.left.push({ ...snapshot, ...done });
      await run.log(
        'error',
        `Snapshot ${snapshot.number} was not copied to ${onto.target.name}: ${done.message}`,
      );
      continue;
    }
    tally.copied += 1;
    tally.packs += done.packs;
    tally.bytes += done.bytes;
  }
}

async function copyOne(
  deps: RepositoryRunDeps,
  run: RunContext,
  { target, open, sources, born }: Onto & { born: TakenOver },
  wanted: { id: string; number: number },
  options: CopyOptions,
): Promise<CopyReport | NotCopied> {
  let left: NotCopied | undefined;
  for (const row of await listHolders(deps.db, wanted.id)) {
    if (row.id === target.id) continue;
    try {
      const source = await sources.open(row);
      const report = await copySnapshot(source, open, wanted, options);
      crashPoint('backups.copy.snapshot-published');
      await open.writer.publishHead();
      crashPoint('backups.copy.head-published');
      noteTakenOver(deps.dataDir, target.id, born);
      await recordCopied(deps, run, target, row, report);
      return report;
    } catch (error) {
      run.signal.throwIfAborted();
      if (error instanceof SourceFailed) {
        // Damage on another one is the worse news.
        left ??= { message: error.message, failed: error };
        await sources.giveUp(row, error);
        continue;
      }
      if (!(error instanceof HoldfastError) || !OF_THE_SNAPSHOT.includes(error.code)) throw error;
      left = { message: `${error.message}. ${error.hint ?? ''}`.trim() };
      await run.log('warn', `From ${row.name}: ${messageOf(error)}`);
    }
  }
  return left ?? { message: 'No other target in use has it' };
}

async function recordCopied(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  from: TargetRow,
  { record, packs, bytes }: CopyReport,
): Promise<void> {
  const now = deps.clock.now();
  await writeTransaction(deps.db, async (tx) => {
    await placeSnapshot(tx, record.id, target.id, now);
    await updateTarget(tx, target.id, { lastOkAt: now });
    await recordAudit(tx, deps.clock, systemActor(run.kind), {
      action: 'backups.snapshot.copied',
      objectType: 'snapshot',
      objectId: record.id,
      detail: { number: record.number, targetId: target.id, from: from.id, packs, bytes, run: run.runId },
    });
  });
  crashPoint('backups.copy.recorded');
  await run.log(
    'info',
    `Snapshot ${record.number} lies on ${target.name}: ${packs} packs, ${bytes} bytes copied from ${from.name}`,
  );
}
