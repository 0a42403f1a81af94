/**
 * The evidence of a restore test: one line of canonical JSON (RFC 8785 for what occurs here: sorted keys, no spaces) and one
 * signature line, kept and handed out as exactly these bytes, as a file of JSON lines. The report carries the trust root's
 * certificate of the key that signed it: whoever knows the trust root's public half verifies it offline, without any secret.
 * Reports from before certificates are verified with a recovery kit, which opens the keys object that lies in them.
 */
import {
  appendSignature,
  generationOf,
  openKeysObject,
  readSigningCertificate,
  verifySignature,
  type ObjectSignature,
  type SignedStatement,
  type VerifyKey,
} from '../keys/index.ts';
import { canonicalJson } from '../lib/canonical-json.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Objectives } from './checks/objective-checks.ts';
import type { CopyOfTest } from './scene.ts';
import type { CheckResult, Grade, KeySource, RestoreTestMode } from './schema.ts';

export const REPORT_KIND = 'holdfast-restore-test-report';
/** A report of some twenty checks has under 20 KiB. */
export const MAX_REPORT_BYTES = 1024 * 1024;

export interface RestoreTestReport {
  kind: typeof REPORT_KIND;
  format: 1;
  /** UUID of the restore test. */
  id: string;
  repositoryId: string;
  /** Decimal; the number that the signature is bound to. */
  number: string;
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
  /** `object`: base64 of the age file, which only a recovery kit opens. */
  keysObject: { name: string; object: string };
  /** The trust root's word for the signing key, in the clear; not in reports from before it was made. */
  certificate?: string;
}

/** @param sign - keyd's; it signs reports of its own repository only. */
export async function signReport(
  report: RestoreTestReport,
  sign: (statement: Pick<SignedStatement, 'number' | 'sha256'>) => Promise<ObjectSignature>,
): Promise<Buffer> {
  const statement = { type: 'report', repositoryId: report.repositoryId, number: report.number } as const;
  return appendSignature(Buffer.from(`${canonicalJson(report)}\n`), statement, sign);
}

/** Whom a verifier believes: the trust root by its public half, a whole kit, or signing keys that are known by other ways. */
export type ReportTrust =
  | { trustRoot: Uint8Array }
  | { kit: { repositoryId: string; trustRoot: Uint8Array; ageIdentity: string } }
  | { repositoryId: string; signingKeys: readonly VerifyKey[] };

/**
 * Checks a report offline.
 *
 * @returns what it says, all of it signed.
 * @throws HoldfastError `integrity_failure` when it was changed, or is not signed by this appliance; `wrong_key` when the kit
 * does not open its keys object; `invalid_input` when it is no report, or one without a certificate and there is no kit.
 */
export async function verifyReport(bytes: Uint8Array, trust: ReportTrust): Promise<RestoreTestReport> {
  const report = readReport(bytes);
  const { repositoryId, number } = report;
  verifySignature(bytes, { type: 'report', repositoryId, number }, await signingKeysOf(report, trust));
  return report;
}

async function signingKeysOf(report: RestoreTestReport, trust: ReportTrust): Promise<readonly VerifyKey[]> {
  if ('trustRoot' in trust) return [keyFromCertificate(report, trust.trustRoot)];
  const expected = 'kit' in trust ? trust.kit : trust;
  if (report.repositoryId !== expected.repositoryId) {
    throw new HoldfastError('wrong_key', 'This report is of another appliance', {
      hint: 'Give the recovery kit of the appliance that made it.',
    });
  }
  if ('signingKeys' in trust) return trust.signingKeys;
  if (report.certificate === undefined) return keysFromKit(report, trust.kit);
  return [keyFromCertificate(report, trust.kit.trustRoot)];
}

function keyFromCertificate(report: RestoreTestReport, trustRoot: Uint8Array): VerifyKey {
  const { certificate, repositoryId } = report;
  if (certificate !== undefined) return readSigningCertificate(certificate, { repositoryId, trustRoot });
  throw new HoldfastError('invalid_input', 'This report carries no certificate of the key that signed it', {
    hint: 'It was made before reports carried one. A recovery kit of the appliance still verifies it.',
  });
}

async function keysFromKit(
  report: RestoreTestReport,
  kit: { repositoryId: string; trustRoot: Uint8Array; ageIdentity: string },
): Promise<readonly VerifyKey[]> {
  const stored = Buffer.from(report.keysObject.object, 'base64');
  const statement = await openKeysObject(stored, [kit.ageIdentity], kit);
  return generationOf(statement, false).signingKeys;
}

/** What a report says, not yet believed. @throws HoldfastError `invalid_input` */
export function readReport(bytes: Uint8Array): RestoreTestReport {
  if (bytes.length > MAX_REPORT_BYTES) throw noReport();
  const [line = ''] = Buffer.from(bytes).toString('utf8').split('\n', 1);
  try {
    const value = JSON.parse(line) as Partial<RestoreTestReport>;
    const whole =
      value.kind === REPORT_KIND &&
      value.format === 1 &&
      typeof value.repositoryId === 'string' &&
      typeof value.number === 'string' &&
      typeof value.keysObject?.object === 'string' &&
      ['string', 'undefined'].includes(typeof value.certificate) &&
      Array.isArray(value.checks);
    if (whole) return value as RestoreTestReport;
  } catch {
    // Said below.
  }
  throw noReport();
}

function noReport(): HoldfastError {
  return new HoldfastError('invalid_input', 'This is not a report of a restore test', {
    hint: 'Give the file as it was downloaded, unchanged.',
  });
}
