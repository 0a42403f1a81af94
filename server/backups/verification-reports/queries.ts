import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { PageMark } from '../../lib/page-mark.ts';
import type { VerificationReports } from '../../lib/tables.ts';
import type { Reading } from './reading.ts';
import type { VerificationReport } from './report.ts';
import type { VerificationSummary } from './schema.ts';

/** What is kept of a report, beside its bytes. */
export interface NewReport {
  runId: string;
  content: VerificationReport;
  bytes: Buffer;
  sha256: Buffer;
}

export async function insertReport(tx: WriteTransaction, report: NewReport): Promise<void> {
  const { content, bytes, sha256, runId } = report;
  await tx
    .insertInto('verification_reports')
    .values({
      ...{ id: content.id, target_id: content.target.id, run_id: runId },
      ...{ scope: content.scope, state: content.state },
      ...{ started_at: content.startedAt, finished_at: content.finishedAt },
      ...{ summary: JSON.stringify(content.summary), report: bytes, report_sha256: sha256 },
    })
    .execute();
}

export type ReportRow = Omit<Selectable<VerificationReports>, 'report' | 'summary'> & {
  summary: VerificationSummary;
  target_name: string;
};

export interface ReportFilter {
  targetId?: string | undefined;
  runId?: string | undefined;
}

/** Newest first. */
export async function listReports(
  db: Database,
  { targetId, runId, limit, before }: ReportFilter & { limit: number; before?: PageMark | undefined },
): Promise<ReportRow[]> {
  let query = db
    .selectFrom('verification_reports as report')
    .innerJoin('targets', 'targets.id', 'report.target_id')
    .select([
      ...(['report.id', 'report.target_id', 'report.run_id', 'report.scope', 'report.state'] as const),
      ...(['report.started_at', 'report.finished_at', 'report.summary', 'report.report_sha256'] as const),
      'targets.name as target_name',
    ]);
  if (targetId !== undefined) query = query.where('report.target_id', '=', targetId);
  if (runId !== undefined) query = query.where('report.run_id', '=', runId);
  if (before !== undefined)
    query = query.where(sql<boolean>`(report.finished_at, report.id) < (${before.at}, ${before.id}::uuid)`);
  const rows = await query
    .orderBy('report.finished_at', 'desc')
    .orderBy('report.id', 'desc')
    .limit(limit)
    .execute();
  return rows.map((row) => ({ ...row, summary: row.summary as unknown as VerificationSummary }));
}

export async function countReports(db: Database, { targetId, runId }: ReportFilter): Promise<number> {
  let query = db.selectFrom('verification_reports').select(({ fn }) => fn.countAll<string>().as('count'));
  if (targetId !== undefined) query = query.where('target_id', '=', targetId);
  if (runId !== undefined) query = query.where('run_id', '=', runId);
  return Number((await query.executeTakeFirstOrThrow()).count);
}

/** As it was signed. @throws HoldfastError `not_found` */
export async function getReportBytes(db: Database, id: string): Promise<Buffer> {
  const row = await db
    .selectFrom('verification_reports')
    .select('report')
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) throw new HoldfastError('not_found', 'There is no such report of a verification');
  return row.report;
}

/** What the parts of a cycle found, in their order. What an earlier cycle left does not count. */
export async function listReadings(db: Database, targetId: string, since: Date): Promise<Reading[]> {
  const rows = await db
    .selectFrom('target_readings')
    .select('reading')
    .where('target_id', '=', targetId)
    .where('started_at', '>=', since)
    .orderBy('part')
    .execute();
  return rows.map(({ reading }) => reading as unknown as Reading);
}

export async function putReading(
  tx: WriteTransaction,
  targetId: string,
  { part, reading }: { part: number; reading: Reading },
): Promise<void> {
  const row = { started_at: reading.startedAt, reading: JSON.stringify(reading) };
  await tx
    .insertInto('target_readings')
    .values({ target_id: targetId, part, ...row })
    .onConflict((conflict) => conflict.columns(['target_id', 'part']).doUpdateSet(row))
    .execute();
}

export async function deleteReadings(tx: WriteTransaction, targetId: string): Promise<void> {
  await tx.deleteFrom('target_readings').where('target_id', '=', targetId).execute();
}
