/** The reports of verifications: listed, and handed out as they were signed or printed. */
import type { Database } from '../../lib/db.ts';
import { readPageMark, writePageMark } from '../../lib/page-mark.ts';
import { printInThread } from '../../lib/print-in-thread.ts';
import { countReports, getReportBytes, listReports, type ReportRow } from './queries.ts';
import type {
  VerificationReportItem,
  VerificationReportPage,
  VerificationReportQuery,
  VerificationScope,
  VerificationState,
} from './schema.ts';

const PRINT_THREAD = new URL('./print-thread.ts', import.meta.url);

export async function showReports(
  { db }: { db: Database },
  { targetId, runId, cursor, limit = 50 }: VerificationReportQuery,
): Promise<VerificationReportPage> {
  const before = cursor === undefined ? undefined : readPageMark(cursor);
  const filter = { targetId, runId };
  const rows = await listReports(db, { ...filter, limit: limit + 1, before });
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const more = rows.length > limit && last !== undefined;
  return {
    items: page.map(toItem),
    total: await countReports(db, filter),
    nextCursor: more ? writePageMark({ at: last.finished_at, id: last.id }) : null,
  };
}

/** As it was signed. @throws HoldfastError `not_found` */
export async function readReport({ db }: { db: Database }, id: string): Promise<Buffer> {
  return getReportBytes(db, id);
}

/** The same as pages to read and print, with the signed report attached. @throws HoldfastError `not_found` */
export async function printReport({ db }: { db: Database }, id: string): Promise<Buffer> {
  return printInThread(PRINT_THREAD, await getReportBytes(db, id));
}

function toItem(row: ReportRow): VerificationReportItem {
  return {
    ...{ id: row.id, targetId: row.target_id, targetName: row.target_name, runId: row.run_id },
    scope: row.scope as VerificationScope,
    state: row.state as VerificationState,
    startedAt: row.started_at.toISOString(),
    finishedAt: row.finished_at.toISOString(),
    ...row.summary,
    reportSha256: row.report_sha256.toString('hex'),
  };
}
