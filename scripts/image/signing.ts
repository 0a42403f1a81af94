/**
 * Keys and signatures. Update bundles are signed for RAUC, everything else by a detached CMS signature that stock openssl
 * verifies, both with the same certificate.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError, run } from './command.ts';

export interface SigningKeys {
  key: string;
  certificate: string;
  /** What a machine trusts: the authority above the certificate, or the certificate itself. */
  keyring: string;
  /** True when the build made them itself. */
  test: boolean;
}

export interface SigningFiles {
  key: string | undefined;
  certificate: string | undefined;
  keyring: string | undefined;
}

/** The keys that were given, else a test authority in the work folder, kept between builds so that bundles fit images. */
export async function openSigningKeys(given: SigningFiles, work: string): Promise<SigningKeys> {
  const { key, certificate, keyring } = given;
  if (key !== undefined || certificate !== undefined || keyring !== undefined) {
    if (key === undefined || certificate === undefined || keyring === undefined) {
      throw new BuildError('--signing-key, --signing-certificate and --keyring go together.');
    }
    for (const path of [key, certificate, keyring]) {
      if (!existsSync(path)) throw new BuildError(`${path} is not there.`);
    }
    return { key, certificate, keyring, test: false };
  }
  const folder = join(work, 'test-authority');
  const keys = {
    key: join(folder, 'signing.key'),
    certificate: join(folder, 'signing.pem'),
    keyring: join(folder, 'authority.pem'),
    test: true,
  };
  if (!existsSync(keys.certificate)) await makeTestAuthority(folder);
  return keys;
}

/** An authority and one signing certificate under it, as a real one should look. */
export async function makeTestAuthority(folder: string, name = 'Holdfast TEST authority'): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = (file: string) => join(folder, file);
  writeFileSync(
    path('signing.ext'),
    'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning,emailProtection\n',
  );
  await run('openssl', [
    ...[
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-384',
      '-nodes',
      '-days',
      '3650',
      '-subj',
      `/O=Holdfast/CN=${name}`,
    ],
    ...[
      '-addext',
      'keyUsage=critical,keyCertSign,cRLSign',
      '-keyout',
      path('authority.key'),
      '-out',
      path('authority.pem'),
    ],
  ]);
  await run('openssl', [
    ...[
      'req',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-384',
      '-nodes',
      '-subj',
      '/O=Holdfast/CN=Holdfast TEST image signing',
    ],
    ...['-keyout', path('signing.key'), '-out', path('signing.csr')],
  ]);
  await run('openssl', [
    ...[
      'x509',
      '-req',
      '-in',
      path('signing.csr'),
      '-CA',
      path('authority.pem'),
      '-CAkey',
      path('authority.key'),
      '-CAcreateserial',
    ],
    ...['-days', '1825', '-extfile', path('signing.ext'), '-out', path('signing.pem')],
  ]);
}

/** Writes `<file>.sig`. Checked with: openssl cms -verify -binary -inform DER -in F.sig -content F -CAfile K -purpose any */
export async function signFile(file: string, keys: SigningKeys): Promise<void> {
  await run('openssl', [
    ...['cms', '-sign', '-binary', '-in', file, '-signer', keys.certificate, '-inkey', keys.key],
    ...['-md', 'sha256', '-outform', 'DER', '-out', `${file}.sig`],
  ]);
  await run('openssl', [
    ...['cms', '-verify', '-binary', '-inform', 'DER', '-in', `${file}.sig`, '-content', file],
    ...['-CAfile', keys.keyring, '-purpose', 'any', '-out', '/dev/null'],
  ]);
}
