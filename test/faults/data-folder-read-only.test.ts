/** A data folder that cannot be written, from the start or from one moment on. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  claimAppliance,
  expectStatus,
  makeFolder,
  removeFolder,
  runHoldfast,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { mountSmallDisk, type SmallDisk } from '../helpers/small-disk.ts';

const MIB = 1024 ** 2;

let place: string;

beforeAll(async () => {
  place = await makeFolder('read-only');
});

afterAll(async () => {
  await removeFolder(place);
});

test('a data folder that is read-only at the start is refused in words, and used when it may be written', async () => {
  const disk = await mountSmallDisk(join(place, 'whole'), 512 * MIB);
  const options = { dataDir: join(disk.path, 'data'), within: disk.within };
  let appliance: ServedAppliance | undefined;
  try {
    for (const state of ['empty', 'in use'] as const) {
      if (state === 'in use') {
        appliance = await serveAppliance(options);
        await appliance.stop();
      }
      disk.setReadOnly(true);

      const refused = await runHoldfast(['serve'], options);

      disk.setReadOnly(false);
      expect([state, refused.exitCode, refused.stderr]).toEqual([
        state,
        1,
        expect.stringMatching(/cannot be written.*\n.*right to write/s) as string,
      ]);
      if (state === 'empty') expect(await readdir(disk.outside)).toEqual([]);
    }
    appliance = await serveAppliance(options);
    expect((await appliance.call('GET', '/health/ready')).status).toBe(200);
  } finally {
    await appliance?.stop();
    await disk.dispose();
  }
}, 180_000);

test('a file store that turns read-only takes no files, says why, and gives what it has', async () => {
  const dataDir = join(place, 'data');
  const first = await serveAppliance({ dataDir });
  await claimAppliance(first);
  await first.stop();
  const disk: SmallDisk = await mountSmallDisk(join(dataDir, 'files'), 256 * MIB);
  const appliance = await serveAppliance({ dataDir, within: disk.within });
  try {
    await signIn(appliance);
    const { items } = await expectStatus(
      appliance.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
      200,
    );
    const folder = `/folders/${items[0]?.rootFolderId ?? ''}`;
    const content = randomBytes(200_000);
    const upload = (name: string) =>
      appliance.call<{ id: string }>('PUT', `${folder}/files?name=${name}`, content);
    const kept = await expectStatus(upload('kept'), 201);
    const deleted = await expectStatus(upload('deleted'), 201);

    disk.setReadOnly(true);

    expect(await upload('refused')).toMatchObject({
      status: 503,
      body: { error: { code: 'unavailable', hint: expect.stringContaining('right to write') as string } },
    });
    const read = await appliance.call<Buffer>('GET', `/files/${kept.id}/content`);
    expect(read.body.equals(content)).toBe(true);
    await expectStatus(appliance.call('DELETE', `/nodes/${deleted.id}`), 204);
    disk.setReadOnly(false);
    await expectStatus(upload('refused'), 201);
    const page = await appliance.call<{ items: { name: string }[] }>('GET', folder);
    expect(page.body.items.map((item) => item.name).sort()).toEqual(['kept', 'refused']);
  } finally {
    await appliance.stop();
    await disk.dispose();
  }
}, 180_000);
