/** What every kind of target must do. Each kind's test runs this suite on a place of its own. */
import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Target } from '../../server/backups/engine.ts';

export interface TargetHarness {
  /** An empty place. */
  open(): Promise<Target>;
  /** A second, independent connection to the same place. */
  reopen(): Promise<Target>;
  /** Removes the place. */
  dispose(): Promise<void>;
}

const HASH = 'a'.repeat(64);
const PACK = `packs/aa/${HASH}.age`;

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

async function namesIn(target: Target, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const object of target.list(prefix)) names.push(object.name);
  return names.sort();
}

export function describeTarget(kind: string, harness: () => TargetHarness): void {
  describe(`a ${kind} target`, () => {
    let place: TargetHarness;
    let target: Target;

    beforeEach(async () => {
      place = harness();
      target = await place.open();
    });
    afterEach(async () => {
      await target.close();
      await place.dispose();
    });

    const begin = () => target.create('HOLDFAST', Buffer.from('{}\n'));

    test.each([
      '',
      '/',
      'packs',
      'packs/',
      'packs//x',
      '/etc/passwd',
      'packs/../../x',
      'packs/./x',
      'packs/.hidden',
      'packs/a\0b',
      'packs/a\nb',
      'other/x',
      'HOLDFAST/x',
      `packs/${'a'.repeat(300)}`,
      'packs/ä',
      'packs/a/b/c/d/e/f',
    ])('refuses the name %j everywhere', async (name) => {
      await begin();

      for (const attempt of [
        () => target.find(name),
        () => target.read(name),
        () => target.write(name, Buffer.from('x')),
        () => target.create(name, Buffer.from('x')),
        () => target.delete(name),
        () => target.readBack(name),
      ]) {
        await expect(attempt()).rejects.toMatchObject({ code: 'invalid_input' });
      }
      expect(await namesIn(target, '')).toEqual(['HOLDFAST']);
    });

    test('an empty place takes nothing but the hint and keys, so that a lost disk is not replaced', async () => {
      await expect(target.write(PACK, Buffer.from('x'))).rejects.toMatchObject({
        code: 'unavailable',
        hint: expect.stringContaining('mount') as string,
      });
      expect(await namesIn(target, '')).toEqual([]);

      await target.create(`keys/1-${HASH}.age`, Buffer.from('k'));
      await target.write(PACK, Buffer.from('x'));
      expect(await namesIn(target, '')).toEqual([`keys/1-${HASH}.age`, PACK]);
    });

    test('an absent object is not found, and deleting it is fine', async () => {
      await begin();

      expect(await target.find(PACK)).toBeUndefined();
      await expect(target.read(PACK)).rejects.toMatchObject({ code: 'not_found' });
      await expect(target.readBack(PACK)).rejects.toMatchObject({ code: 'not_found' });
      await target.delete(PACK);
    });

    test('what was written is read, whole and in parts, also by another connection', async () => {
      await begin();
      const data = randomBytes(300_000);

      await target.write(PACK, [data.subarray(0, 1), data.subarray(1, 70_000), data.subarray(70_000)]);

      const other = await place.reopen();
      for (const each of [target, other]) {
        expect(await each.find(PACK)).toEqual({ name: PACK, sizeBytes: data.length });
        expect((await each.read(PACK)).equals(data)).toBe(true);
        expect((await each.read(PACK, { offset: 100, length: 50 })).equals(data.subarray(100, 150))).toBe(
          true,
        );
        expect((await each.read(PACK, { offset: 299_999, length: 1 })).equals(data.subarray(299_999))).toBe(
          true,
        );
        expect(await each.readBack(PACK)).toEqual({ sizeBytes: data.length, sha256: sha256(data) });
      }
      await other.close();
    });

    test.each([0, 1, 4095, 4096, 4097, 1024 * 1024, 2 * 1024 * 1024 + 17])(
      'an object of %i bytes reads back with its hash',
      async (size) => {
        await begin();
        const data = randomBytes(size);

        await target.write(PACK, data);

        expect(await target.readBack(PACK)).toEqual({ sizeBytes: size, sha256: sha256(data) });
        expect((await target.read(PACK)).equals(data)).toBe(true);
      },
    );

    test('a read behind the end says that the object is cut short', async () => {
      await begin();
      await target.write(PACK, Buffer.from('12345'));

      await expect(target.read(PACK, { offset: 3, length: 3 })).rejects.toMatchObject({
        code: 'integrity_failure',
      });
      await expect(target.read(PACK, { offset: 9, length: 1 })).rejects.toMatchObject({
        code: 'integrity_failure',
      });
    });

    test('an object is never overwritten', async () => {
      await begin();
      await target.write(PACK, Buffer.from('first'));

      await expect(target.write(PACK, Buffer.from('longer than first'))).rejects.toMatchObject({
        code: 'conflict',
      });
      await expect(target.create(PACK, Buffer.from('first'))).rejects.toMatchObject({ code: 'conflict' });
      await target.write(PACK, Buffer.from('FIRST'));

      expect((await target.read(PACK)).toString()).toBe('first');
    });

    test('of many who create one name, exactly one succeeds', async () => {
      await begin();
      const other = await place.reopen();

      const attempts = await Promise.allSettled(
        Array.from({ length: 16 }, (_, index) =>
          (index % 2 === 0 ? target : other).create('writers/7', Buffer.from(`writer ${String(index)}`)),
        ),
      );

      const winners = attempts.flatMap((attempt, index) => (attempt.status === 'fulfilled' ? [index] : []));
      expect(winners).toHaveLength(1);
      expect((await target.read('writers/7')).toString()).toBe(`writer ${String(winners[0])}`);
      for (const attempt of attempts) {
        if (attempt.status === 'rejected') expect(attempt.reason).toMatchObject({ code: 'conflict' });
      }
      await other.close();
    });

    test('a listing names whole objects below a prefix with their sizes', async () => {
      await begin();
      await target.write(PACK, Buffer.alloc(10));
      await target.write(`packs/bb/${HASH}.age`, Buffer.alloc(20));
      await target.write('heads/1-x', Buffer.alloc(3));

      expect(await namesIn(target, 'packs/')).toEqual([PACK, `packs/bb/${HASH}.age`]);
      expect(await namesIn(target, 'packs/aa/')).toEqual([PACK]);
      expect(await namesIn(target, 'ledger/')).toEqual([]);
      expect(await namesIn(target, '')).toEqual(['HOLDFAST', 'heads/1-x', PACK, `packs/bb/${HASH}.age`]);
      const sizes = [];
      for await (const object of target.list('packs/')) sizes.push(object.sizeBytes);
      expect(sizes.sort()).toEqual([10, 20]);
    });

    test('a deleted object is gone from every view', async () => {
      await begin();
      await target.write(PACK, Buffer.from('x'));

      await target.delete(PACK);

      expect(await target.find(PACK)).toBeUndefined();
      expect(await namesIn(target, 'packs/')).toEqual([]);
      await target.write(PACK, Buffer.from('again'));
      expect((await target.read(PACK)).toString()).toBe('again');
    });

    test('many objects are written at once', async () => {
      await begin();
      const objects = Array.from({ length: 40 }, (_, index) => {
        const data = randomBytes(10_000 + index);
        return { name: `packs/${sha256(data).slice(0, 2)}/${sha256(data)}.age`, data };
      });

      await Promise.all(objects.map((object) => target.write(object.name, object.data)));

      expect(await namesIn(target, 'packs/')).toEqual(objects.map((object) => object.name).sort());
      for (const object of objects) expect((await target.read(object.name)).equals(object.data)).toBe(true);
    });

    test('it tells its free space and the time, when it has a clock', async () => {
      await begin();

      const free = await target.freeBytes();
      if (free !== undefined) expect(free).toBeGreaterThan(0);
      const now = await target.now();
      if (now !== undefined) expect(Math.abs(now.getTime() - Date.now())).toBeLessThan(60_000);
      expect(await namesIn(target, '')).toEqual(['HOLDFAST']);
      expect(await target.sweep()).toBe(0);
    });
  });
}
