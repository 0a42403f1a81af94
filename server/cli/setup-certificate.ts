/** Set-up by file: the certificate that browsers see, so that nobody is ever shown a warning. */
import { X509Certificate } from 'node:crypto';
import { HoldfastError } from '../lib/errors.ts';
import { readSmallFile } from './secrets.ts';
import { tell, type SetupWork } from './setup-work.ts';

const LIMIT_BYTES = 64 * 1024;

/** May be run again: a certificate that is in use is left alone. */
export async function installCertificate(work: SetupWork): Promise<void> {
  const wanted = work.file.certificate;
  if (wanted === undefined) return;
  const certificate = await readSmallFile(wanted.file, LIMIT_BYTES);
  const present = await work.client.get<{ fingerprint: string }>('/certificate');
  if (present.fingerprint === fingerprintOf(certificate, wanted.file))
    return tell(work, 'certificate', 'already');
  const key = wanted.keyFile === undefined ? undefined : await readSmallFile(wanted.keyFile, LIMIT_BYTES);
  await work.client.send('PUT', '/certificate', { certificate, ...(key === undefined ? {} : { key }) });
  tell(work, 'certificate', 'done');
}

function fingerprintOf(pem: string, path: string): string {
  try {
    return new X509Certificate(pem).fingerprint256;
  } catch (cause) {
    throw new HoldfastError('invalid_input', `${path} holds no certificate in PEM`, { cause });
  }
}
