/** The evidence of a restore test: a signed report (`server/keys/signed-report.ts`). */
import { readSignedReport, verifySignedReport, type ReportTrust, type SignedReport } from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Objectives } from './checks/objective-checks.ts';
import type { CopyOfTest } from './scene.ts';
import type { CheckResult, Grade, KeySource, RestoreTestMode } from './schema.ts';

export const REPORT_KIND = 'holdfast-restore-test-report';

/** Its id is that of the restore test, its number the snapshot's. */
export interface RestoreTestReport extends SignedReport {
  kind: typeof REPORT_KIND;
  software: string;
  state: 'passed' | 'failed';
  grade: Grade | null;
  mode: RestoreTestMode;
  keySource: KeySource;
  kitId: string | null;
  /** RFC 3339, UTC. */
  startedAt: string;
  finishedAt: string;
  snapshot: {
    id: string;
    number: string | null;
    takenAt: string | null;
    restorePoint: string | null;
    endLsn: string | null;
    keyringEpoch: string | null;
  };
  target: { id: string | null; kind: string };
  head: { number: number; sha256: string } | null;
  /** What the keys came from: names carry the SHA-256 of the objects. */
  keyringObjects: string[];
  /** Of a chosen moment: as asked for, and the last commit that was there. */
  point?: { time?: string; lsn?: string; reachedAt: string | null };
  rtoMs: number | null;
  rtoBasis: 'measured' | 'extrapolated' | null;
  rpoMs: number | null;
  /** How the copy was chosen, and what was aimed at; not in reports from before it was noted. */
  copy?: CopyOfTest;
  objectives?: Objectives;
  checks: CheckResult[];
}

/**
 * Checks a report offline.
 *
 * @returns what it says, all of it signed.
 * @throws HoldfastError `integrity_failure` when it was changed, or is not signed by this appliance; `wrong_key` when the kit
 * does not open its keys object; `invalid_input` when it is no report, or one without a certificate and there is no kit.
 */
export async function verifyReport(bytes: Uint8Array, trust: ReportTrust): Promise<RestoreTestReport> {
  const report = readReport(bytes);
  await verifySignedReport(bytes, report, trust);
  return report;
}

/** What a report says, not yet believed. @throws HoldfastError `invalid_input` */
export function readReport(bytes: Uint8Array): RestoreTestReport {
  const report = readSignedReport(bytes) as Partial<RestoreTestReport> | undefined;
  if (report?.kind === REPORT_KIND && Array.isArray(report.checks)) return report as RestoreTestReport;
  throw new HoldfastError('invalid_input', 'This is not a report of a restore test', {
    hint: 'Give the file as it was downloaded, unchanged.',
  });
}
