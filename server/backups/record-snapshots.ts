/** Keeps the table of snapshots in step with what the repository says. */
import type { Clock } from '../lib/clock.ts';
import type { WriteTransaction } from '../lib/db.ts';
import type { SnapshotRecord } from './engine.ts';
import { isReduced, wholeRecord } from './expired-parts.ts';
import { markMissing, upsertSnapshot } from './queries.ts';

interface RecordedSnapshots {
  repositoryId: string;
  targetId: string;
  records: readonly SnapshotRecord[];
  runId?: string;
}

/** Problems shown beside a snapshot; all are in its object. */
const MOST_PROBLEMS = 200;

/** Adds what is new. Rows that are there stay as they are. */
export async function recordSnapshots(
  tx: WriteTransaction,
  clock: Clock,
  recorded: RecordedSnapshots,
): Promise<void> {
  for (const record of recorded.records) {
    // What it was when it was taken, whatever is kept of it here by now.
    const { sections } = wholeRecord(record);
    const problems = sections.flatMap((section) =>
      section.problems.map((problem) => ({
        path: `${section.name}/${problem.path}`,
        reason: problem.reason,
      })),
    );
    const facts = record.facts as { restorePoint?: string; endLsn?: string; life?: string };
    await upsertSnapshot(
      tx,
      {
        id: record.id,
        number: record.number,
        repositoryId: recorded.repositoryId,
        runId: recorded.runId ?? null,
        state: sections.some((section) => section.problemCount > 0) ? 'partial' : 'stored',
        takenAt: new Date(record.takenAt),
        storedAt: clock.now(),
        restorePoint: facts.restorePoint ?? null,
        endLsn: facts.endLsn ?? null,
        keyringEpoch: record.keyringEpoch,
        fileCount: sections.reduce((sum, section) => sum + section.fileCount, 0),
        sizeBytes: sections.reduce((sum, section) => sum + section.sizeBytes, 0),
        addedBytes: record.addedBytes,
        storedBytes: record.storedBytes,
        durationMs: record.durationMs,
        problems: problems.slice(0, MOST_PROBLEMS),
        sources: sections.map(({ name, kind, fileCount, sizeBytes, problemCount, facts: about }) => ({
          ...{ name, kind, fileCount, sizeBytes, problemCount },
          // Which line of which cluster's history it is: pieces of the log go on from it.
          ...(kind === 'postgres'
            ? { systemId: about.systemId, timeline: about.timeline, life: facts.life }
            : {}),
        })),
      },
      // What is left of it is noted by what the head says (`placeListed`).
      isReduced(record) ? undefined : recorded.targetId,
    );
  }
}

/** Makes the table say what the head of a target says: what is missing is added, what it dropped is not there. */
export async function reconcileSnapshots(
  tx: WriteTransaction,
  clock: Clock,
  recorded: RecordedSnapshots & { retained: readonly string[] },
): Promise<{ missing: string[] }> {
  await recordSnapshots(tx, clock, recorded);
  return { missing: await markMissing(tx, recorded.targetId, recorded.retained) };
}
