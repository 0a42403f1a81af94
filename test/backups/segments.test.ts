import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutChunkLists, decodeChunkList } from '../../server/backups/pipeline/chunk-source.ts';
import { decodeEntry, encodeEntry, pathKeys, pathOf } from '../../server/backups/pipeline/file-entry.ts';
import { decodeSegment } from '../../server/backups/pipeline/list-entries.ts';
import { byteStringOf, displayPath, isSafeRelative } from '../../server/backups/pipeline/path-bytes.ts';
import { createSectionBuilder } from '../../server/backups/pipeline/section-builder.ts';
import { openChunkWriter } from '../../server/backups/pipeline/index.ts';
import { createEnginePlace } from './engine-place.ts';

const anyBytes = fc
  .uint8Array({ minLength: 1, maxLength: 40 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

async function build(paths: readonly string[], mtime = '1') {
  const stored = new Map<string, Buffer>();
  const builder = createSectionBuilder(async (segment, digest) => {
    const id = digest.toString('hex');
    stored.set(id, segment);
    return id;
  });
  for (const path of paths) {
    await builder.add(path, encodeEntry({ ...pathKeys(path), type: 'file', mtime, hash: 'ab'.repeat(40) }));
  }
  return { segments: await builder.finish(), stored };
}

describe('entries', () => {
  test('any bytes of a path come back, as text only when they are UTF-8', () => {
    fc.assert(
      fc.property(anyBytes, (path) => {
        const line = encodeEntry({ type: 'file', ...pathKeys(path) });
        expect(line.indexOf('\n')).toBe(line.length - 1);
        expect(pathOf(decodeEntry(line))).toBe(path);
      }),
    );
    expect(pathKeys(byteStringOf('grün'))).toEqual({ path: 'grün' });
    expect(pathKeys('\xff')).toEqual({ pathB64: '/w==' });
    expect(displayPath(byteStringOf('日本'))).toBe('日本');
  });

  test('what is no entry is refused', () => {
    for (const line of ['', '{', 'null', '[]', '{"path":"x"}', '{"type":"door","path":"x"}']) {
      expect(() => decodeEntry(line)).toThrow();
    }
    expect(() => pathOf({ type: 'file' })).toThrow(/no path/);
  });

  test('a path that leads outside is not safe', () => {
    for (const path of ['', '/a', 'a/', 'a//b', '.', '..', 'a/../b', 'a/./b', 'a\0b', 'a'.repeat(256)]) {
      expect(isSafeRelative(path)).toBe(false);
    }
    for (const path of ['a', 'a/b', '...', '..a', 'new\nline', 'a'.repeat(255)]) {
      expect(isSafeRelative(path)).toBe(true);
    }
  });
});

describe('segments', () => {
  test('joined in order they are the sorted lines, each segment as its reference says', async () => {
    const several = fc.uniqueArray(anyBytes, { maxLength: 60 }).map((paths) => paths.sort());
    await fc.assert(
      fc.asyncProperty(several, async (paths) => {
        const { segments, stored } = await build(paths);
        const found = segments.flatMap((segment) => {
          const data = stored.get(segment.chunk) ?? Buffer.alloc(0);
          expect([data.length, sha256(data)]).toEqual([segment.bytes, segment.sha256]);
          return decodeSegment(data, segment).map(({ path }) => path);
        });
        expect(found).toEqual(paths);
      }),
      { numRuns: 30 },
    );
  });

  test('paths out of order are refused', async () => {
    await expect(build(['b', 'a'])).rejects.toThrow(/order/);
    await expect(build(['a', 'a'])).rejects.toThrow(/order/);
  });

  test('a list that is unsorted, short, or another than named is refused', async () => {
    const { segments, stored } = await build(['a', 'b', 'c']);
    const [segment] = segments;
    if (segment === undefined) throw new Error('no segment');
    const data = stored.get(segment.chunk) ?? Buffer.alloc(0);
    const swapped = Buffer.from(data.toString().split('\n').slice(0, 3).reverse().join('\n') + '\n');

    expect(() => decodeSegment(data.subarray(0, -1), segment)).toThrow();
    expect(() => decodeSegment(swapped, segment)).toThrow(/sorted/);
    expect(() => decodeSegment(data, { ...segment, lines: 2 })).toThrow(/number of lines/);
    expect(() => decodeSegment(data, { ...segment, first: 'Yg==' })).toThrow(/another path/);
  });

  test('they are about 1 MiB, and a changed, added or removed file leaves most of them as they were', async () => {
    const paths = Array.from({ length: 40_000 }, (_, at) => `folder/${String(at).padStart(6, '0')}`);
    const before = await build(paths);
    const after = await build([...paths.slice(0, 20_000), 'folder/020000x', ...paths.slice(20_002)]);

    const sizes = before.segments.map(({ bytes }) => bytes);
    expect(Math.max(...sizes)).toBeLessThan(2.2 * 1024 * 1024);
    expect(sizes.length).toBeGreaterThan(3);
    const known = new Set(before.segments.map(({ chunk }) => chunk));
    expect(after.segments.filter(({ chunk }) => !known.has(chunk)).length).toBeLessThanOrEqual(2);
  });
});

test('lists of chunks give back every id, in order', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), (count) => {
      const ids = Buffer.alloc(count * 32);
      for (let at = 0; at < count; at++) ids.writeUInt32LE(at, at * 32);
      const lists = [...cutChunkLists(ids)].map((list) => Buffer.from(list));

      const joined = lists.flatMap((list) => decodeChunkList(list)).join('');
      expect(joined).toBe(ids.toString('hex'));
    }),
    { numRuns: 20 },
  );
  expect(() => decodeChunkList(Buffer.alloc(31))).toThrow();
  expect(() => decodeChunkList(Buffer.alloc(0))).toThrow();
});

describe('a source of streams', () => {
  test('takes contents in any order of paths and any sizes of pieces', async () => {
    const place = await createEnginePlace();
    const writer = openChunkWriter({
      target: place.target,
      generation: place.generation,
      catalogue: place.catalogue,
      onPacks: async (packs) => place.catalogue.add(packs),
    });
    const source = writer.openSource('base', 'postgres', { timeline: 1 });
    const large = Buffer.alloc(5_000_000, 'relation ');
    const pieces = [large.subarray(0, 1), large.subarray(1, 100_001), large.subarray(100_001)];
    await source.addFile({ path: 'z', type: 'file' }, pieces, { chunkBytes: 48 * 1024 });
    const small = await source.addFile({ path: 'a', type: 'file' }, [Buffer.from('x')], { chunkBytes: 8192 });
    await source.addFile({ path: 'empty', type: 'file' }, [], { chunkBytes: 8192 });
    source.addEntry({ path: 'b', type: 'directory', mode: 0o700 });
    source.addEntry({ ...small, path: 'again' });
    const section = await source.finish();
    const [known, unknown] = writer.has([small.chunks?.[0] ?? '', '00'.repeat(32)]);
    await writer.finish();

    const reader = await place.reader();
    const content = new Map<string, Buffer>();
    for await (const entry of reader.listEntries(section)) {
      const parts: Buffer[] = [];
      if (entry.type === 'file') for await (const part of reader.readFile(entry)) parts.push(part);
      content.set(entry.path ?? '', Buffer.concat(parts));
    }
    expect([known, unknown]).toEqual([true, false]);
    expect([...content.keys()]).toEqual(['a', 'again', 'b', 'empty', 'z']);
    expect(content.get('z')?.equals(large)).toBe(true);
    expect(content.get('again')?.toString()).toBe('x');
    expect([section.fileCount, section.directoryCount, section.sizeBytes]).toEqual([4, 1, 5_000_002]);
    await place.dispose();
  });
});

describe('memory', () => {
  test('does not grow with the number of files', { timeout: 900_000 }, async () => {
    const many = process.env.SLOW === '1' ? 200_000 : 6_000;
    const place = await createEnginePlace();
    for (let at = 0; at < many; at++) {
      if (at % 1000 === 0) mkdirSync(join(place.tree, `d${at / 1000}`));
      writeFileSync(join(place.tree, `d${Math.floor(at / 1000)}`, `f${at}`), String(at));
    }
    const before = process.memoryUsage().heapUsed;
    let highest = 0;
    const watch = setInterval(() => (highest = Math.max(highest, process.memoryUsage().heapUsed)), 20);
    const writer = openChunkWriter({
      target: place.target,
      generation: place.generation,
      // What a catalogue on disk keeps out of memory: nothing is remembered here.
      catalogue: { locate: () => [], ids: () => [], count: () => 0, noteSegment: () => undefined },
      onPacks: async () => undefined,
    });
    const section = await writer.addTree(place.tree, { name: 'many' });
    await writer.finish();
    clearInterval(watch);
    await place.dispose();

    expect(section.fileCount).toBe(many);
    expect(highest - before).toBeLessThan(120 * 1024 * 1024);
  });
});
