/**
 * What lets anyone who knows the trust root believe a signature of this appliance, without a recovery kit: the trust root's
 * word, in the clear, that a signing key is this repository's. The keys object says the same to whoever can open it.
 */
import { HoldfastError } from '../lib/errors.ts';
import type { VerifyKey } from './repository-keys.ts';
import { appendSignature, signStatement, verifySignature } from './signed-object.ts';
import { type SigningKeyPair, signingKeyId } from './trust-root.ts';

interface CertifiedKey {
  /** 16 hex digits. */
  id: string;
  /** Base64, 32 bytes. */
  publicKey: string;
  /** RFC 3339. */
  validFrom: string;
}

/** A whole one has about 500 characters. */
const MAX_CERTIFICATE_CHARACTERS = 4096;

/** @returns three lines: header, key, the root's signature; its number is the key's id. */
export async function makeSigningCertificate(
  repositoryId: string,
  key: CertifiedKey,
  trustRoot: SigningKeyPair,
): Promise<string> {
  const header = { type: 'certificate', version: 1, repository: repositoryId, number: key.id, must: [] };
  const { id, publicKey, validFrom } = key;
  const signingKey = { id, publicKey, validFrom };
  const body = Buffer.from(`${JSON.stringify(header)}\n${JSON.stringify({ signingKey })}\n`);
  const certificate = await appendSignature(
    body,
    { type: 'certificate', repositoryId, number: id },
    (statement) => signStatement(trustRoot, statement),
  );
  return certificate.toString('utf8');
}

/**
 * The key that a certificate speaks for.
 *
 * @param expected the trust root, known by another way, and the repository that the key must be of.
 * @throws HoldfastError `integrity_failure` when this root did not sign it for this repository, or it was changed.
 */
export function readSigningCertificate(
  certificate: string,
  expected: { repositoryId: string; trustRoot: Uint8Array },
): VerifyKey & { validFrom: string } {
  if (certificate.length > MAX_CERTIFICATE_CHARACTERS) throw notBelieved('it is too long');
  const { header, key } = parseLines(certificate);
  const root = { id: signingKeyId(expected.trustRoot), publicKey: expected.trustRoot };
  const { repositoryId } = expected;
  const statement = { type: 'certificate', repositoryId, number: header.number } as const;
  try {
    verifySignature(Buffer.from(certificate, 'utf8'), statement, [root]);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'integrity_failure') throw notBelieved(error.detail);
    throw error;
  }
  if (header.version !== 1 || header.must.length > 0) {
    throw new HoldfastError('invalid_input', 'This certificate was written by a newer Holdfast', {
      hint: 'Use the newest version of Holdfast.',
    });
  }
  const publicKey = Buffer.from(key.publicKey, 'base64');
  if (publicKey.length !== 32 || signingKeyId(publicKey) !== header.number) throw notBelieved('another key');
  return { id: header.number, publicKey, validFrom: key.validFrom };
}

function parseLines(certificate: string) {
  const [first = '', second = ''] = certificate.split('\n', 2);
  try {
    const header = JSON.parse(first) as { number?: unknown; version?: unknown; must?: unknown };
    const { signingKey } = JSON.parse(second) as { signingKey?: Partial<CertifiedKey> };
    if (
      typeof header.number === 'string' &&
      /^[0-9a-f]{16}$/.test(header.number) &&
      typeof signingKey?.publicKey === 'string' &&
      typeof signingKey.validFrom === 'string'
    ) {
      const must = Array.isArray(header.must) ? (header.must as unknown[]) : [];
      const { publicKey, validFrom } = signingKey;
      return {
        header: { number: header.number, version: header.version, must },
        key: { publicKey, validFrom },
      };
    }
  } catch {
    // Said below.
  }
  throw notBelieved('its lines are not those of a certificate');
}

function notBelieved(detail: string | undefined): HoldfastError {
  return new HoldfastError(
    'integrity_failure',
    'The certificate of the signing key is not from this trust root, or was changed',
    {
      hint: 'Compare the trust root with the one in a recovery kit of the appliance.',
      ...(detail === undefined ? {} : { detail }),
    },
  );
}
