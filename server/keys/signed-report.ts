/**
 * Evidence that leaves the appliance: one line of canonical JSON (RFC 8785 for what occurs here: sorted keys, no spaces) and one
 * signature line, kept and handed out as exactly these bytes, as a file of JSON lines. A report carries the trust root's
 * certificate of the key that signed it: whoever knows the trust root's public half verifies it offline, without any secret.
 * Reports from before certificates are verified with a recovery kit, which opens the keys object that lies in them.
 */
import { canonicalJson } from '../lib/canonical-json.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { KeyClient } from './key-client.ts';
import { generationOf, openKeysObject } from './keys-object.ts';
import type { ObjectSignature, SignedStatement, VerifyKey } from './repository-keys.ts';
import { appendSignature, verifySignature } from './signed-object.ts';
import { readSigningCertificate } from './signing-certificate.ts';

/** A report of some twenty checks has under 20 KiB. */
const MAX_REPORT_BYTES = 1024 * 1024;

/** What every kind of report has. */
export interface SignedReport {
  kind: string;
  format: 1;
  /** UUID. */
  id: string;
  repositoryId: string;
  /** Decimal; the number that the signature is bound to. */
  number: string;
  /** `object`: base64 of the age file, which only a recovery kit opens. */
  keysObject: { name: string; object: string };
  /** The trust root's word for the signing key, in the clear; not in reports from before it was made. */
  certificate?: string;
}

/** @param sign - keyd's; it signs reports of its own repository only. */
export async function signReport(
  report: SignedReport,
  sign: (statement: Pick<SignedStatement, 'number' | 'sha256'>) => Promise<ObjectSignature>,
): Promise<Buffer> {
  const statement = { type: 'report', repositoryId: report.repositoryId, number: report.number } as const;
  return appendSignature(Buffer.from(`${canonicalJson(report)}\n`), statement, sign);
}

/** What whoever verifies a report needs beside what it says. */
export async function readSigner(
  keys: Pick<KeyClient, 'keysObject' | 'signingCertificate' | 'status'>,
): Promise<{ repositoryId: string; keysObject: SignedReport['keysObject']; certificate: string }> {
  const { name, bytes } = await keys.keysObject();
  const certificate = await keys.signingCertificate();
  const { repository } = await keys.status();
  return {
    repositoryId: repository.repositoryId ?? '',
    keysObject: { name, object: bytes.toString('base64') },
    certificate,
  };
}

/** Whom a verifier believes: the trust root by its public half, a whole kit, or signing keys that are known by other ways. */
export type ReportTrust =
  | { trustRoot: Uint8Array }
  | { kit: { repositoryId: string; trustRoot: Uint8Array; ageIdentity: string } }
  | { repositoryId: string; signingKeys: readonly VerifyKey[] };

/**
 * Checks the signature of a report, offline.
 *
 * @param report what its bytes say, as `readSignedReport` reads them.
 * @throws HoldfastError `integrity_failure` when it was changed, or is not signed by this appliance; `wrong_key` when the kit
 * does not open its keys object; `invalid_input` for one without a certificate when there is no kit.
 */
export async function verifySignedReport(
  bytes: Uint8Array,
  report: SignedReport,
  trust: ReportTrust,
): Promise<void> {
  const { repositoryId, number } = report;
  verifySignature(bytes, { type: 'report', repositoryId, number }, await signingKeysOf(report, trust));
}

async function signingKeysOf(report: SignedReport, trust: ReportTrust): Promise<readonly VerifyKey[]> {
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

function keyFromCertificate(report: SignedReport, trustRoot: Uint8Array): VerifyKey {
  const { certificate, repositoryId } = report;
  if (certificate !== undefined) return readSigningCertificate(certificate, { repositoryId, trustRoot });
  throw new HoldfastError('invalid_input', 'This report carries no certificate of the key that signed it', {
    hint: 'It was made before reports carried one. A recovery kit of the appliance still verifies it.',
  });
}

async function keysFromKit(
  report: SignedReport,
  kit: { repositoryId: string; trustRoot: Uint8Array; ageIdentity: string },
): Promise<readonly VerifyKey[]> {
  const stored = Buffer.from(report.keysObject.object, 'base64');
  const statement = await openKeysObject(stored, [kit.ageIdentity], kit);
  return generationOf(statement, false).signingKeys;
}

/**
 * What a report of any kind says, not yet believed.
 *
 * @returns undefined when these bytes are no report.
 */
export function readSignedReport(bytes: Uint8Array): SignedReport | undefined {
  if (bytes.length > MAX_REPORT_BYTES) return undefined;
  const [line = ''] = Buffer.from(bytes).toString('utf8').split('\n', 1);
  try {
    const value = JSON.parse(line) as Partial<SignedReport>;
    const whole =
      typeof value.kind === 'string' &&
      value.format === 1 &&
      typeof value.id === 'string' &&
      typeof value.repositoryId === 'string' &&
      typeof value.number === 'string' &&
      typeof value.keysObject?.object === 'string' &&
      ['string', 'undefined'].includes(typeof value.certificate);
    return whole ? (value as SignedReport) : undefined;
  } catch {
    return undefined;
  }
}
