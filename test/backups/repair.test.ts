/** A damaged target made whole again from another one of the same repository. */
import { chmod, cp, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import { packName, sha256Of } from '../../server/backups/objects/object-names.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import type { Target } from '../../server/backups/engine.ts';
import {
  bytesOf,
  createPlace,
  cutOffAt,
  listObjects,
  openPlace,
  openPlaceWriter,
  readFiles,
  takeSnapshot,
  type Place,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const FILES = { 'a.txt': Buffer.from('hello'), 'b.bin': bytesOf('b', 40_000), 'c.bin': bytesOf('c', 9_000) };
let place: Place;
let otherPath: string;
let other: Target;

beforeEach(async () => {
  place = await createPlace();
  await takeSnapshot(place, FILES);
  await takeSnapshot(place, { ...FILES, 'd.bin': bytesOf('d', 20_000) });
  otherPath = join(place.top, 'other');
  await cp(place.path, otherPath, { recursive: true });
  other = await openTarget({ kind: 'directory', path: otherPath });
});
afterEach(async () => {
  cutOffAt(undefined);
  await other.close();
  await place.dispose();
});

async function flip(top: string, name: string): Promise<void> {
  const path = join(top, name);
  await chmod(path, 0o600);
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
  await writeFile(path, bytes);
}

async function namesOf(prefix: string): Promise<string[]> {
  const repository = await openPlace(place);
  const names = await listObjects(repository, prefix);
  await repository.close();
  return names.sort();
}

/** What verify finds, and what a writer that asks the other target leaves of it. */
async function verifyAndRepair() {
  const repository = await openPlace(place);
  const found = await verifyRepository(repository, { everyByte: true });
  const writer = await openPlaceWriter(place, repository);
  const report = await writer.repair(
    other,
    found.problems.map(({ object }) => object),
  );
  await writer.release();
  await repository.close();
  return { found: found.problems.map(({ object }) => object), report };
}

async function expectWhole(): Promise<void> {
  const repository = await openPlace(place);
  expect(await verifyRepository(repository, { everyByte: true })).toMatchObject({ ok: true });
  expect(await readFiles(repository, 'latest')).toEqual({ ...FILES, 'd.bin': bytesOf('d', 20_000) });
  await repository.close();
}

test('packs, a snapshot and an index that were flipped, cut short or lost are whole again', async () => {
  const [flipped = '', lost = '', cut = ''] = await namesOf('packs/');
  const [index = ''] = await namesOf('index/');
  const [snapshot = ''] = await namesOf('snapshots/');
  await flip(place.path, flipped);
  await rm(join(place.path, lost));
  await chmod(join(place.path, cut), 0o600);
  await truncate(join(place.path, cut), 10);
  await flip(place.path, snapshot);
  await flip(place.path, index);

  const { found, report } = await verifyAndRepair();

  expect(found).toEqual(expect.arrayContaining([flipped, lost, cut, snapshot, index]));
  expect(report.left).toEqual([]);
  expect(report.repaired.sort()).toEqual([flipped, lost, cut, snapshot, index].sort());
  await expectWhole();
});

test('in parts, each byte is read in exactly one of them', async () => {
  for (const name of await namesOf('packs/')) await flip(place.path, name);
  const repository = await openPlace(place);
  const found: string[] = [];
  let bytesRead = 0;
  for (const number of [0, 1, 2]) {
    const report = await verifyRepository(repository, { everyByte: true, part: { number, of: 3 } });
    bytesRead += report.packBytesRead;
    found.push(...report.problems.map(({ object }) => object).filter((name) => name.startsWith('packs/')));
  }

  expect(new Set(found)).toEqual(new Set(await namesOf('packs/')));
  expect(bytesRead).toBe(repository.catalogue.packStats().sizeBytes);
  await repository.close();
});

test('a pack that no index names yet is compared with its name, in one of the parts', async () => {
  const bytes = bytesOf('new files', 20_000);
  const name = packName(sha256Of(bytes));
  await mkdir(dirname(join(place.path, name)), { recursive: true });
  await writeFile(join(place.path, name), bytes);
  const repository = await openPlace(place);
  const verifyPart = (number: number, again = new Set<string>()) =>
    verifyRepository(repository, { everyByte: true, part: { number, of: 2 }, again });
  const counted = [await verifyPart(0), await verifyPart(1)].map(({ unindexedPacks }) => unindexedPacks);
  expect(counted.sort()).toEqual([0, 1]);
  await flip(place.path, name);

  const found = await verifyRepository(repository, { everyByte: true });

  expect(found).toMatchObject({ unindexedPacks: 1, unindexedBytesRead: 20_000, readAgain: [name] });
  expect(found.problems.map(({ object }) => object)).toEqual([name]);
  // As damage in the log, it is told by each part.
  const again = new Set(found.readAgain);
  for (const number of [0, 1]) expect((await verifyPart(number, again)).readAgain).toEqual([name]);
  await repository.close();
});

test.each(['backups.repair.removed', 'backups.repair.written', 'backups.repair.verified'])(
  'cut off at %s, the next repair ends it',
  async (point) => {
    const packs = await namesOf('packs/');
    for (const name of packs) await flip(place.path, name);
    cutOffAt(point);
    await expect(verifyAndRepair()).rejects.toThrow('cut off');
    cutOffAt(undefined);

    expect((await verifyAndRepair()).report.left).toEqual([]);

    await expectWhole();
  },
);

test('the other target is read once for each object, and not at all for what is whole', async () => {
  const [damaged = '', whole = ''] = await namesOf('packs/');
  await flip(place.path, damaged);
  const read: string[] = [];
  const counted: Target = {
    ...other,
    read: (name, range) => (read.push(name), other.read(name, range)),
    readBack: (name) => (read.push(name), other.readBack(name)),
  };
  const repository = await openPlace(place);
  const writer = await openPlaceWriter(place, repository);

  const stateOf = (name: string) =>
    [...repository.catalogue.packs()].find((pack) => packName(pack.id) === name)?.state;
  const rows = [...repository.catalogue.packs()].map(({ row }) => ({ row, state: 'damaged' as const }));
  repository.catalogue.setPackStates(rows);

  const report = await writer.repair(counted, [damaged, whole]);

  // What was found in the whole one may be inside: only a reading takes that back.
  expect([stateOf(damaged), stateOf(whole)]).toEqual(['present', 'damaged']);
  expect(report).toEqual({ repaired: [damaged], whole: [whole], left: [] });
  expect(read).toEqual([damaged]);
  await repository.close();
});

test('a lock that keeps the damaged object is said, and nothing is changed', async () => {
  const [pack = ''] = await namesOf('packs/');
  await flip(place.path, pack);
  const damaged = await readFile(join(place.path, pack));
  const opened = await openPlace(place);
  const locked = { ...opened.target, delete: async () => ({ until: undefined }) };
  const writer = await openPlaceWriter(place, { ...opened, target: locked });

  const report = await writer.repair(other, [pack]);

  expect(report.left).toEqual([{ name: pack, reason: 'The lock of this target keeps what is damaged' }]);
  expect(await readFile(join(place.path, pack))).toEqual(damaged);
  await opened.close();
});

test('what is damaged on both stays as it is and is named', async () => {
  const [pack = ''] = await namesOf('packs/');
  await flip(place.path, pack);
  await flip(otherPath, pack);
  const damaged = await readFile(join(place.path, pack));

  const { report } = await verifyAndRepair();

  expect(report.repaired).not.toContain(pack);
  expect(report.left).toContainEqual({ name: pack, reason: 'The other target has no whole copy of it' });
  expect(await readFile(join(place.path, pack))).toEqual(damaged);
});

test('pieces of the log and lists of new files are brought by the hash in their names', async () => {
  const bytes = bytesOf('log', 500);
  const names = [
    `wal/database/7/1/0000000000000010-0000000000000020-5-${sha256Of(bytes)}.age`,
    `files/3-${sha256Of(bytes)}.age`,
  ];
  for (const top of [place.path, otherPath])
    for (const name of names) {
      await mkdir(dirname(join(top, name)), { recursive: true });
      await writeFile(join(top, name), bytes);
    }
  for (const name of names) await flip(place.path, name);
  const repository = await openPlace(place);
  const writer = await openPlaceWriter(place, repository);

  const report = await writer.repair(other, names);

  expect(report).toMatchObject({ repaired: names, left: [] });
  for (const name of names) expect(await readFile(join(place.path, name))).toEqual(bytes);
  await repository.close();
});

test('a head is not taken from another target, and what is whole is not written again', async () => {
  const [head = ''] = await namesOf('heads/');
  const [pack = ''] = await namesOf('packs/');
  const repository = await openPlace(place);
  const writer = await openPlaceWriter(place, repository);
  await rm(join(otherPath, pack));

  const report = await writer.repair(other, [head, pack, 'heads/']);

  expect(report).toEqual({
    repaired: [],
    whole: [pack],
    left: [head, 'heads/'].map((name) => ({ name, reason: 'It is of this target alone' })),
  });
  await repository.close();
});
