import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { discIdentity, noteCloudDisc } from '../../../server/appliance/host/cloud-disc.ts';
import { hostPlaces, type HostPlaces } from '../../../server/appliance/host/host-places.ts';

const MADE_AT = '2026-11-22-10-11-12-00';
const NETWORK = '[Match]\nMACAddress=52:54:00:0f:00:01\n[Network]\nAddress=10.77.1.2/24\n';

let root: string;
let places: HostPlaces;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-cloud-disc-'));
  places = hostPlaces(root);
  for (const path of [places.cloudRun, places.networkFiles, places.state])
    await mkdir(path, { recursive: true });
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function cloudSays(v1: object): Promise<void> {
  await writeFile(join(places.cloudRun, 'instance-data.json'), JSON.stringify({ v1 }));
}
/** What udev leaves of `/dev/vdd`. */
async function udevFound(type: string, uuid: string): Promise<void> {
  const [device, data] = [join(root, 'sys/class/block/vdd'), join(root, 'run/udev/data')];
  for (const path of [device, data]) await mkdir(path, { recursive: true });
  await writeFile(join(device, 'dev'), '254:48\n');
  await writeFile(
    join(data, 'b254:48'),
    `S:disk/by-label/cidata\nE:ID_FS_UUID=${uuid}\nE:ID_FS_TYPE=${type}\n`,
  );
}
const onDisc = { cloud_id: 'nocloud', subplatform: 'config-disk (/dev/vdd)' };
const fromUdev = (device: string) => discIdentity(device, root);
const noted = () => readFile(join(places.state, 'cloud', 'disc'), 'utf8').catch(() => undefined);

describe('the next start asks cloud-init again', () => {
  test.each([
    [
      'in a cloud, whose metadata may change',
      { cloud_id: 'aws', subplatform: 'metadata (http://169.254.169.254)' },
    ],
    [
      'when the files came from a folder or an address',
      { cloud_id: 'nocloud', subplatform: 'seed-dir (/var/lib/cloud/seed)' },
    ],
    ['when the device has an odd name', { cloud_id: 'nocloud', subplatform: 'config-disk (/dev/../etc)' }],
  ])('%s', async (_case, v1) => {
    await cloudSays(v1);
    expect(await noteCloudDisc(places, async () => MADE_AT)).toBeUndefined();
    expect(await noted()).toBeUndefined();
  });

  test('when cloud-init left nothing, or half a file', async () => {
    expect(await noteCloudDisc(places, async () => MADE_AT)).toBeUndefined();
    await writeFile(join(places.cloudRun, 'instance-data.json'), '{"v1": {"cloud_id"');
    expect(await noteCloudDisc(places, async () => MADE_AT)).toBeUndefined();
  });

  test('when the disc can be written to, and what was noted before is forgotten', async () => {
    await cloudSays(onDisc);
    await noteCloudDisc(places, async () => MADE_AT);
    expect(await noted()).toBe(`${MADE_AT}\n`);
    await udevFound('vfat', 'A1B2-C3D4');
    await cloudSays(onDisc);
    expect(await noteCloudDisc(places, fromUdev)).toBeUndefined();
    expect(await noted()).toBeUndefined();
  });
});

describe('the next start leaves cloud-init out', () => {
  test('with a disc that cannot be written to: it is noted, with the network that came from it', async () => {
    await cloudSays(onDisc);
    await writeFile(join(places.networkFiles, '10-cloud-init-ens3.network'), NETWORK);
    await writeFile(join(places.networkFiles, '05-holdfast.network'), 'of the owner');
    await udevFound('iso9660', MADE_AT);
    expect(await noteCloudDisc(places, fromUdev)).toBe(MADE_AT);
    const folder = join(places.state, 'cloud');
    expect((await readdir(folder)).sort()).toEqual(['10-cloud-init-ens3.network', 'disc']);
    expect(await readFile(join(folder, '10-cloud-init-ens3.network'), 'utf8')).toBe(NETWORK);
  });

  test('without any disc', async () => {
    await cloudSays({ cloud_id: 'none' });
    expect(await noteCloudDisc(places)).toBe('none');
  });

  test('a network file that is there no more goes from the notes', async () => {
    await cloudSays(onDisc);
    await writeFile(join(places.networkFiles, '10-cloud-init-ens3.network'), NETWORK);
    await noteCloudDisc(places, async () => MADE_AT);
    await rm(join(places.networkFiles, '10-cloud-init-ens3.network'));
    await noteCloudDisc(places, async () => MADE_AT);
    expect(await readdir(join(places.state, 'cloud'))).toEqual(['disc']);
  });
});
