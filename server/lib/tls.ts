/**
 * The certificate of the HTTPS port: the operator's, by configuration or installed in the console, or one that the appliance makes
 * and signs itself. TLS 1.3 only.
 */
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { JsonGeneralName } from '@peculiar/x509';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { crashPoint } from './crash-point.ts';
import { dataPaths } from './data-folder.ts';
import { HoldfastError } from './errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from './files.ts';
import { readInstalledPair } from './tls-installed.ts';

export interface TlsIdentity {
  certificate: string;
  key: string;
  selfSigned: boolean;
  /** SHA-256 of the certificate, `AA:BB:…`, to compare by eye. */
  fingerprint: string;
  expiresAt: Date;
}

const DAY_MS = 86_400_000;
/** What browsers accept at most for one certificate. */
const LIFETIME_DAYS = 397;
const RENEW_BEFORE_DAYS = 30;
const CERTIFICATE_FILE = 'certificate.pem';
const KEY_FILE = 'key.pem';

/** @throws HoldfastError `invalid_input` when given files are missing, do not belong together, are weak or out of date. */
export async function loadTlsIdentity(config: Config, clock: Clock): Promise<TlsIdentity> {
  if (config.tlsCertificateFile !== undefined && config.tlsKeyFile !== undefined) {
    const [certificate, key] = await Promise.all([
      readGiven(config.tlsCertificateFile, 'HOLDFAST_TLS_CERT'),
      readGiven(config.tlsKeyFile, 'HOLDFAST_TLS_KEY'),
    ]);
    return checkGiven(certificate, key, clock);
  }
  const directory = dataPaths(config.dataDir).tls;
  const installed = await readInstalledPair(directory);
  // Also one that has run out: a warning of the browser is better than another certificate without a word.
  if (installed !== undefined) return identityOf(installed.certificate, installed.key, false);
  return loadOwnTlsIdentity(directory, clock);
}

/** The self-signed identity in a directory, made when there is none. One that is about to run out stays: @see isOwnTlsDue */
export async function loadOwnTlsIdentity(directory: string, clock: Clock): Promise<TlsIdentity> {
  return (await readOwn(directory)) ?? makeOwnTlsIdentity(directory, clock);
}

/** Whether the self-signed identity in a directory runs out within a month. False where there is none. */
export async function isOwnTlsDue(directory: string, clock: Clock): Promise<boolean> {
  const present = await readOwn(directory);
  if (present === undefined) return false;
  return present.expiresAt.getTime() - clock.now().getTime() <= RENEW_BEFORE_DAYS * DAY_MS;
}

/** Makes the self-signed identity of a directory anew. */
export async function makeOwnTlsIdentity(directory: string, clock: Clock): Promise<TlsIdentity> {
  await makePrivateDirectory(directory);
  const made = await makeSelfSigned(clock);
  await writeFileDurably(join(directory, KEY_FILE), made.key);
  crashPoint('lib.tls.key-written');
  await writeFileDurably(join(directory, CERTIFICATE_FILE), made.certificate);
  return made;
}

/** @returns undefined without one, and for a key and certificate of two: the making of another was cut off between them. */
async function readOwn(directory: string): Promise<TlsIdentity | undefined> {
  const [certificate, key] = await Promise.all([
    readFileIfPresent(join(directory, CERTIFICATE_FILE)),
    readFileIfPresent(join(directory, KEY_FILE)),
  ]);
  if (certificate === undefined || key === undefined) return undefined;
  if (!new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key))) return undefined;
  return identityOf(certificate.toString(), key.toString(), true);
}

async function readGiven(path: string, setting: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new HoldfastError('invalid_input', `${setting} names a file that cannot be read: ${path}`, {
      hint: 'Check the path and that the account of Holdfast may read it.',
      cause: error,
    });
  }
}

function checkGiven(certificate: string, key: string, clock: Clock): TlsIdentity {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(certificate);
    if (!parsed.checkPrivateKey(createPrivateKey(key))) {
      throw new HoldfastError('invalid_input', 'The TLS key does not belong to the TLS certificate', {
        hint: 'Put the certificate of this key first in HOLDFAST_TLS_CERT, its chain after it.',
      });
    }
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError('invalid_input', 'The TLS certificate or key is not valid PEM', { cause: error });
  }
  const { modulusLength } = parsed.publicKey.asymmetricKeyDetails ?? {};
  if (parsed.publicKey.asymmetricKeyType === 'rsa' && (modulusLength ?? 0) < 2048) {
    throw new HoldfastError(
      'invalid_input',
      `The TLS certificate has a weak RSA key of ${modulusLength ?? 0} bits`,
      {
        hint: 'Use RSA with at least 2048 bits, or P-256.',
      },
    );
  }
  const identity = identityOf(certificate, key, false);
  if (identity.expiresAt <= clock.now()) {
    throw new HoldfastError('invalid_input', `The TLS certificate ran out on ${parsed.validTo}`, {
      hint: 'Give a current one, or unset HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY for a self-signed one.',
    });
  }
  return identity;
}

function identityOf(certificate: string, key: string, selfSigned: boolean): TlsIdentity {
  const parsed = new X509Certificate(certificate);
  return { certificate, key, selfSigned, fingerprint: parsed.fingerprint256, expiresAt: parsed.validToDate };
}

async function makeSelfSigned(clock: Clock): Promise<TlsIdentity> {
  // Loaded only when a certificate is made: once in a year of starts. The library needs the first import.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const now = clock.now().getTime();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Holdfast',
    notBefore: new Date(now - 3_600_000),
    notAfter: new Date(now + LIFETIME_DAYS * DAY_MS),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(ownNames()),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const body = (pkcs8.toString('base64').match(/.{1,64}/g) ?? []).join('\n');
  const key = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`;
  return identityOf(`${certificate.toString('pem')}\n`, key, true);
}

/** Names under which this machine may be reached. */
function ownNames(): JsonGeneralName[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter((entry) => !entry.address.startsWith('fe80'))
    .map((entry) => entry.address);
  return [
    ...['localhost', hostname()].map((value) => ({ type: 'dns' as const, value })),
    ...[...new Set(['127.0.0.1', '::1', ...addresses])].map((value) => ({ type: 'ip' as const, value })),
  ];
}
