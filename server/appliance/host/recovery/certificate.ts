/**
 * The certificate of the machine over a recovery: people have compared its fingerprint, so the recovery page, the recovered
 * appliance and, after a failure, the empty one go on with it. In between it lies in memory, for root alone.
 */
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../../lib/clock.ts';
import { isSystemError } from '../../../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from '../../../lib/files.ts';
import { loadOwnTlsIdentity } from '../../../lib/tls.ts';
import { readInstalledPair } from '../../../lib/tls-installed.ts';
import type { HostPlaces } from '../host-places.ts';
import { recoveryFolder } from './status.ts';

type Places = Pick<HostPlaces, 'run'>;
const FILES = ['key.pem', 'certificate.pem'];
/** Beside them: they are not the machine's own, and not given back. */
const FOR_THE_PAGE = 'for-the-page';

/** Where it lies while the machine has no data folder. */
export function keptCertificateFolder(places: Places): string {
  return join(recoveryFolder(places), 'tls');
}

/**
 * One of an authority that was installed is kept for the recovery page alone: browsers may insist on it.
 *
 * @param tls its folder in the data folder that goes; where there is none yet, one is made.
 */
export async function keepCertificate(places: Places, tls: string, clock: Clock): Promise<void> {
  const kept = keptCertificateFolder(places);
  await makePrivateDirectory(kept);
  const installed = await readInstalledPair(tls);
  if (installed !== undefined) {
    await writeFileDurably(join(kept, FOR_THE_PAGE), '');
    await writeFileDurably(join(kept, 'key.pem'), installed.key);
    await writeFileDurably(join(kept, 'certificate.pem'), installed.certificate);
    return;
  }
  for (const name of FILES) {
    await copyFile(join(tls, name), join(kept, name)).catch((error: unknown) => {
      if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
    });
  }
  await loadOwnTlsIdentity(kept, clock);
}

/** Puts it into the new data folder, unless that has one. @param tls a folder that exists. */
export async function giveBackCertificate(places: Places, tls: string): Promise<void> {
  const kept = keptCertificateFolder(places);
  const files = await Promise.all(FILES.map((name) => readFileIfPresent(join(kept, name))));
  const given = [join(tls, 'key.pem'), join(kept, FOR_THE_PAGE)].map(readFileIfPresent);
  const present = (await Promise.all(given)).some((file) => file !== undefined);
  for (const [index, content] of files.entries()) {
    if (!present && content !== undefined) await writeFileDurably(join(tls, FILES[index] ?? ''), content);
  }
  await rm(kept, { recursive: true, force: true });
}
