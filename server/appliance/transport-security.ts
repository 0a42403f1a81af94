/**
 * Whether browsers are told to insist on a good certificate, on a machine of ours (Strict-Transport-Security, RFC 6797). The unlock
 * page answers under the same name with a certificate that nobody signed, and a browser that insists would not let its owner reach
 * it (section 8.4). So only where an authority's certificate is installed and the volume opens by itself, without that page. Should
 * it be needed all the same, it answers under the machine's address: insisting counts for names alone (section 8.1.1).
 */
import { readCertificate, type CertificateDeps } from './certificate/certificate.ts';
import type { CertificateState } from './certificate/schema.ts';
import { connectHost } from './host/client.ts';
import type { HostState, UnlockWay } from './host/schema.ts';

const INSIST = 'max-age=31536000';
/** Takes back what was said before. */
const FORGET = 'max-age=0';
const KNOWN_FOR_MS = 60_000;

/** The header's value; undefined where nothing is to be said. Pure. */
export function insistence(
  certificate: Pick<CertificateState, 'source' | 'selfSigned'>,
  ways: readonly Pick<UnlockWay, 'kind'>[],
): string | undefined {
  if (certificate.source === 'own' || certificate.selfSigned) return undefined;
  return ways.some(({ kind }) => kind === 'tpm2' || kind === 'kms-hook') ? INSIST : FORGET;
}

/** Asks certificate and machine at most once a minute. What cannot be found out says nothing. */
export function watchInsistence(deps: CertificateDeps): () => Promise<string | undefined> {
  let known: { atMs: number; value: Promise<string | undefined> } | undefined;
  const ask = async (): Promise<string | undefined> => {
    const certificate = await readCertificate(deps);
    if (insistence(certificate, []) === undefined) return undefined;
    const host = await connectHost(deps.config)?.get<HostState>('/state');
    return host === undefined ? undefined : insistence(certificate, host.ways);
  };
  return () => {
    const atMs = deps.clock.monotonicMs();
    if (known === undefined || atMs - known.atMs > KNOWN_FOR_MS)
      known = { atMs, value: ask().catch(() => undefined) };
    return known.value;
  };
}
