import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../server/lib/errors.ts';
import { RECORD_HEADER_BYTES, type FileSeal } from '../../server/workspaces/file-format.ts';
import { openStoredFile, readVerified, type ByteRange } from '../../server/workspaces/open-file.ts';
import { sealFile, sealSmallFile } from '../../server/workspaces/seal-file.ts';

const SEAL: FileSeal = {
  key: Buffer.alloc(32, 7),
  workspaceId: '11111111-1111-4111-8111-111111111111',
  subjectKeyId: '22222222-2222-4222-8222-222222222222',
  contentId: '33333333-3333-4333-8333-333333333333',
  version: 1,
};
const SMALL_SEGMENT = 1024;

async function seal(content: Buffer, cuts: number[] = [], segmentBytes = SMALL_SEGMENT): Promise<Buffer> {
  const parts: Buffer[] = [];
  const facts = await sealFile(pieces(content, cuts), SEAL, async (more) => void parts.push(...more), {
    segmentBytes,
  });
  const stored = Buffer.concat(parts);
  expect(facts.storedBytes).toBe(stored.length);
  expect(facts.storedSha256).toEqual(createHash('sha256').update(stored).digest());
  expect(facts.sha256).toBe(createHash('sha256').update(content).digest('hex'));
  return stored;
}

async function* pieces(content: Buffer, cuts: number[]): AsyncGenerator<Buffer> {
  const edges = [...cuts.map((cut) => cut % (content.length + 1)), content.length].sort((a, b) => a - b);
  let from = 0;
  for (const to of edges) {
    yield content.subarray(from, to);
    from = to;
  }
}

async function open(stored: Buffer, range?: ByteRange, with_: Partial<FileSeal> = {}): Promise<Buffer> {
  const reads: Buffer[] = [];
  const source = {
    sizeBytes: stored.length,
    read: async (offset: number, length: number) => Buffer.from(stored.subarray(offset, offset + length)),
  };
  const file = await openStoredFile(source, { ...SEAL, ...with_ });
  for await (const part of range === undefined ? readVerified(file) : file.read(range)) reads.push(part);
  return Buffer.concat(reads);
}

/** Half repeats, half noise, so that both kinds of segment occur. */
function mixedContent(length: number): Buffer {
  const content = Buffer.alloc(length, 'all work and no play ');
  for (let at = 0; at + SMALL_SEGMENT <= length; at += 2 * SMALL_SEGMENT)
    randomBytes(SMALL_SEGMENT).copy(content, at);
  return content;
}

const DAMAGED = expect.objectContaining({ code: 'integrity_failure' }) as Error;

describe('refusals', () => {
  test('a file opened for another workspace, subject key, content or version is refused', async () => {
    const stored = await seal(Buffer.from('for one place only'));

    const other = '99999999-9999-4999-8999-999999999999';
    for (const place of [
      { workspaceId: other },
      { subjectKeyId: other },
      { contentId: other },
      { version: 2 },
    ]) {
      await expect(open(stored, undefined, place)).rejects.toEqual(DAMAGED);
    }
    await expect(open(stored, undefined, { key: Buffer.alloc(32, 8) })).rejects.toEqual(DAMAGED);
  });

  test('every truncation is refused', async () => {
    const stored = await seal(mixedContent(2500));

    for (let length = 0; length < stored.length; length += 1) {
      await expect(open(stored.subarray(0, length))).rejects.toEqual(DAMAGED);
    }
  });

  test('a flipped bit in any byte is refused', async () => {
    const stored = await seal(mixedContent(2500));

    for (let at = 0; at < stored.length; at += 1) {
      const bad = Buffer.from(stored);
      bad.writeUInt8(bad.readUInt8(at) ^ (1 << (at % 8)), at);
      await expect(open(bad), `byte ${at}`).rejects.toEqual(DAMAGED);
    }
  });

  test('bytes added at the end or in the middle are refused', async () => {
    const stored = await seal(mixedContent(2500));

    await expect(open(Buffer.concat([stored, Buffer.from('x')]))).rejects.toEqual(DAMAGED);
    await expect(open(Buffer.concat([stored, stored]))).rejects.toEqual(DAMAGED);
    const middle = [stored.subarray(0, 20), Buffer.alloc(16), stored.subarray(20)];
    await expect(open(Buffer.concat(middle))).rejects.toEqual(DAMAGED);
  });

  test('swapped segments of equal length are refused', async () => {
    const stored = await seal(randomBytes(3 * SMALL_SEGMENT));
    const record = RECORD_HEADER_BYTES + SMALL_SEGMENT + 16;
    const [first, second] = [stored.subarray(8, 8 + record), stored.subarray(8 + record, 8 + 2 * record)];

    const swapped = Buffer.concat([stored.subarray(0, 8), second, first, stored.subarray(8 + 2 * record)]);

    await expect(open(swapped)).rejects.toEqual(DAMAGED);
  });

  test('a segment of another file under the same key is refused', async () => {
    const [one, two] = [await seal(randomBytes(SMALL_SEGMENT)), await seal(randomBytes(SMALL_SEGMENT))];
    const end = 8 + RECORD_HEADER_BYTES + SMALL_SEGMENT + 16;

    // Both were sealed for the same content id, which the product never does; only the footer's hash tells them apart.
    const mixed = Buffer.concat([two.subarray(0, end), one.subarray(end)]);

    await expect(open(mixed)).rejects.toEqual(DAMAGED);
  });

  test('a stream above its limit is refused', async () => {
    const sealing = sealFile(pieces(Buffer.alloc(5000), []), SEAL, async () => undefined, {
      maxBytes: 4999,
      segmentBytes: SMALL_SEGMENT,
    });

    await expect(sealing).rejects.toMatchObject({ code: 'too_large' });
  });

  test('a source that fails and a disk that fails both stop the sealing', async () => {
    async function* broken(): AsyncGenerator<Buffer> {
      yield randomBytes(3 * SMALL_SEGMENT);
      throw new HoldfastError('cancelled', 'gone');
    }
    const full = async () => {
      throw new HoldfastError('no_space', 'full');
    };

    await expect(
      sealFile(broken(), SEAL, async () => undefined, { segmentBytes: SMALL_SEGMENT }),
    ).rejects.toMatchObject({ code: 'cancelled' });
    await expect(
      sealFile(pieces(randomBytes(9 * SMALL_SEGMENT), []), SEAL, full, { segmentBytes: SMALL_SEGMENT }),
    ).rejects.toMatchObject({ code: 'no_space' });
  });
});

describe('round trips', () => {
  test('any content cut in any way comes back, whole and by range', async () => {
    const contents = fc.oneof(
      fc.uint8Array({ maxLength: 5000 }).map((bytes) => Buffer.from(bytes)),
      fc.integer({ min: 0, max: 12_000 }).map(mixedContent),
    );
    await fc.assert(
      fc.asyncProperty(
        contents,
        fc.array(fc.nat(), { maxLength: 8 }),
        fc.nat(),
        fc.nat(),
        async (content, cuts, a, b) => {
          const stored = await seal(content, cuts);
          const [start, end] = [a % (content.length + 1), b % (content.length + 2)];

          expect((await open(stored)).equals(content)).toBe(true);
          expect(
            (await open(stored, { start, end })).equals(content.subarray(start, Math.max(start, end))),
          ).toBe(true);
        },
      ),
      { numRuns: 120 },
    );
  });

  test('a stream of single bytes comes back', async () => {
    const content = mixedContent(2 * SMALL_SEGMENT + 1);

    const stored = await seal(content, [...content.keys()]);

    expect((await open(stored)).equals(content)).toBe(true);
  });

  test.each([0, 1, SMALL_SEGMENT - 1, SMALL_SEGMENT, SMALL_SEGMENT + 1, 4 * SMALL_SEGMENT])(
    'a content of %i bytes has as many segments as it needs',
    async (length) => {
      const content = randomBytes(length);

      const stored = await seal(content);

      expect((await open(stored)).equals(content)).toBe(true);
      expect(stored.length).toBeGreaterThan(length);
    },
  );

  test('what the quick way for small files writes opens like the rest', async () => {
    for (const content of [
      Buffer.alloc(0),
      Buffer.from('small'),
      mixedContent(200_000),
      randomBytes(1024 * 1024),
    ]) {
      const { stored, facts } = sealSmallFile(content, SEAL);

      expect((await open(stored)).equals(content)).toBe(true);
      expect(facts.storedSha256).toEqual(createHash('sha256').update(stored).digest());
      expect(facts.storedBytes).toBe(stored.length);
      expect(facts.sizeBytes).toBe(content.length);
    }
  });

  test('what shrinks is stored smaller, and what does not grows by its tags only', async () => {
    const text = await seal(Buffer.alloc(1_000_000, 'the same again '), [], 1024 * 1024);
    const noise = await seal(randomBytes(1_000_000), [], 1024 * 1024);

    expect(text.length).toBeLessThan(10_000);
    expect(noise.length).toBeLessThan(1_000_000 + 400);
  });

  test('a range reads only the segments it needs', async () => {
    const stored = await seal(randomBytes(64 * SMALL_SEGMENT));
    let readBytes = 0;
    const source = {
      sizeBytes: stored.length,
      read: async (offset: number, length: number) => {
        readBytes += length;
        return Buffer.from(stored.subarray(offset, offset + length));
      },
    };

    const file = await openStoredFile(source, SEAL);
    for await (const part of file.read({ start: 40 * SMALL_SEGMENT, end: 40 * SMALL_SEGMENT + 10 }))
      expect(part.length).toBe(10);

    expect(readBytes).toBeLessThan(4 * SMALL_SEGMENT);
  });
});

test('the vector opens, and its content is sealed to the same bytes', async () => {
  const vector = JSON.parse(readFileSync(new URL('../golden/stored-file.json', import.meta.url), 'utf8')) as {
    seal: Omit<FileSeal, 'key'> & { keyHex: string };
    segmentBytes: number;
    contentHex: string;
    storedHex: string;
  };
  const { keyHex, ...ids } = vector.seal;
  const place: FileSeal = { ...ids, key: Buffer.from(keyHex, 'hex') };
  const stored = Buffer.from(vector.storedHex, 'hex');
  const content = Buffer.from(vector.contentHex, 'hex');

  expect((await open(stored, undefined, place)).equals(content)).toBe(true);
  const parts: Buffer[] = [];
  await sealFile(pieces(content, []), place, async (more) => void parts.push(...more), {
    segmentBytes: vector.segmentBytes,
  });
  expect(Buffer.concat(parts).toString('hex')).toBe(vector.storedHex);
});
