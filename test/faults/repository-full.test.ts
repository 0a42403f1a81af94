/**
 * A target that fills up or vanishes in mid-run. Full is a tmpfs of a few MiB where we may mount one (root), else a limit on the
 * size of files (RLIMIT_FSIZE through `prlimit`), which fails a write in the same place with EFBIG.
 */
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import {
  bytesOf,
  createPlace,
  openPlace,
  openPlaceWriter,
  type Place,
  readFiles,
  storeFiles,
  takeSnapshot,
} from '../backups/repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const FILES = { 'a.bin': bytesOf('a', 30_000) };

let place: Place;
beforeEach(async () => {
  place = await createPlace();
  await takeSnapshot(place, FILES);
});
afterEach(async () => {
  await place.dispose();
});

describe('a target that vanishes in mid-run', () => {
  test('ends the run with a hint, is not made again, and is whole when it comes back', async () => {
    const repository = await openPlace(place);
    const writer = await openPlaceWriter(place, repository);
    const draft = await storeFiles(
      repository,
      writer,
      place.local.writeKeys,
      { b: bytesOf('b', 9000) },
      place.clock,
    );
    await rename(place.path, `${place.path}-gone`);
    await mkdir(place.path);

    for (const attempt of [() => writer.flush(), () => writer.publishSnapshot(draft), () => writer.prune()]) {
      await expect(attempt()).rejects.toMatchObject({
        code: 'unavailable',
        hint: expect.stringContaining('mount') as string,
      });
    }
    expect(await readdir(place.path)).toEqual([]);
    await repository.close();
    await expect(openPlace(place)).rejects.toMatchObject({ code: 'no_repository' });
    expect(await readdir(place.path)).toEqual([]);

    await rm(place.path, { recursive: true });
    await rename(`${place.path}-gone`, place.path);
    await takeSnapshot(place, { b: bytesOf('b', 9000) });
    const after = await openPlace(place);
    expect(after.warnings).toEqual([]);
    expect(await readFiles(after, '1')).toEqual(FILES);
    expect(await readFiles(after, 'latest')).toEqual({ b: bytesOf('b', 9000) });
    await after.close();
  });
});

const canMount = process.getuid?.() === 0 && mounts();

function mounts(): boolean {
  const made = spawnSync('unshare', ['--mount', 'true']);
  return made.status === 0;
}

describe('a full target', () => {
  test.runIf(canMount)('says so with a hint, leaves no half object, and the next run goes on', async () => {
    const small = join(place.top, 'small');
    await mkdir(small);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0700', 'tmpfs', small]).status).toBe(0);
    try {
      const target = await openTarget({ kind: 'directory', path: small });
      await target.create('HOLDFAST', Buffer.from('{}'));
      const names = ['a', 'b', 'c', 'd'].map((letter) => `packs/aa/${letter.repeat(64)}.age`);
      const written: string[] = [];
      for (const name of names) {
        try {
          await target.write(name, bytesOf(name, 400_000));
          written.push(name);
        } catch (error) {
          expect(error).toMatchObject({ code: 'no_space', hint: expect.stringContaining('space') as string });
        }
      }
      expect(written).toHaveLength(2);
      expect((await readdir(join(small, 'packs/aa'))).length).toBe(2);

      await target.delete(names[0] ?? '');
      await target.write(names[2] ?? '', bytesOf('x', 400_000));
      expect((await target.read(names[2] ?? '')).equals(bytesOf('x', 400_000))).toBe(true);
    } finally {
      spawnSync('umount', ['-l', small]);
    }
  });

  test('met by a whole run ends it with no_space; what was there stays whole, and the next run finishes', async () => {
    const repository = await openPlace(place);
    const { target } = repository;
    const writer = await openPlaceWriter(place, repository);
    const draft = await storeFiles(
      repository,
      writer,
      place.local.writeKeys,
      { b: bytesOf('b', 9000) },
      place.clock,
    );
    await writer.flush();
    const limit = spawnSync('prlimit', ['--pid', String(process.pid), '--fsize=100:']);
    expect(limit.status, String(limit.stderr)).toBe(0);
    process.on('SIGXFSZ', () => undefined);
    try {
      await expect(target.write(`packs/ff/${'f'.repeat(64)}.age`, bytesOf('f', 5000))).rejects.toMatchObject({
        code: 'no_space',
      });
      await expect(writer.publishSnapshot(draft)).rejects.toMatchObject({ code: 'no_space' });
    } finally {
      spawnSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited:']);
    }
    await repository.close();

    await takeSnapshot(place, { b: bytesOf('b', 9000) });
    const after = await openPlace(place);
    expect(after.warnings).toEqual([]);
    expect(await verifyRepository(after, { everyByte: true })).toMatchObject({ ok: true });
    expect(await readFiles(after, '1')).toEqual(FILES);
    await after.close();
  });

  test('cannot be filled by leftovers: temporaries of killed runs are swept by the next', async () => {
    await writeFile(join(place.path, 'packs', '.tmp-0123456789ab-left'), bytesOf('x', 1000));

    await takeSnapshot(place, { b: bytesOf('b', 9000) });

    expect((await readdir(join(place.path, 'packs'))).filter((name) => name.startsWith('.tmp-'))).toEqual([]);
  });
});
