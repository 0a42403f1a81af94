/** The evidence of a verification, or of a cycle of reading back that was closed: a signed report (`server/keys/signed-report.ts`). */
import {
  readSignedReport,
  verifySignedReport,
  type ReportTrust,
  type SignedReport,
} from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Reading } from './reading.ts';
import type { VerificationScope, VerificationState, VerificationSummary } from './schema.ts';

export const VERIFICATION_KIND = 'holdfast-verification-report';

/** Its number is that of the head that was there at the end. */
export interface VerificationReport extends SignedReport {
  kind: typeof VERIFICATION_KIND;
  /** Version of the program that made the report; each reading has its own. */
  software: string;
  scope: VerificationScope;
  state: VerificationState;
  /** RFC 3339, UTC. */
  startedAt: string;
  finishedAt: string;
  target: { id: string; name: string; kind: string; region: string };
  summary: VerificationSummary;
  readings: Reading[];
}

/** Checks a report offline. @throws as `verifySignedReport`; `invalid_input` when it is no report of a verification */
export async function verifyVerificationReport(
  bytes: Uint8Array,
  trust: ReportTrust,
): Promise<VerificationReport> {
  const report = readVerificationReport(bytes);
  await verifySignedReport(bytes, report, trust);
  return report;
}

/** What a report says, not yet believed. @throws HoldfastError `invalid_input` */
export function readVerificationReport(bytes: Uint8Array): VerificationReport {
  const report = readSignedReport(bytes) as Partial<VerificationReport> | undefined;
  const whole =
    report?.kind === VERIFICATION_KIND && Array.isArray(report.readings) && report.summary !== undefined;
  if (whole) return report as VerificationReport;
  throw new HoldfastError('invalid_input', 'This is not a report of a verification', {
    hint: 'Give the file as it was downloaded, unchanged.',
  });
}
