/** Which certificate the recovery page shows, and which the data folder gets afterwards. */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hostPlaces } from '../../../server/appliance/host/host-places.ts';
import {
  giveBackCertificate,
  keepCertificate,
  keptCertificateFolder,
} from '../../../server/appliance/host/recovery/certificate.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { loadOwnTlsIdentity } from '../../../server/lib/tls.ts';
import { writeInstalledPair } from '../../../server/lib/tls-installed.ts';

let top: string;
let old: string;
let fresh: string;
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-certificate-'));
  [old, fresh] = [join(top, 'old'), join(top, 'fresh')];
  await mkdir(fresh);
});
afterEach(() => rm(top, { recursive: true, force: true }));

const shown = () => readFile(join(keptCertificateFolder(hostPlaces(top)), 'certificate.pem'), 'utf8');

test("the machine's own is shown, and the new data folder goes on with it", async () => {
  const own = await loadOwnTlsIdentity(old, systemClock);

  await keepCertificate(hostPlaces(top), old, systemClock);
  expect(await shown()).toBe(own.certificate);
  await giveBackCertificate(hostPlaces(top), fresh);

  expect((await loadOwnTlsIdentity(fresh, systemClock)).fingerprint).toBe(own.fingerprint);
});

test('one that is kept already is not lost when the folder that it came from has gone', async () => {
  const own = await loadOwnTlsIdentity(old, systemClock);
  await keepCertificate(hostPlaces(top), old, systemClock);
  await rm(old, { recursive: true });

  await keepCertificate(hostPlaces(top), old, systemClock);

  expect(await shown()).toBe(own.certificate);
});

test('one of an authority is shown, because browsers may insist on it, and is not taken for the own one of the machine', async () => {
  await loadOwnTlsIdentity(old, systemClock);
  const installed = await loadOwnTlsIdentity(join(top, 'authority'), systemClock);
  const { certificate, key } = installed;
  await writeInstalledPair(old, { certificate, key, installedAt: systemClock.now().toISOString() });

  await keepCertificate(hostPlaces(top), old, systemClock);
  expect(await shown()).toBe(certificate);
  await giveBackCertificate(hostPlaces(top), fresh);

  expect(await readdir(fresh)).toEqual([]);
  await expect(shown()).rejects.toMatchObject({ code: 'ENOENT' });
});
