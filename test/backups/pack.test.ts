import { randomBytes } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkChunk,
  chunkIdOf,
  compressChunk,
  decompressChunk,
  fileHashOf,
  MAX_CHUNK_BYTES,
  maxFrameBytes,
  sha256,
} from '../../server/backups/pipeline/chunk.ts';
import { ChunkTable } from '../../server/backups/pipeline/chunk-table.ts';
import {
  createPackBuilder,
  decodePackIndex,
  encodePackIndex,
  packBufferBytes,
  preparePackHeader,
} from '../../server/backups/pipeline/pack.ts';
import { findHoles, joinHoles, outsideHoles } from '../../server/backups/pipeline/holes.ts';
import { decryptAge, generateAgeIdentity } from '../../server/keys/index.ts';
import { runProcess } from '../../server/lib/spawn.ts';
import { tool } from '../helpers/tools.ts';

const SECRET = randomBytes(32);
const { identity, recipient } = await generateAgeIdentity();

async function buildPack(contents: readonly Uint8Array[]) {
  const packBytes = 256 * 1024;
  const builder = createPackBuilder({
    buffer: Buffer.allocUnsafe(packBufferBytes(packBytes)),
    packBytes,
    kind: 'data',
    generation: 1,
    age: await preparePackHeader(recipient),
  });
  for (const content of contents) {
    builder.add(chunkIdOf(SECRET, sha256(content)), compressChunk(content), content.length);
  }
  return builder.finish();
}

describe('chunks', () => {
  test('a chunk that is not what its id says is refused', () => {
    const chunk = randomBytes(1000);
    const id = chunkIdOf(SECRET, sha256(chunk));
    chunk[500] = (chunk[500] ?? 0) ^ 1;

    expect(() => checkChunk(SECRET, id, chunk)).toThrow(/not what its id says/);
  });

  test('a length beyond the limit is refused before anything is decompressed', () => {
    const bomb = compressChunk(Buffer.alloc(MAX_CHUNK_BYTES));

    expect(() => decompressChunk(bomb, MAX_CHUNK_BYTES + 1)).toThrow(/impossible length/);
    expect(() => decompressChunk(bomb, -1)).toThrow(/impossible length/);
    expect(() => decompressChunk(bomb, 1.5)).toThrow(/impossible length/);
  });

  test('a frame that yields more or less than its index says is refused', () => {
    const frame = compressChunk(Buffer.alloc(10_000));

    expect(() => decompressChunk(frame, 9_999)).toThrow();
    expect(() => decompressChunk(frame, 10_001)).toThrow(/another length/);
  });

  test('every truncation of a frame is refused', () => {
    const frame = compressChunk(randomBytes(300));

    for (let length = 0; length < frame.length; length++) {
      expect(() => decompressChunk(frame.subarray(0, length), 300)).toThrow();
    }
  });

  test('any chunk comes back, in a frame of bounded length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50_000 }), (bytes) => {
        const frame = compressChunk(bytes);
        expect(frame.length).toBeLessThanOrEqual(maxFrameBytes(bytes.length));
        expect(decompressChunk(frame, bytes.length).equals(bytes)).toBe(true);
      }),
    );
  });

  test('a file hash is the SHA-256 of one chunk, of nothing for none, else of the chunks’ SHA-256s', () => {
    const [a, b] = [randomBytes(10), randomBytes(10)];

    expect(fileHashOf(sha256(a)).equals(sha256(a))).toBe(true);
    expect(fileHashOf(Buffer.alloc(0)).toString('hex')).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    );
    const both = Buffer.concat([sha256(a), sha256(b)]);
    expect(fileHashOf(both).equals(sha256(both))).toBe(true);
  });
});

describe('packs', () => {
  const contents = [randomBytes(5000), Buffer.from('text '.repeat(3000)), Buffer.from('x')];

  test('a pack’s payload is its frames and an index that names each', async () => {
    const { pack, bytes } = await buildPack(contents);

    const plain = await decryptAge(bytes, [identity]);
    const index = decodePackIndex(plain);

    expect(index).toEqual({ kind: 'data', chunks: pack.chunks });
    expect(pack.id).toBe(sha256(bytes).toString('hex'));
    for (const [at, chunk] of index.chunks.entries()) {
      const frame = plain.subarray(chunk.offset, chunk.offset + chunk.storedLength);
      expect(decompressChunk(frame, chunk.originalLength).equals(contents[at] ?? Buffer.alloc(0))).toBe(true);
    }
    expect(
      zstdDecompressSync(plain)
        .subarray(0, 5000)
        .equals(contents[0] ?? Buffer.alloc(0)),
    ).toBe(true);
  });

  test('stock age and zstd turn a pack into its chunks', async () => {
    const { bytes } = await buildPack(contents);
    const [age, zstd] = [tool('age'), tool('zstd')];
    const script = '"$AGE" -d -i <(echo "$IDENTITY") | "$ZSTD" -d -c | sha256sum';

    const done = await runProcess('bash', ['-c', script], {
      env: { ...age.env, AGE: age.path, ZSTD: zstd.path, IDENTITY: identity },
      timeoutMs: 20_000,
      input: bytes,
    });

    expect(done.stdout.slice(0, 64)).toBe(sha256(Buffer.concat(contents)).toString('hex'));
  });

  test('every truncation of a pack’s plaintext is refused', async () => {
    const { bytes } = await buildPack([randomBytes(300), randomBytes(200)]);
    const plain = await decryptAge(bytes, [identity]);

    for (let length = 0; length < plain.length; length++) {
      expect(() => decodePackIndex(plain.subarray(0, length))).toThrow(/damaged/);
    }
  });

  test('an index that does not fit the pack is refused', async () => {
    const chunk = { id: 'ab'.repeat(32), offset: 0, storedLength: 10, originalLength: 20 };
    const frames = Buffer.alloc(10);
    const cases: [string, typeof chunk][] = [
      ['chunks too short', { ...chunk, storedLength: 9 }],
      ['a malformed id', { ...chunk, id: 'xyz' }],
      ['a negative length', { ...chunk, storedLength: -1 }],
      ['an oversize length', { ...chunk, originalLength: MAX_CHUNK_BYTES * 2 }],
    ];

    expect(decodePackIndex(Buffer.concat([frames, encodePackIndex('tree', [chunk])])).kind).toBe('tree');
    for (const [, wrong] of cases) {
      expect(() => decodePackIndex(Buffer.concat([frames, encodePackIndex('data', [wrong])]))).toThrow(
        /damaged/,
      );
    }
  });

  test('a pack that is full takes no more, an empty one takes any chunk', async () => {
    const packBytes = 64 * 1024;
    const builder = createPackBuilder({
      buffer: Buffer.allocUnsafe(packBufferBytes(packBytes)),
      packBytes,
      kind: 'data',
      generation: 1,
      age: await preparePackHeader(recipient),
    });

    expect(builder.fits(maxFrameBytes(MAX_CHUNK_BYTES))).toBe(true);
    const chunk = randomBytes(MAX_CHUNK_BYTES);
    builder.add(chunkIdOf(SECRET, sha256(chunk)), compressChunk(chunk), chunk.length);

    expect(builder.fits(1)).toBe(false);
    expect(builder.finish().pack.chunks).toHaveLength(1);
  });
});

describe('the shared table of chunks', () => {
  test('an id is claimed once, and known from then on', () => {
    const table = new ChunkTable([ChunkTable.allocate(0)]);
    const ids = Array.from({ length: 10_000 }, () => randomBytes(32));

    expect(ids.every((id) => !table.has(id))).toBe(true);
    expect(ids.every((id) => table.claim(id))).toBe(true);
    expect(ids.every((id) => table.has(id) && !table.claim(id))).toBe(true);
    expect(table.has(randomBytes(32))).toBe(false);
  });

  test('a crowded table gets a larger one beside it, seen by whoever attached it', () => {
    const memories = [ChunkTable.allocate(0)];
    const [writer, other] = [new ChunkTable(memories), new ChunkTable(memories)];
    const ids = Array.from({ length: 150_000 }, () => randomBytes(32));
    for (const id of ids) {
      writer.claim(id);
      const more = writer.next();
      if (more === undefined) continue;
      writer.attach(more);
      other.attach(more);
    }

    expect(ids.every((id) => other.has(id))).toBe(true);
  });

  test('a full table never says that an unknown chunk is known', () => {
    const table = new ChunkTable([ChunkTable.allocate(0)]);
    for (let at = 0; at < 70_000; at++) table.claim(randomBytes(32));

    for (let at = 0; at < 1000; at++) expect(table.has(randomBytes(32))).toBe(false);
  });
});

describe('holes', () => {
  test('what lies outside of the holes is what is not zero, whatever the chunks', () => {
    const pages = fc.array(fc.boolean(), { minLength: 1, maxLength: 80 });
    fc.assert(
      fc.property(pages, fc.integer({ min: 1, max: 30 }), (filled, chunkPages) => {
        const data = Buffer.concat(filled.map((full) => Buffer.alloc(4096, full ? 7 : 0)));
        const holes: [number, number][] = [];
        for (let at = 0; at < data.length; at += chunkPages * 4096) {
          holes.push(...findHoles(data.subarray(at, at + chunkPages * 4096), at));
        }
        const written = Buffer.alloc(data.length);
        for (const [at, length] of outsideHoles(0, data.length, joinHoles(holes)))
          data.copy(written, at, at, at + length);
        expect(written.equals(data)).toBe(true);
      }),
    );
  });
});
