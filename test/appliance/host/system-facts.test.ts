/** What a snapshot keeps of the machine, and that it comes back out of the snapshot. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hostPlaces, type HostPlaces } from '../../../server/appliance/host/host-places.ts';
import {
  keepSystemFacts,
  slotContentBytes,
  type SystemFactsDeps,
} from '../../../server/appliance/host/system-facts.ts';
import { systemFactsFolder } from '../../../server/lib/data-folder.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { runProcess } from '../../../server/lib/spawn.ts';

let top: string;
let places: HostPlaces;
let deps: SystemFactsDeps;
const root = Buffer.concat([Buffer.alloc(300_000), randomBytes(50_000)]);

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-system-'));
  places = hostPlaces(top);
  for (const folder of [places.state, join(places.data, 'system', 'private'), join(top, 'etc', 'holdfast')])
    await mkdir(folder, { recursive: true });
  await writeFile(places.imageFile, JSON.stringify({ product: 'holdfast', version: '1.0.0' }));
  await writeFile(join(places.state, 'settings.json'), '{"hostName":"vault"}');
  await writeFile(join(places.data, 'system', 'luks-header.img'), randomBytes(4096));
  await writeFile(join(places.data, 'system', 'private', 'a.credentials'), 'password=hush hush');
  await writeFile(join(top, 'root-a'), root);
  deps = {
    ...{ places, clock: systemClock },
    slots: async () => [],
    runningBundle: async () => undefined,
    rootDevice: join(top, 'root-a'),
    rootBytes: undefined,
    readerGid: undefined,
  };
});
afterEach(() => rm(top, { recursive: true, force: true }));

test('the image, its hash, the settings, the packages and the header are kept, and no secret is', async () => {
  const folder = await keepSystemFacts(deps);

  expect(folder).toBe(systemFactsFolder(join(places.data, 'holdfast')));
  const facts = JSON.parse(await readFile(join(folder, 'system.json'), 'utf8')) as {
    imageFile: { name: string };
  };
  const image = await readFile(join(folder, 'image', facts.imageFile.name));
  expect(zstdDecompressSync(image).equals(root)).toBe(true);
  expect((await readdir(folder)).sort()).toEqual([
    'image',
    'luks-header.img',
    'packages.txt',
    'settings.json',
    'system.json',
  ]);
  const found = await runProcess('grep', ['-r', 'hush', folder], { timeoutMs: 10_000 });
  expect(found.stdout).toBe('');
});

test('nothing is written again when nothing changed: the next snapshot stores nothing of it', async () => {
  const folder = await keepSystemFacts(deps);
  const names = (await readdir(folder, { recursive: true })).sort();
  const times = async () => Promise.all(names.map(async (name) => (await stat(join(folder, name))).ino));
  const before = await times();

  await keepSystemFacts(deps);

  expect((await readdir(folder, { recursive: true })).sort()).toEqual(names);
  expect(await times()).toEqual(before);
});

test('after an update its signed bundle takes the place of the first image', async () => {
  const folder = await keepSystemFacts(deps);
  const bundle = join(places.data, 'system', 'two.raucb');
  await writeFile(bundle, 'signed');
  await writeFile(places.imageFile, JSON.stringify({ product: 'holdfast', version: '2.0.0' }));

  await keepSystemFacts({ ...deps, runningBundle: async () => bundle });

  expect((await readdir(join(folder, 'image'))).sort()).toEqual([
    'holdfast-2.0.0.raucb',
    'holdfast-2.0.0.raucb.sha256',
  ]);
});

describe('the content of a slot', () => {
  test('ends with the last block of the hash tree', () => {
    // 177,152 blocks of 4,096 bytes: 1,384 + 11 + 1 blocks of hashes, and the superblock.
    expect(slotContentBytes('ro holdfast.hashoffset=725614592 rauc.slot=A')).toBe(
      725_614_592 + 1_397 * 4_096,
    );
  });

  test('is the whole slot where the kernel was told of no tree', () => {
    expect(slotContentBytes('ro quiet')).toBeUndefined();
  });
});
