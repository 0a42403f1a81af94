/** Copying a snapshot from one target to another, repository to repository: without a key, with damage on either side, and pruned there. */
import { copyFile, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SnapshotRecord } from '../../server/backups/engine.ts';
import { copySnapshot } from '../../server/backups/repository/copy-snapshot.ts';
import { createRepository } from '../../server/backups/repository/create-repository.ts';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import {
  bytesOf,
  createPlace,
  HOLDER,
  openPlace,
  readFiles,
  takeSnapshot,
  withWriter,
  type OpenPlaceOptions,
  type Place,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const DAY_MS = 24 * 3_600_000;
const FILES = { 'a.txt': Buffer.from('hello'), 'b/c.bin': bytesOf('c', 60_000) };
const WRITE_ONLY = { writeOnly: true };

let first: Place;
let second: Place;
beforeEach(async () => {
  first = await createPlace();
  const path = join(first.top, 'second');
  await mkdir(path);
  const target = { kind: 'directory', path } as const;
  const open = () => openTarget(target);
  second = { ...first, path, open, cataloguePath: join(first.top, 'second.sqlite') };
  const { local, cataloguePath, clock } = second;
  const { writeKeys: keys, keysObject } = local;
  await createRepository({ target, keys, keysObject, cataloguePath, holder: HOLDER, clock });
});
afterEach(() => first.dispose());

async function copy(snapshot: SnapshotRecord, options: OpenPlaceOptions = {}) {
  const source = await openPlace(first, options);
  try {
    return await withWriter(
      second,
      async (writer, repository) => {
        const report = await copySnapshot(
          { name: 'first', target: source.target, catalogue: source.catalogue },
          { repository, writer },
          snapshot,
          { signal: new AbortController().signal },
        );
        await writer.publishHead();
        return report;
      },
      options,
    );
  } finally {
    await source.close();
  }
}

async function packsOn(place: Place): Promise<string[]> {
  const entries = await readdir(join(place.path, 'packs'), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** That of the content: file lists are smaller, and each snapshot has its own. */
async function largestOn(place: Place): Promise<string> {
  const files = await packsOn(place);
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  return files[sizes.indexOf(Math.max(...sizes))] ?? '';
}

async function readBack(place: Place): Promise<Record<string, Buffer>> {
  const repository = await openPlace(place, { kit: true, catalogue: join(place.top, 'kit.sqlite') });
  try {
    expect((await verifyRepository(repository, { everyByte: true })).problems).toEqual([]);
    return await readFiles(repository, 'latest');
  } finally {
    await repository.close();
    await rm(join(place.top, 'kit.sqlite'));
  }
}

async function damage(file: string): Promise<Buffer> {
  const whole = await readFile(file);
  const broken = Buffer.from(whole);
  broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
  await rm(file);
  await writeFile(file, broken);
  return whole;
}

describe('a write-only appliance', () => {
  test('copies by what its catalogues know, and the copy can be forgotten, pruned and led from there', async () => {
    const one = await takeSnapshot(first, FILES, WRITE_ONLY);
    const two = await takeSnapshot(first, { ...FILES, more: bytesOf('more', 30_000) }, WRITE_ONLY);

    await copy(one, WRITE_ONLY);
    const report = await copy(two, WRITE_ONLY);

    // Only what is new: one pack of content, one of its file list.
    expect(report.packs).toBe(2);
    expect(await readBack(second)).toEqual({ ...FILES, more: bytesOf('more', 30_000) });
    const three = await takeSnapshot(second, FILES, WRITE_ONLY);
    expect(three.number).toBe(3);
    await withWriter(second, (writer) => writer.forget([two.id]), WRITE_ONLY);
    await withWriter(second, (writer) => writer.prune(), WRITE_ONLY);
    second.clock.advance(2 * DAY_MS);
    const pruned = await withWriter(second, (writer) => writer.prune(), WRITE_ONLY);
    expect(pruned.deletedObjects).toBeGreaterThan(0);
    expect(await readBack(second)).toEqual(FILES);
  });

  test('whose catalogue was lost says that it cannot, and what is taken from then on is copied', async () => {
    const one = await takeSnapshot(first, FILES, WRITE_ONLY);
    await rm(first.cataloguePath);

    await expect(copy(one, WRITE_ONLY)).rejects.toMatchObject({ code: 'needs_kit' });

    const two = await takeSnapshot(first, FILES, WRITE_ONLY);
    await copy(two, WRITE_ONLY);
    expect(await readBack(second)).toEqual(FILES);
  });
});

describe('damage', () => {
  test('at the source is named and goes no further; what is whole arrives, and is not brought again', async () => {
    const one = await takeSnapshot(first, FILES);
    const [file = '', other = ''] = await packsOn(first);
    const whole = await damage(file);

    await expect(copy(one)).rejects.toMatchObject({
      code: 'integrity_failure',
      message: expect.stringContaining('on first is not what was written there') as string,
    });

    expect(await packsOn(second)).not.toContain(file.replace(first.path, second.path));
    await rm(file);
    await writeFile(file, whole);
    const before = await packsOn(second);
    const report = await copy(one);
    expect(report.packs).toBe(2 - before.length);
    expect(await packsOn(second)).toContain(other.replace(first.path, second.path));
    expect(await readBack(second)).toEqual(FILES);
  });

  test('that a verification found on the second is mended by the whole packs of the first', async () => {
    const one = await takeSnapshot(first, FILES);
    await copy(one);
    await damage(await largestOn(second));
    const repository = await openPlace(second);
    expect((await verifyRepository(repository, { everyByte: true })).ok).toBe(false);
    await repository.close();
    const two = await takeSnapshot(first, { ...FILES, more: Buffer.from('more') });

    await copy(two);

    expect(await readBack(second)).toEqual({ ...FILES, more: Buffer.from('more') });
  });

  test('on both sides leaves what the second has of a pack as it is: the first cannot give a better one', async () => {
    const one = await takeSnapshot(first, FILES);
    const file = await largestOn(first);
    const there = file.replace(first.path, second.path);
    await mkdir(join(there, '..'), { recursive: true });
    await copyFile(file, there);
    await damage(there);
    const left = await readFile(there);
    await damage(file);

    await expect(copy(one)).rejects.toMatchObject({ code: 'integrity_failure' });

    expect(await readFile(there)).toEqual(left);
  });

  test('of a pack that was cut short on its way is told by its hash, and it is written again', async () => {
    const one = await takeSnapshot(first, FILES);
    const [file = ''] = await packsOn(first);
    const there = file.replace(first.path, second.path);
    const whole = await readFile(file);
    await mkdir(join(there, '..'), { recursive: true });
    await writeFile(there, Buffer.alloc(whole.length));

    await copy(one);

    expect(await readFile(there)).toEqual(whole);
    expect(await readBack(second)).toEqual(FILES);
  });
});

test('a snapshot that is there already is left alone', async () => {
  const one = await takeSnapshot(first, FILES);
  await copy(one);

  expect(await copy(one)).toMatchObject({ packs: 0, bytes: 0 });
  expect(await readBack(second)).toEqual(FILES);
});
