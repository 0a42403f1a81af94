import { createHash } from 'node:crypto';
import type { Database } from '../lib/db.ts';
import type { Problem } from '../lib/shapes.ts';
import type { Checkpoint } from './checkpoints.ts';
import type { VerifyReport } from './verify/verify-log.ts';

export async function insertCheckpoint(db: Database, checkpoint: Checkpoint): Promise<void> {
  const { origin, size, at, note, certificate } = checkpoint;
  const sha256 = createHash('sha256').update(certificate).digest();
  await db
    .insertInto('audit_certificates')
    .values({ sha256, certificate })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await db
    .insertInto('audit_checkpoints')
    .values({ origin, size: String(size), at, note, certificate_sha256: sha256 })
    .execute();
}

/** The one that was signed last. */
export async function findNewestCheckpoint(db: Database): Promise<Checkpoint | undefined> {
  const row = await db
    .selectFrom('audit_checkpoints')
    .innerJoin('audit_certificates', 'sha256', 'certificate_sha256')
    .select(['origin', 'size', 'at', 'note', 'certificate'])
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined ? undefined : { ...row, size: Number(row.size) };
}

interface LogState {
  triedAt: Date;
  /** Why the last try to sign a checkpoint came to nothing. */
  problem: Problem | undefined;
}

export async function findLogState(db: Database): Promise<LogState | undefined> {
  const row = await db.selectFrom('audit_state').select(['tried_at', 'problem']).executeTakeFirst();
  return row === undefined
    ? undefined
    : { triedAt: row.tried_at, problem: (row.problem as Problem | null) ?? undefined };
}

export async function saveLogState(db: Database, { triedAt, problem }: LogState): Promise<void> {
  const values = { tried_at: triedAt, problem: problem === undefined ? null : JSON.stringify(problem) };
  await db
    .insertInto('audit_state')
    .values(values)
    .onConflict((conflict) => conflict.column('singleton').doUpdateSet(values))
    .execute();
}

export interface VerificationRow {
  at: Date;
  runId: string;
  report: VerifyReport;
}

export async function insertVerification(
  db: Database,
  { at, runId, report }: VerificationRow,
): Promise<void> {
  await db
    .insertInto('audit_verifications')
    .values({ at, run_id: runId, ok: report.ok, report: JSON.stringify(report) })
    .execute();
}

export async function findNewestVerification(db: Database): Promise<VerificationRow | undefined> {
  const row = await db
    .selectFrom('audit_verifications')
    .select(['at', 'run_id', 'report'])
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined
    ? undefined
    : { at: row.at, runId: row.run_id, report: row.report as unknown as VerifyReport };
}
