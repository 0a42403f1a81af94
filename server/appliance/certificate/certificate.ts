/**
 * The certificate that people's browsers see: shown, requested, installed, taken off again. A change counts at once, for new
 * connections. The private key of a request never leaves the appliance; one that is uploaded is not shown again.
 */
import type { X509Certificate } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Config } from '../../lib/config.ts';
import { dataPaths } from '../../lib/data-folder.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { isOwnTlsDue, loadTlsIdentity, makeOwnTlsIdentity, type TlsIdentity } from '../../lib/tls.ts';
import {
  exportPem,
  readInstalledPair,
  readPendingRequest,
  removeInstalledPair,
  removePendingRequest,
  writeInstalledPair,
  writePendingRequest,
} from '../../lib/tls-installed.ts';
import { findAcme } from './acme/queries.ts';
import { checkCertificate, describeKey, isSelfSigned, parseChain, parseKey } from './check.ts';
import type { CertificateState, InstallCertificateRequest } from './schema.ts';

export interface CertificateDeps {
  config: Config;
  db: Database;
  clock: Clock;
}

/** Gives new connections another certificate; undefined where there is no HTTPS, as on the control socket. */
export type TlsSwitch = ((context: SecureContextOptions) => void) | undefined;

export async function readCertificate(deps: CertificateDeps): Promise<CertificateState> {
  const directory = directoryOf(deps);
  const identity = await loadTlsIdentity(deps.config, deps.clock);
  const [own, ...chain] = parseChain(identity.certificate);
  if (own === undefined) throw new HoldfastError('integrity_failure', 'The certificate is damaged');
  const pending = await readPendingRequest(directory);
  return {
    source: await sourceOf(deps, directory),
    subject: nameOf(own.subject),
    issuer: nameOf(own.issuer),
    selfSigned: isSelfSigned(own),
    names: namesOf(own),
    key: describeKey(own),
    validFrom: own.validFromDate.toISOString(),
    validTo: own.validToDate.toISOString(),
    fingerprint: own.fingerprint256,
    chain: chain.map((one) => ({ subject: nameOf(one.subject), validTo: one.validToDate.toISOString() })),
    request:
      pending === undefined
        ? null
        : { pem: pending.request, names: pending.names, createdAt: pending.createdAt },
  };
}

/** @throws HoldfastError `invalid_input` that says what is wrong, `wrong_state` where the configuration names a certificate. */
export async function installCertificate(
  deps: CertificateDeps,
  given: InstallCertificateRequest,
  actor: Actor,
  switchTls: TlsSwitch,
): Promise<CertificateState> {
  refuseConfigured(deps);
  await refuseWhileFetched(deps);
  const directory = directoryOf(deps);
  const keyText = given.key ?? (await readPendingRequest(directory))?.key;
  if (keyText === undefined) {
    throw new HoldfastError('invalid_input', 'No request waits for a certificate, so its key is needed', {
      hint: 'Give the private key with it, or make a request here first.',
    });
  }
  const key = parseKey(keyText);
  const chain = checkCertificate(parseChain(given.certificate), key, deps.clock.now());
  const pair = {
    certificate: chain.map((one) => one.toString()).join(''),
    key: exportPem(key),
    installedAt: deps.clock.now().toISOString(),
  };
  await writeTransaction(deps.db, async (tx) => {
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.certificate.installed',
      objectType: 'certificate',
      objectId: chain[0]?.fingerprint256 ?? null,
      detail: { validTo: chain[0]?.validToDate.toISOString(), chain: chain.length },
    });
    await writeInstalledPair(directory, pair);
  });
  // Only its own key: a certificate with another key leaves the request waiting.
  if (given.key === undefined) await removePendingRequest(directory);
  return serve(deps, switchTls);
}

/** Back to the one that the appliance made itself. */
export async function removeCertificate(
  deps: CertificateDeps,
  actor: Actor,
  switchTls: TlsSwitch,
): Promise<CertificateState> {
  refuseConfigured(deps);
  await refuseWhileFetched(deps);
  const directory = directoryOf(deps);
  if ((await readInstalledPair(directory)) === undefined) {
    throw new HoldfastError('wrong_state', 'No certificate is installed: the appliance shows its own');
  }
  await writeTransaction(deps.db, async (tx) => {
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.certificate.removed',
      objectType: 'certificate',
    });
    await removeInstalledPair(directory);
  });
  return serve(deps, switchTls);
}

/** Makes a key and a request for its certificate. A request that waits is replaced. */
export async function requestCertificate(
  deps: CertificateDeps,
  names: readonly string[],
  actor: Actor,
): Promise<CertificateState> {
  refuseConfigured(deps);
  await writeTransaction(deps.db, async (tx) => {
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.certificate.requested',
      objectType: 'certificate',
      detail: { names },
    });
    await writePendingRequest(directoryOf(deps), names, deps.clock);
  });
  return readCertificate(deps);
}

/** Makes the appliance's own certificate anew a month before it runs out, where that is the one that is shown. */
export async function renewOwnWhenDue(deps: CertificateDeps, switchTls: TlsSwitch): Promise<void> {
  const directory = directoryOf(deps);
  if ((await sourceOf(deps, directory)) !== 'own' || !(await isOwnTlsDue(directory, deps.clock))) return;
  try {
    await writeTransaction(deps.db, async (tx) => {
      const { fingerprint, expiresAt } = await makeOwnTlsIdentity(directory, deps.clock);
      await recordAudit(tx, deps.clock, systemActor('certificate'), {
        action: 'appliance.certificate.renewed',
        objectType: 'certificate',
        objectId: fingerprint,
        detail: { validTo: expiresAt.toISOString() },
      });
    });
  } finally {
    // Also when the entry could not be written: what is served is what is kept.
    await serve(deps, switchTls);
  }
}

/** Gives what is installed now to new connections. */
export async function serve(deps: CertificateDeps, switchTls: TlsSwitch): Promise<CertificateState> {
  const { certificate, key }: TlsIdentity = await loadTlsIdentity(deps.config, deps.clock);
  switchTls?.({ cert: certificate, key, minVersion: 'TLSv1.3' });
  return readCertificate(deps);
}

export function directoryOf(deps: Pick<CertificateDeps, 'config'>): string {
  return dataPaths(deps.config.dataDir).tls;
}

async function sourceOf(deps: CertificateDeps, directory: string): Promise<CertificateState['source']> {
  if (deps.config.tlsCertificateFile !== undefined) return 'configured';
  const installed = await readInstalledPair(directory);
  return installed === undefined ? 'own' : (installed.source ?? 'installed');
}

/** @throws HoldfastError `wrong_state` where the configuration names the certificate. */
export function refuseConfigured(deps: CertificateDeps): void {
  if (deps.config.tlsCertificateFile === undefined) return;
  throw new HoldfastError('wrong_state', 'The configuration of this appliance names its certificate', {
    hint: 'Replace the files that HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY name, or take these settings away.',
  });
}

/** A certificate that is fetched by itself is not put in or taken off by hand. */
async function refuseWhileFetched(deps: CertificateDeps): Promise<void> {
  if ((await findAcme(deps.db))?.enabled !== true) return;
  throw new HoldfastError('wrong_state', 'The certificate is fetched by ACME', {
    hint: 'Turn that off first; the present one stays until then.',
  });
}

/** The common name where there is one, else the whole name on a line. */
function nameOf(text: string): string {
  const common = /(?:^|\n)CN=(.*)/.exec(text)?.[1];
  return common ?? text.split('\n').reverse().join(', ');
}

/** As people write it: OpenSSL spells every group of an IPv6 address out. */
function shortAddress(name: string): string {
  return isIPv6(name) ? new URL(`https://[${name}]`).hostname.slice(1, -1) : name;
}

function namesOf(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '')
    .split(', ')
    .map((part) => shortAddress(part.replace(/^(DNS|IP Address):/, '').replaceAll('"', '')))
    .filter((part) => part !== '');
}
