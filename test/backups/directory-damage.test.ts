import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  lstatSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SourceSection } from '../../server/backups/engine.ts';
import { verifyPacks } from '../../server/backups/pipeline/index.ts';
import { createEnginePlace, type EnginePlace } from './engine-place.ts';

let place: EnginePlace;
beforeEach(async () => {
  place = await createEnginePlace({ fileChunkBytes: 64 * 1024, packBytes: 1024 * 1024 });
});
afterEach(() => place.dispose());

const inTree = (...parts: string[]): string => join(place.tree, ...parts);

async function restore(section: SourceSection, options = {}, to = join(place.top, 'restored')) {
  return (await place.reader()).restoreSection(section, to, options);
}

describe('damage', () => {
  async function damagedPlace(damage: (bytes: Buffer) => Buffer) {
    for (let at = 0; at < 30; at++) writeFileSync(inTree(`f${at}`), randomBytes(20_000));
    const { section } = await place.backUp();
    const [pack] = place.catalogue.packs.filter(({ kind }) => kind === 'data');
    if (pack === undefined) throw new Error('no pack');
    chmodSync(place.packPath(pack.id), 0o600);
    writeFileSync(place.packPath(pack.id), damage(readFileSync(place.packPath(pack.id))));
    const report = await verifyPacks({
      target: place.target,
      generations: [place.generation],
      packs: place.catalogue.packs.map(({ id, sizeBytes, headerLength, generation, chunks }) => ({
        packId: id,
        packSizeBytes: sizeBytes,
        headerLength,
        generation,
        chunks,
      })),
    });
    return { section, pack, report };
  }

  test('a flipped bit is found by verify, and costs the restore only the files it touches', async () => {
    const { section, pack, report } = await damagedPlace((bytes) => {
      const at = Math.floor(bytes.length / 2);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    });

    expect(report.problems.map(({ packId }) => packId)).toContain(pack.id);
    const restored = await restore(section);
    expect(restored.problemCount).toBeGreaterThan(0);
    expect(restored.problemCount).toBeLessThan(8);
    expect(restored.files).toBe(30 - restored.problemCount);
    const names = readdirSync(join(place.top, 'restored'));
    expect(names).toHaveLength(restored.files);
    for (const name of names) {
      expect(readFileSync(join(place.top, 'restored', name)).equals(readFileSync(inTree(name)))).toBe(true);
    }
  });

  test('a truncated, a missing and a swapped pack are found by verify', async () => {
    const truncated = await damagedPlace((bytes) => bytes.subarray(0, bytes.length - 100));
    expect(truncated.report.problems).toEqual([
      { packId: truncated.pack.id, reason: 'it has another size than its index says' },
    ]);

    unlinkSync(place.packPath(truncated.pack.id));
    const reader = await place.reader();
    const checked = await reader.checkSection(truncated.section);
    expect(checked.problemCount).toBeGreaterThan(0);
    expect(checked.problems[0]?.reason).toContain('does not hold');
  });

  test('a whole repository verifies without a word', async () => {
    const { report } = await damagedPlace((bytes) => bytes);

    expect(report.problems).toEqual([]);
    expect(report.contentChecked).toBe(true);
    expect(report.chunks).toBe(place.catalogue.count());
  });
});

describe('cancelling', () => {
  test('a cancelled snapshot hands nothing more to the index and leaves no temporary files', async () => {
    for (let at = 0; at < 50; at++) writeFileSync(inTree(`f${at}`), randomBytes(200_000));
    const stop = new AbortController();
    stop.abort();

    await expect(place.backUp({ signal: stop.signal })).rejects.toMatchObject({ code: 'cancelled' });

    expect(place.catalogue.count()).toBe(0);
    const left = readdirSync(place.target.path, { recursive: true }).map(String);
    expect(left.filter((name) => name.includes('.tmp-'))).toEqual([]);
  });

  test('a cancelled restore leaves no staged files', async () => {
    writeFileSync(inTree('large'), randomBytes(3_000_000));
    const { section } = await place.backUp();
    const stop = new AbortController();
    const progress = () => stop.abort();

    await expect(restore(section, { signal: stop.signal, progress })).rejects.toMatchObject({
      code: 'cancelled',
    });

    expect(readdirSync(join(place.top, 'restored'))).toEqual([]);
  });

  test('when the index cannot be published the run fails', async () => {
    writeFileSync(inTree('file'), 'x');
    const onPacks = async () => {
      throw new Error('no index');
    };

    await expect(place.backUp({ onPacks })).rejects.toThrow('no index');
  });
});

test('owners come back for root', async () => {
  writeFileSync(inTree('theirs'), 'x');
  if (process.getuid?.() === 0) chownSync(inTree('theirs'), 1234, 4321);
  const { section } = await place.backUp();
  const report = await restore(section);

  const expected = lstatSync(inTree('theirs'));
  const found = lstatSync(join(place.top, 'restored', 'theirs'));
  expect([found.uid, found.gid]).toEqual([expected.uid, expected.gid]);
  expect(report.ownersNotRestored === 0).toBe(process.getuid?.() === 0);
});
