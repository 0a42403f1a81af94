/** Forget, and prune in its two phases, against a clock that the test moves. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PruneOptions } from '../../server/backups/repository/prune.ts';
import {
  bytesOf,
  createPlace,
  cutOffAt,
  listObjects,
  openPlace,
  openPlaceWriter,
  type Place,
  readFiles,
  storeFiles,
  takeSnapshot,
  withWriter,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
const FILES = { 'a.txt': Buffer.from('hello'), 'b/c.bin': bytesOf('c', 20_000) };

let place: Place;
beforeEach(async () => {
  place = await createPlace();
});
afterEach(async () => {
  cutOffAt(undefined);
  await place.dispose();
});

describe('forget and prune', () => {
  const big = (seed: string) => ({ [`${seed}.bin`]: bytesOf(seed, 50_000), shared: bytesOf('shared', 9000) });
  const prune = (options = {}, how: PruneOptions = {}) =>
    withWriter(place, (writer) => writer.prune(how), options);
  const packCount = async () => {
    const repository = await openPlace(place);
    const names = await listObjects(repository, 'packs/');
    await repository.close();
    return names.length;
  };

  test('forget refuses what is not there, and drops nothing then', async () => {
    const snapshot = await takeSnapshot(place, FILES);

    await expect(
      withWriter(place, (writer) => writer.forget([snapshot.id, '0'.repeat(64)])),
    ).rejects.toMatchObject({ code: 'not_found' });

    const repository = await openPlace(place);
    expect(repository.snapshotReferences).toHaveLength(1);
    await repository.close();
  });

  test.each([
    ['goes back by two hours', -2 * HOUR_MS],
    ['jumps ahead by two hours', 2 * HOUR_MS],
  ])('nothing is removed when the clock %s during the run', async (_, jumpMs) => {
    const snapshot = await takeSnapshot(place, FILES);
    const repository = await openPlace(place);
    let wall = 0;
    const clock = { now: () => new Date(place.clock.now().getTime() + wall), monotonicMs: () => 0 };
    const writer = await openPlaceWriter(place, repository, { clock });
    wall = jumpMs;

    await expect(writer.forget([snapshot.id])).rejects.toMatchObject({ code: 'wrong_state' });
    await expect(writer.prune()).rejects.toMatchObject({ code: 'wrong_state' });
    await repository.close();
  });

  test('nothing is removed when the clock is behind the newest head, or away from the target', async () => {
    const snapshot = await takeSnapshot(place, FILES);
    place.targetKeepsTime = true;

    for (const jumpMs of [-2 * HOUR_MS, 2 * HOUR_MS]) {
      place.clock.advance(jumpMs);
      await expect(withWriter(place, (writer) => writer.forget([snapshot.id]))).rejects.toMatchObject({
        code: 'wrong_state',
        hint: expect.stringContaining('clock') as string,
      });
      place.clock.advance(-jumpMs);
    }
  });

  test('packs of a forgotten snapshot go a day and the longest run later, not before', async () => {
    const first = await takeSnapshot(place, big('one'), { durationMs: 3 * HOUR_MS });
    await takeSnapshot(place, big('two'));
    const before = await packCount();

    await withWriter(place, (writer) => writer.forget([first.id]));
    expect(await packCount()).toBe(before);
    const marked = await pruneAt(0);
    expect(marked).toMatchObject({ deletedObjects: 0, markedBytes: expect.any(Number) as number });
    expect(marked.markedObjects).toBeGreaterThan(0);
    expect(await packCount()).toBe(before);
    const early = await pruneAt(DAY_MS + 2 * HOUR_MS);
    expect(early.deletedObjects).toBe(0);
    expect(await packCount()).toBe(before);
    const late = await pruneAt(HOUR_MS + 60_000);

    expect(late.deletedObjects).toBeGreaterThan(0);
    expect(await packCount()).toBeLessThan(before);
    const repository = await openPlace(place);
    expect(repository.warnings).toEqual([]);
    expect(await readFiles(repository, 'latest')).toEqual(big('two'));
    await expect(repository.findSnapshot(first.id)).rejects.toMatchObject({ code: 'not_found' });
    await repository.close();
  });

  test('a prune cut off before its head, and then a run cut off too, cost no snapshot anything', async () => {
    const first = await takeSnapshot(place, big('one'));
    await takeSnapshot(place, big('two'));
    await withWriter(place, (writer) => writer.forget([first.id]));
    cutOffAt('backups.prune.indexed');
    await expect(pruneAt(0)).rejects.toThrow('cut off');
    cutOffAt(undefined);
    // It takes in what was published, and ends before it says so in a head.
    await withWriter(place, async () => undefined);

    const at = { missingChunks: 0, deletedObjects: 0 };
    expect(await pruneAt(2 * DAY_MS), 'a head says so first').toMatchObject(at);
    await expectLatest(big('two'));
    const late = await pruneAt(2 * DAY_MS);
    expect(late.deletedObjects).toBeGreaterThan(0);
    await expectLatest(big('two'));
  });

  /** By whoever comes with the kit and knows nothing. */
  async function expectLatest(files: Record<string, Buffer>): Promise<void> {
    const catalogue = join(await mkdtemp(join(place.top, 'kit-')), 'catalogue.sqlite');
    const repository = await openPlace(place, { kit: true, catalogue });
    expect(repository.warnings).toEqual([]);
    expect(await readFiles(repository, 'latest')).toEqual(files);
    await repository.close();
  }

  test('while chunks of a kept snapshot are nowhere, no pack counts as nobody’s', async () => {
    await takeSnapshot(place, big('one'));
    const before = await packCount();
    const repository = await openPlace(place);
    const writer = await openPlaceWriter(place, repository);
    for (const known of repository.catalogue.indexes()) repository.catalogue.dropIndex(known);

    const report = await writer.prune();

    expect(report.missingChunks).toBeGreaterThan(0);
    expect(report.markedBytes).toBe(0);
    await repository.close();
    await pruneAt(2 * DAY_MS);
    expect(await packCount()).toBe(before);
  });

  test('what a lock of the target keeps is told with its end, is no error, and goes when the lock has ended', async () => {
    const first = await takeSnapshot(place, big('one'));
    await takeSnapshot(place, big('two'));
    await withWriter(place, (writer) => writer.forget([first.id]));
    await pruneAt(0);
    place.clock.advance(2 * DAY_MS);
    const until = new Date(place.clock.now().getTime() + DAY_MS);
    const before = await packCount();
    const repository = await openPlace(place);
    const { target } = repository;
    const locking: typeof target = {
      ...target,
      delete: async (name) => {
        if (name.startsWith('packs/')) return { until };
        return target.delete(name);
      },
    };

    const writer = await openPlaceWriter(place, { ...repository, target: locking });
    const kept = await writer.prune();
    await writer.release();
    await repository.close();

    expect(kept).toMatchObject({ deletedBytes: 0, lockedUntil: until.toISOString(), missingChunks: 0 });
    expect(kept.lockedObjects).toBeGreaterThan(0);
    expect(kept.lockedBytes).toBeGreaterThan(0);
    expect(kept.deletedObjects).toBeGreaterThan(0);
    expect(await packCount()).toBe(before);
    place.clock.advance(2 * DAY_MS);
    const later = await pruneAt(0);
    expect(later).toMatchObject({ deletedBytes: kept.lockedBytes, lockedObjects: 0, lockedUntil: undefined });
    expect(await packCount()).toBeLessThan(before);
  });

  test('a prune that is cancelled leaves the rest to the next one', async () => {
    const first = await takeSnapshot(place, big('one'));
    await takeSnapshot(place, big('two'));
    await withWriter(place, (writer) => writer.forget([first.id]));
    await pruneAt(0);
    place.clock.advance(2 * DAY_MS);
    const cancelled = new AbortController();
    const told: number[] = [];

    const cut = await prune(
      {},
      {
        signal: cancelled.signal,
        progress: (done: number) => {
          told.push(done);
          cancelled.abort();
        },
      },
    );
    const rest = await prune();

    expect(cut.deletedObjects).toBe(1);
    expect(told).toEqual([1]);
    expect(rest.deletedObjects).toBeGreaterThan(0);
    const repository = await openPlace(place);
    expect(repository.warnings).toEqual([]);
    expect(await readFiles(repository, 'latest')).toEqual(big('two'));
    await repository.close();
  });

  test('a chunk of a marked pack is stored again by a snapshot that needs it', async () => {
    const first = await takeSnapshot(place, big('one'));
    await takeSnapshot(place, big('two'));
    await withWriter(place, (writer) => writer.forget([first.id]));
    await pruneAt(0);

    await takeSnapshot(place, big('one'));
    await pruneAt(2 * DAY_MS);
    await pruneAt(2 * DAY_MS);

    const repository = await openPlace(place, { catalogue: join(place.top, 'fresh.sqlite') });
    expect(repository.warnings).toEqual([]);
    expect(await readFiles(repository, 'latest')).toEqual(big('one'));
    await repository.close();
  });

  test('the writer of a snapshot may prune right after it, and keeps what it just wrote', async () => {
    const report = await withWriter(place, async (writer, repository) => {
      const draft = await storeFiles(repository, writer, place.local.writeKeys, FILES, place.clock);
      await writer.publishSnapshot({ ...draft, durationMs: 1000 });
      await writer.publishHead();
      return writer.prune();
    });

    expect(report).toMatchObject({ deletedObjects: 0, missingChunks: 0 });
    expect(await packCount()).toBe(2);
  });

  test('works write-only, by the catalogue alone', async () => {
    const first = await takeSnapshot(place, big('one'), { writeOnly: true });
    await takeSnapshot(place, big('two'), { writeOnly: true });
    const before = await packCount();

    await withWriter(place, (writer) => writer.forget([first.id]), { writeOnly: true });
    await pruneAt(0, { writeOnly: true });
    await pruneAt(2 * DAY_MS, { writeOnly: true });

    expect(await packCount()).toBeLessThan(before);
    const repository = await openPlace(place, { kit: true });
    expect(await readFiles(repository, 'latest')).toEqual(big('two'));
    await repository.close();
  });

  test('comes to rest: a prune with nothing to do publishes nothing', async () => {
    const first = await takeSnapshot(place, big('one'));
    await takeSnapshot(place, big('two'));
    await withWriter(place, (writer) => writer.forget([first.id]));
    for (let round = 0; round < 4; round++) await pruneAt(2 * DAY_MS);
    const repository = await openPlace(place);
    const before = (await listObjects(repository)).filter((name) => !name.startsWith('writers/'));
    await repository.close();

    await pruneAt(2 * DAY_MS);

    const after = await openPlace(place);
    expect((await listObjects(after)).filter((name) => !name.startsWith('writers/'))).toEqual(before);
    await after.close();
  });

  test('many small index objects become few', async () => {
    for (let round = 0; round < 12; round++) await takeSnapshot(place, big(`round ${String(round)}`));

    await pruneAt(0);
    await pruneAt(2 * DAY_MS);

    const repository = await openPlace(place, { catalogue: join(place.top, 'fresh.sqlite') });
    expect(repository.head?.indexes.length).toBeLessThan(4);
    expect(repository.warnings).toEqual([]);
    for (let round = 0; round < 12; round++) {
      expect(await readFiles(repository, String(round + 1))).toEqual(big(`round ${String(round)}`));
    }
    await repository.close();
  });

  /** Moves the clock, and makes the target agree with it. */
  async function pruneAt(afterMs: number, options = {}) {
    place.clock.advance(afterMs);
    return prune(options);
  }
});
