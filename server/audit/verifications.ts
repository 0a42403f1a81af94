/** What verifications of the log found, and what an export cannot show. */
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { systemActor } from './actor.ts';
import { insertVerification } from './checkpoint-queries.ts';
import { listDisplacedEntries } from './export-queries.ts';
import { recordAudit } from './record-audit.ts';
import type { Finding } from './verify/findings.ts';
import type { VerifyReport } from './verify/verify-log.ts';

/** Findings kept with a verification; the run's log names more. */
const FINDINGS_KEPT = 100;
const MOST_DISPLACED = 100;

export async function recordVerification(
  { db, clock }: { db: Database; clock: Clock },
  { runId, report }: { runId: string; report: VerifyReport },
): Promise<void> {
  const { findings, ...facts } = report;
  await writeTransaction(db, async (tx) => {
    await insertVerification(tx, {
      at: clock.now(),
      runId,
      report: { ...facts, findings: findings.slice(0, FINDINGS_KEPT) },
    });
    await recordAudit(tx, clock, systemActor('audit'), {
      action: 'audit.log.verified',
      objectType: 'log',
      objectId: report.origin,
      result: report.ok ? 'done' : 'failed',
      detail: { size: report.size, findings: report.findingCount, run: runId },
    });
  });
}

/** What no export shows: entries that lost their place in the tree, or their row before they had one. */
export async function listDisplaced(db: Database): Promise<Finding[]> {
  const numbers = await listDisplacedEntries(db, MOST_DISPLACED);
  return numbers.map((number) => ({
    code: 'deleted',
    position: null,
    message: `Entry ${number} is gone, or has no place in the log any more`,
  }));
}
