/**
 * The certificate that an administrator installed, and the key that waits for one. Each is one file, so that key and certificate
 * change together or not at all. Relies on: the directory is closed to every other account.
 */
import { createPrivateKey, webcrypto, X509Certificate, type KeyObject } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { Clock } from './clock.ts';
import { makePrivateDirectory, readFileIfPresent, syncDirectory, writeFileDurably } from './files.ts';

const InstalledPair = Type.Object({
  /** PEM, the server's own first. */
  certificate: Type.String(),
  key: Type.String(),
  installedAt: Type.String(),
  /** Absent: by hand. */
  source: Type.Optional(Type.Literal('acme')),
});
export type InstalledPair = Static<typeof InstalledPair>;

const PendingRequest = Type.Object({
  /** PKCS #10, PEM. */
  request: Type.String(),
  key: Type.String(),
  names: Type.Array(Type.String()),
  createdAt: Type.String(),
});
export type PendingRequest = Static<typeof PendingRequest>;

const installedPath = (directory: string) => join(directory, 'installed.json');
const requestPath = (directory: string) => join(directory, 'request.json');

/** @returns undefined when there is none, or it cannot be read: the appliance then shows its own, and can be reached. */
export async function readInstalledPair(directory: string): Promise<InstalledPair | undefined> {
  const value = parse(await readFileIfPresent(installedPath(directory)));
  if (!Value.Check(InstalledPair, value)) return undefined;
  try {
    return new X509Certificate(value.certificate).checkPrivateKey(createPrivateKey(value.key))
      ? value
      : undefined;
  } catch {
    return undefined;
  }
}

export async function writeInstalledPair(directory: string, pair: InstalledPair): Promise<void> {
  await makePrivateDirectory(directory);
  await writeFileDurably(installedPath(directory), JSON.stringify(pair), { step: 'tls.installed' });
}

export async function removeInstalledPair(directory: string): Promise<void> {
  await rm(installedPath(directory), { force: true });
  await syncDirectory(directory);
}

export async function readPendingRequest(directory: string): Promise<PendingRequest | undefined> {
  const value = parse(await readFileIfPresent(requestPath(directory)));
  return Value.Check(PendingRequest, value) ? value : undefined;
}

export async function removePendingRequest(directory: string): Promise<void> {
  await rm(requestPath(directory), { force: true });
  await syncDirectory(directory);
}

/**
 * A new key, and the request for a certificate of it (RFC 2986). The key never leaves the directory.
 *
 * @param names DNS names and addresses under which the appliance is reached; the first is the common name.
 */
export async function writePendingRequest(
  directory: string,
  names: readonly string[],
  clock: Clock,
): Promise<PendingRequest> {
  // Loaded only for this: the library needs the first import.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const made = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [names[0] ?? ''] }],
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
      ),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const pending: PendingRequest = {
    request: `${made.toString('pem')}\n`,
    key: exportPem(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })),
    names: [...names],
    createdAt: clock.now().toISOString(),
  };
  await makePrivateDirectory(directory);
  await writeFileDurably(requestPath(directory), JSON.stringify(pending), { step: 'tls.request' });
  return pending;
}

/** PKCS #8, without a passphrase. */
export function exportPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

function parse(content: Buffer | undefined): unknown {
  try {
    return content === undefined ? undefined : (JSON.parse(content.toString('utf8')) as unknown);
  } catch {
    return undefined;
  }
}
