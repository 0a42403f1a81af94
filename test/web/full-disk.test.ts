/** The disk of the data is nearly full, in a real browser: an upload is refused in words, and taken once there is room. */
import { join } from 'node:path';
import { afterAll, beforeAll, it } from 'vitest';
import { makeFolder, removeFolder } from '../helpers/served-appliance.ts';
import { mountSmallDisk, type SmallDisk } from '../helpers/small-disk.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 240_000;
const MIB = 1024 ** 2;

let place: string;
let disk: SmallDisk;
beforeAll(async () => {
  place = await makeFolder('web-disk');
  disk = await mountSmallDisk(join(place, 'disk'), 1024 * MIB);
});
// Registered first, so it comes last: after the appliance has ended.
afterAll(async () => {
  await disk.dispose();
  await removeFolder(place);
});
const here = claimedAppliance(undefined, () => ({
  settings: { HOLDFAST_DATA: join(disk.path, 'data') },
  within: disk.within,
}));

it(
  'an upload to a disk that is too full is refused with what to do, and goes through when tried again with room',
  async () => {
    await here.asOwner('full-disk', '/files', async (page) => {
      disk.leave(40 * MIB);
      const file = { name: 'minutes.txt', mimeType: 'text/plain', buffer: Buffer.from('what was said') };
      await page.getByLabel('Files to upload').setInputFiles([file]);
      const tray = page.getByRole('region', { name: 'Uploads' });
      await tray.getByRole('heading', { name: '1 file not uploaded' }).waitFor();
      await tray.getByText('The disk of this appliance is too full to take this file').waitFor();
      await tray.getByText('Nothing was stored; signing in, reading, deleting').waitFor();
      await expectAccessibleEverywhere(page, 'a refused upload');
      await takeSights(page, 'full-disk');

      disk.makeRoom();
      await tray.getByRole('button', { name: 'Try minutes.txt again' }).click();
      await tray.getByRole('heading', { name: '1 file uploaded' }).waitFor();
    });
  },
  LIMIT_MS,
);
