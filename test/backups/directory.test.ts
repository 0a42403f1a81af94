import { mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { probeTarget } from '../../server/backups/targets/probe.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { describeTarget } from './target-conformance.ts';

vi.setConfig({ testTimeout: 60_000 });

describeTarget('directory', () => {
  let top: string | undefined;
  const open = () => openTarget({ kind: 'directory', path: top ?? '' });
  return {
    async open() {
      top = await mkdtemp(join(tmpdir(), 'holdfast-target-'));
      return open();
    },
    reopen: open,
    async dispose() {
      if (top !== undefined) await rm(top, { recursive: true, force: true });
    },
  };
});

let top: string;
const config = () => ({ kind: 'directory' as const, path: join(top, 'target') });

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-directory-'));
  await mkdir(config().path);
});
afterEach(async () => {
  await rm(top, { recursive: true, force: true });
});

const PACK = `packs/aa/${'a'.repeat(64)}.age`;

describe('a directory target', () => {
  test('is not opened when it is missing, a file, or relative; nothing is created', async () => {
    await writeFile(join(top, 'file'), '');

    for (const path of [join(top, 'missing'), join(top, 'file')]) {
      await expect(openTarget({ kind: 'directory', path })).rejects.toMatchObject({
        code: 'unavailable',
        hint: expect.stringContaining('mount') as string,
      });
    }
    await expect(openTarget({ kind: 'directory', path: 'relative' })).rejects.toMatchObject({
      code: 'invalid_input',
    });
    expect(await readdir(top)).toEqual(['file', 'target']);
  });

  test('that vanished is not made again', async () => {
    const target = await openTarget(config());
    await target.create('HOLDFAST', Buffer.from('{}'));
    await rm(config().path, { recursive: true });

    for (const attempt of [
      () => target.write(PACK, Buffer.from('x')),
      () => target.create('HOLDFAST', Buffer.from('x')),
      () => target.find(PACK),
      () => target.read(PACK),
      () => target.delete(PACK),
      () => target.sweep(),
      () => target.freeBytes(),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'unavailable' });
    }
    expect(await readdir(top)).toEqual([]);
  });

  test('whose disk was unmounted leaves its empty mount point alone', async () => {
    const target = await openTarget(config());
    await target.create('HOLDFAST', Buffer.from('{}'));
    await rename(config().path, join(top, 'the-disk'));
    await mkdir(config().path);

    await expect(target.write(PACK, Buffer.from('x'))).rejects.toMatchObject({ code: 'unavailable' });
    const fresh = await openTarget(config());
    await expect(fresh.write(PACK, Buffer.from('x'))).rejects.toMatchObject({ code: 'unavailable' });

    expect(await readdir(config().path)).toEqual([]);
  });

  test('lets only our account read', async () => {
    const target = await openTarget(config());
    await target.create('HOLDFAST', Buffer.from('{}'));
    await target.write(PACK, Buffer.from('x'));

    expect((await stat(join(config().path, PACK))).mode & 0o777).toBe(0o600);
    expect((await stat(join(config().path, 'packs'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(config().path, 'packs/aa'))).mode & 0o777).toBe(0o700);
  });

  test('never lists, finds or follows temporaries and symbolic links', async () => {
    const target = await openTarget(config());
    await target.create('HOLDFAST', Buffer.from('{}'));
    await mkdir(join(config().path, 'packs/aa'), { recursive: true });
    await writeFile(join(config().path, 'packs/aa/.tmp-0011-left'), 'half');
    await symlink('/etc/passwd', join(config().path, PACK));

    const names: string[] = [];
    for await (const object of target.list('packs/')) names.push(object.name);
    expect(names).toEqual([]);
    expect(await target.find(PACK)).toBeUndefined();
    await expect(target.read(PACK)).rejects.toMatchObject({ code: 'unavailable' });

    expect(await target.sweep()).toBe(1);
    expect(await readdir(join(config().path, 'packs/aa'))).toEqual([`${'a'.repeat(64)}.age`]);
  });
});

describe('the probe', () => {
  const probe = (path = config().path, dataPath = top) =>
    probeTarget({ kind: 'directory', path }, { dataPath, clock: systemClock });
  const stateOf = (result: Awaited<ReturnType<typeof probe>>, name: string) =>
    result.checks.find((check) => check.name === name)?.state;

  test('says that a missing folder is missing', async () => {
    const result = await probe(join(top, 'missing'));

    expect(result.ok).toBe(false);
    expect(result.checks[0]?.message).toContain('is not there');
  });

  test('refuses a folder with something else in it', async () => {
    await writeFile(join(config().path, 'holiday.jpg'), 'x');

    const result = await probe();

    expect(result.ok).toBe(false);
    expect(stateOf(result, 'content')).toBe('bad');
    expect(await readdir(config().path)).toEqual(['holiday.jpg']);
  });

  test('finds an empty folder good, names the same disk, and leaves nothing', async () => {
    const result = await probe();

    expect(result).toMatchObject({ ok: true, sameDisk: true, existingRepository: null });
    expect(result.checks.find((check) => check.name === 'place')?.message).toContain(
      'local copy, not offsite',
    );
    expect(['write', 'read', 'list', 'space', 'clock'].map((name) => stateOf(result, name))).toEqual(
      Array.from({ length: 5 }, () => 'ok'),
    );
    expect(await readdir(config().path)).toEqual([]);
  });

  test('another disk is no local copy', async () => {
    expect((await probe(config().path, '/proc')).sameDisk).toBe(false);
  });

  test('names a repository that is there', async () => {
    await writeFile(join(config().path, 'HOLDFAST'), '{"repository":"r-1","format":1}');

    expect(await probe()).toMatchObject({ ok: true, existingRepository: 'r-1' });
  });

  test('warns of a clock that is hours away', async () => {
    const clock = { ...systemClock, now: () => new Date(Date.now() + 3 * 3600_000) };

    const result = await probeTarget(config(), { dataPath: top, clock });

    expect(stateOf(result, 'clock')).toBe('warn');
  });
});
