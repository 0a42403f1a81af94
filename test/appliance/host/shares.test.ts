/** Shares with real mounts: a tmpfs stands for the server or disk. What NFS and SMB themselves do is shown in the virtual machine. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Value } from 'typebox/value';
import { hostPlaces } from '../../../server/appliance/host/host-places.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import {
  isMounted,
  mountArguments,
  mountUnit,
  unitName,
} from '../../../server/appliance/host/shares/mount.ts';
import type { MountTool } from '../../../server/appliance/host/shares/mount.ts';
import { AddShareRequest, SharePlace } from '../../../server/appliance/host/shares/schema.ts';
import { openShares, type Shares } from '../../../server/appliance/host/shares/shares.ts';
import { openDirectoryTarget } from '../../../server/backups/targets/directory.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { createLog } from '../../../server/lib/log.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { isRoot } from '../../helpers/other-account.ts';

const actor = { kind: 'console' as const, label: 'test' };
const nfs = { kind: 'nfs' as const, server: 'nas.example.org', export: '/exports/backup' };
const smb = { kind: 'smb' as const, server: 'nas', share: 'backup', username: 'holdfast' };

let top: string;
let shares: Shares;
/** What the server holds: the folder is bound to the mount point. */
let server: string;
const points: string[] = [];

beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-shares-'));
  server = join(top, 'server');
  await mkdir(server);
  const places = hostPlaces(top);
  const mounts: MountTool = {
    async mount({ point }) {
      points.push(point);
      const ended = await runProcess('mount', ['--bind', server, point], { timeoutMs: 10_000 });
      if (ended.exitCode !== 0) throw new Error(ended.stderr);
    },
    async unmount({ point }) {
      await runProcess('umount', [point], { timeoutMs: 10_000 });
    },
  };
  shares = openShares({
    ...{ places, clock: systemClock, log: createLog('error', 'test'), mounts },
    journal: openJournal(places.state, systemClock),
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  });
});

afterEach(async () => {
  for (const point of points.splice(0)) await runProcess('umount', [point], { timeoutMs: 10_000 });
  await rm(top, { recursive: true, force: true });
});

const add = (request: Partial<AddShareRequest> = {}) =>
  shares.add({ actor, label: 'NAS', place: nfs, ...request });

describe.runIf(isRoot)('a share', () => {
  test('that was added is a place for backups, in a folder of its own', async () => {
    const share = await add();

    expect(share).toMatchObject({ state: 'mounted', message: null });
    await expect(openDirectoryTarget({ kind: 'directory', path: share.path })).resolves.toBeDefined();
    expect((await stat(join(server, 'holdfast'))).isDirectory()).toBe(true);
  });

  test('that vanished is never taken for an empty folder: the target says so, and nothing can be written below', async () => {
    const share = await add();
    await runProcess('umount', [join(share.path, '..')], { timeoutMs: 10_000 });

    const [found] = await shares.list();

    expect(found).toMatchObject({ state: 'away', message: expect.stringMatching(/not mounted/) as string });
    await expect(openDirectoryTarget({ kind: 'directory', path: share.path })).rejects.toThrow();
    expect((await stat(join(share.path, '..'))).mode & 0o777).toBe(0);
  });

  test('in whose place another one lies is unmounted again, and nothing is made in it', async () => {
    const share = await add();
    await runProcess('umount', [join(share.path, '..')], { timeoutMs: 10_000 });
    server = join(top, 'other');
    await mkdir(join(server, 'holdfast'), { recursive: true });

    const [away] = await shares.mountAll();

    expect(away).toMatchObject({
      state: 'away',
      message: expect.stringMatching(/not the share that was added/) as string,
    });
    expect(await isMounted(join(share.path, '..'))).toBe(false);
  });

  test('that comes back is mounted again', async () => {
    const share = await add();
    await runProcess('umount', [join(share.path, '..')], { timeoutMs: 10_000 });

    expect(await shares.mountAll()).toEqual([]);
    expect((await shares.list())[0]).toMatchObject({ state: 'mounted' });
  });

  test('that an earlier Holdfast used keeps its mark', async () => {
    const marker = '11111111-1111-4111-8111-111111111111';
    await writeFile(
      join(server, '.holdfast-share.json'),
      JSON.stringify({ format: 1, holdfastShare: marker }),
    );

    expect(await add()).toMatchObject({ state: 'mounted', marker });
  });

  test('that cannot be mounted leaves nothing behind', async () => {
    server = join(top, 'nowhere');

    await expect(add({ place: smb, password: 'hush hush' })).rejects.toThrow();

    expect(await shares.list()).toEqual([]);
    const left = await runProcess('grep', ['-r', 'hush', top], { timeoutMs: 10_000 });
    expect(left.stdout).toBe('');
  });

  test('keeps its password in a file for root alone, and in no other place', async () => {
    const share = await add({ place: smb, password: 'hush hush' });

    const file = join(hostPlaces(top).data, 'system', 'private', `${share.id}.credentials`);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toContain('password=hush hush');
    const found = await runProcess('grep', ['-rl', 'hush', top], { timeoutMs: 10_000 });
    expect(found.stdout.trim()).toBe(file);
    await shares.remove(share.id, actor);
    expect(await shares.list()).toEqual([]);
    await expect(stat(file)).rejects.toThrow();
  });

  test('is not added twice, nor an NFS export with a password', async () => {
    await add();

    await expect(add()).rejects.toThrow(/already/);
    await expect(add({ place: { ...nfs, export: '/b' }, password: 'x' })).rejects.toThrow(/password/);
    expect(await shares.list()).toHaveLength(1);
  });
});

describe('what a person may say of a share', () => {
  test.each([
    { ...nfs, export: '/a,exec' },
    { ...nfs, export: '/a b' },
    { ...nfs, export: 'relative' },
    { ...nfs, server: 'a\nWhat=/dev/sda' },
    { ...smb, share: '../x%i' },
    { ...smb, username: 'a,uid=0' },
    { kind: 'disk', uuid: '../../sda' },
  ])('is not %j', (place) => {
    expect(Value.Check(SharePlace, place)).toBe(false);
  });

  test.each([nfs, smb, { kind: 'disk' as const, uuid: '0b1c-22ff' }])('is %j', (place) => {
    expect(Value.Check(AddShareRequest, { actor, label: 'x', place })).toBe(true);
  });
});

describe('a mount', () => {
  const request = (place: SharePlace) => ({
    share: { id: 'i', label: 'NAS', place, marker: 'i', addedAt: '' },
    ...{ point: '/run/holdfast/shares/ab-cd', credentialsFile: '/data/system/private/i.credentials' },
    owner: { uid: 7, gid: 8 },
  });

  test('allows no programs, devices or rights, whatever it is of', () => {
    for (const place of [nfs, smb, { kind: 'disk' as const, uuid: 'ab-12' }]) {
      const { options } = mountArguments(request(place));
      expect(options).toEqual(expect.arrayContaining(['nosuid', 'nodev', 'noexec']));
    }
  });

  test('of SMB is encrypted, and names its password by a file', () => {
    const unit = mountUnit(request(smb));

    expect(unit).toContain('What=//nas/backup\n');
    expect(unit).toMatch(/Options=credentials=\/data\/system\/private\/i\.credentials,vers=3\.1\.1,seal,/);
  });

  test('has the unit name that systemd gives its folder', () => {
    expect(unitName('/run/holdfast/shares/ab-cd')).toBe('run-holdfast-shares-ab\\x2dcd.mount');
  });
});
