/** The catalogue on its own: many chunks, and what prune needs of a run whose file lists it never reads again. */
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openCatalogue } from '../../server/backups/catalogue/open-catalogue.ts';
import type { WrittenPack } from '../../server/backups/engine.ts';
import { openChunkWriter } from '../../server/backups/pipeline/index.ts';
import {
  bytesOf,
  createPlace,
  openPlace,
  openPlaceWriter,
  type Place,
  readFiles,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 120_000 });

const REPOSITORY = '00000000-0000-4000-8000-000000000001';
const hex = (text: string): string => createHash('sha256').update(text).digest('hex');

let top: string;
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-catalogue-'));
});
afterEach(async () => {
  await rm(top, { recursive: true, force: true });
});

const open = () => openCatalogue(join(top, 'c.sqlite'), REPOSITORY).catalogue;

function packOf(name: string, chunkCount: number, firstChunk = 0): WrittenPack {
  return {
    id: hex(`pack ${name}`),
    kind: 'data',
    sizeBytes: 1000,
    headerLength: 200,
    generation: 1,
    chunks: Array.from({ length: chunkCount }, (_, at) => ({
      id: hex(`chunk ${String(firstChunk + at)}`),
      offset: at * 10,
      storedLength: 10,
      originalLength: 20,
    })),
  };
}

const index = (number: number, packs: WrittenPack[]) => ({ number, packs, supersedes: [], removals: [] });
const reference = (number: number) => ({ number, sha256: hex(`index ${String(number)}`) });

describe('the catalogue', () => {
  test('says where a chunk is, and forgets it with its index', () => {
    const catalogue = open();
    catalogue.addIndex(reference(1), 10, index(1, [packOf('a', 3)]));

    expect(catalogue.locate([hex('chunk 1'), hex('chunk 9')])).toEqual([
      {
        packId: hex('pack a'),
        packSizeBytes: 1000,
        headerLength: 200,
        generation: 1,
        offset: 10,
        storedLength: 10,
        originalLength: 20,
      },
      undefined,
    ]);
    expect([...catalogue.ids()].map((id) => Buffer.from(id).toString('hex'))).toEqual(
      [0, 1, 2].map((at) => hex(`chunk ${String(at)}`)),
    );
    catalogue.dropIndex(reference(1));
    expect(catalogue.count()).toBe(0);
    expect([...catalogue.packs()]).toEqual([]);
    catalogue.close();
  });

  test('a pack stays with the newest index that lists it, also when an older one is taken in again', () => {
    const catalogue = open();
    catalogue.addIndex(reference(2), 10, index(2, [packOf('a', 3)]));
    catalogue.addIndex(reference(1), 10, index(1, [packOf('a', 3), packOf('b', 3, 10)]));

    catalogue.dropIndex(reference(1));

    expect([...catalogue.packs()].map((pack) => pack.id)).toEqual([hex('pack a')]);
    catalogue.close();
  });

  test('a pack that a newer index lists as well stays when the older is dropped', () => {
    const catalogue = open();
    catalogue.addIndex(reference(1), 10, index(1, [packOf('a', 3), packOf('b', 3, 10)]));
    catalogue.addIndex(reference(2), 10, index(2, [packOf('a', 3)]));

    catalogue.dropIndex(reference(1));

    expect([...catalogue.packs()].map((pack) => pack.id)).toEqual([hex('pack a')]);
    expect(catalogue.count()).toBe(3);
    catalogue.close();
  });

  test('a chunk in two packs is still found when either is missing or gone', () => {
    for (const lost of ['missing', 'gone'] as const) {
      for (const first of [1, 2]) {
        const catalogue = open();
        catalogue.addIndex(reference(1), 10, index(1, [packOf('a', 3)]));
        catalogue.addIndex(reference(2), 10, index(2, [packOf('b', 3)]));
        const [row = 0] = [...catalogue.packs()]
          .filter((pack) => pack.index.number === first)
          .map((pack) => pack.row);

        if (lost === 'gone') catalogue.dropIndex(reference(first));
        else catalogue.setPackStates([{ row, state: 'missing' }]);

        const left = hex(first === 1 ? 'pack b' : 'pack a');
        const found = catalogue.locate([0, 1, 2].map((at) => hex(`chunk ${String(at)}`)));
        expect(
          found.map((one) => one?.packId),
          `${lost} ${String(first)}`,
        ).toEqual([left, left, left]);
        if (lost === 'missing') catalogue.setPackStates([{ row, state: 'present' }]);
        for (const one of catalogue.indexes()) catalogue.dropIndex(one);
        expect(catalogue.count()).toBe(0);
        catalogue.close();
      }
    }
  });

  test('is readable by its owner only, and is begun anew when it is not whole', async () => {
    open().close();
    expect((await stat(join(top, 'c.sqlite'))).mode & 0o777).toBe(0o600);

    await writeFile(join(top, 'c.sqlite'), bytesOf('garbage', 20_000));
    const { catalogue, isNew } = openCatalogue(join(top, 'c.sqlite'), REPOSITORY);
    expect(isNew).toBe(true);
    expect(catalogue.count()).toBe(0);
    catalogue.close();
  });

  test('stays small and quick with many chunks', async () => {
    const indexes = process.env.SLOW === '1' ? 20 : 2;
    const catalogue = open();
    const before = process.memoryUsage().rss;
    for (let number = 1; number <= indexes; number++) {
      const packs = Array.from({ length: 125 }, (_, at) =>
        packOf(`${String(number)}-${String(at)}`, 400, (number * 125 + at) * 400),
      );
      catalogue.addIndex(reference(number), 10, index(number, packs));
    }

    expect(catalogue.count()).toBe(indexes * 50_000);
    let count = 0;
    for (const id of catalogue.ids()) count += id.length === 32 ? 1 : 0;
    expect(count).toBe(indexes * 50_000);
    expect(catalogue.locate([hex(`chunk ${String(130 * 400)}`)])[0]).toBeDefined();
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024);
    const { size } = await stat(join(top, 'c.sqlite'));
    expect(size / (indexes * 50_000)).toBeLessThan(200);
    catalogue.close();
  });
});

describe('a run of the real pipeline, write-only', () => {
  let place: Place;
  beforeEach(async () => {
    place = await createPlace();
  });
  afterEach(async () => {
    await place.dispose();
  });

  /** A file of more than 1,000 chunks, so that it has chunk lists. */
  const LARGE = bytesOf('large', 4096 * 1001 + 5);

  async function snapshotOf(files: Record<string, Buffer>): Promise<string> {
    const source = join(place.top, 'source');
    await rm(source, { recursive: true, force: true });
    await mkdir(source);
    for (const [name, content] of Object.entries(files)) await writeFile(join(source, name), content);
    const repository = await openPlace(place, { writeOnly: true });
    const writer = await openPlaceWriter(place, repository, { keys: place.local.writeOnlyKeys });
    const [generation] = place.local.writeOnlyKeys.generations;
    if (generation === undefined) throw new Error('no generation');
    const chunks = openChunkWriter({
      target: { kind: 'directory', path: place.path },
      generation,
      catalogue: repository.catalogue,
      onPacks: (packs) => writer.publishIndex(packs),
    });
    const section = await chunks.addTree(source, { name: 'tree' });
    const totals = await chunks.finish();
    const snapshot = await writer.publishSnapshot({
      takenAt: place.clock.now().toISOString(),
      durationMs: 1,
      generation: 1,
      keyringEpoch: '0',
      addedBytes: totals.bytesAdded,
      storedBytes: totals.bytesStored,
      facts: {},
      sections: [section],
    });
    await writer.publishHead();
    await repository.close();
    return snapshot.id;
  }

  async function prune(): Promise<void> {
    const repository = await openPlace(place, { writeOnly: true });
    const writer = await openPlaceWriter(place, repository, { keys: place.local.writeOnlyKeys });
    const report = await writer.prune();
    expect(report.missingChunks).toBe(0);
    await repository.close();
  }

  test('is pruned by the catalogue alone, chunk lists included', async () => {
    const first = await snapshotOf({ large: LARGE, old: bytesOf('old', 100_000) });
    await snapshotOf({ large: LARGE, young: bytesOf('young', 100_000) });
    const repository = await openPlace(place, { writeOnly: true });
    const writer = await openPlaceWriter(place, repository, { keys: place.local.writeOnlyKeys });
    await writer.forget([first]);
    await repository.close();

    for (let round = 0; round < 3; round++) {
      await prune();
      place.clock.advance(2 * 24 * 3600_000);
    }

    const kit = await openPlace(place, { kit: true, catalogue: join(place.top, 'fresh.sqlite') });
    expect(kit.warnings).toEqual([]);
    const section = (await kit.findSnapshot('latest')).sections[0];
    expect(section?.fileCount).toBe(2);
    const files = await readFiles(kit, 'latest');
    expect(files.young?.equals(bytesOf('young', 100_000))).toBe(true);
    expect(files.large?.equals(LARGE)).toBe(true);
    await kit.close();
  });
});
