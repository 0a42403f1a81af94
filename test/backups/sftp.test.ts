import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { SftpConfig } from '../../server/backups/engine.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { askHostKey } from '../../server/backups/targets/sftp/connection.ts';
import { openSftpTarget } from '../../server/backups/targets/sftp/sftp.ts';
import {
  startPasswordServer,
  startSftpServer,
  type PasswordServer,
  type SftpServer,
} from '../helpers/sftp-server.ts';
import { mountSmallDisk } from '../helpers/small-disk.ts';
import { describeTarget } from './target-conformance.ts';

vi.setConfig({ testTimeout: 60_000 });

const PACK = `packs/aa/${'a'.repeat(64)}.age`;
let server: SftpServer;
let bare: SftpServer;
let passwords: PasswordServer;
let folders = 0;

beforeAll(async () => {
  [server, bare, passwords] = await Promise.all([
    startSftpServer(),
    startSftpServer({ without: ['hardlink', 'fsync', 'statvfs'] }),
    startPasswordServer('vault', 'correct horse'),
  ]);
});
afterAll(async () => {
  await Promise.all([server.stop(), bare.stop(), passwords.stop()]);
});

const makePlace = (of: SftpServer) => of.makeFolder(`place-${String(++folders)}`);

describe.each([
  ['an OpenSSH server', () => server],
  ['a server without its extensions', () => bare],
] as const)('on %s', (kind, of) => {
  describeTarget(`sftp (${kind})`, () => {
    let config: SftpConfig;
    const reopen = () => openTarget(config);
    return {
      async open() {
        config = of().config(await makePlace(of()));
        return reopen();
      },
      reopen,
      dispose: () => rm(config.path, { recursive: true, force: true }),
    };
  });
});

async function begun(of = server) {
  const config = of.config(await makePlace(of));
  const target = await openSftpTarget(config);
  await target.create('HOLDFAST', Buffer.from('{}\n'));
  return { config, target };
}

describe('an SFTP target', () => {
  test('says which features its server has', async () => {
    const { target } = await begun();
    const without = await begun(bare);

    expect([...(await target.features())]).toEqual(
      expect.arrayContaining(['hardlink@openssh.com', 'fsync@openssh.com', 'statvfs@openssh.com']),
    );
    expect(await without.target.freeBytes()).toBeUndefined();
    expect([...(await without.target.features())]).not.toContain('hardlink@openssh.com');
    await target.close();
    await without.target.close();
  });

  test('is not opened when the folder is missing, a file, or relative; nothing is created', async () => {
    const place = await makePlace(server);
    await writeFile(join(place, 'file'), '');

    for (const path of [join(place, 'missing'), join(place, 'file')]) {
      await expect(openTarget(server.config(path))).rejects.toMatchObject({ code: 'unavailable' });
    }
    await expect(openTarget(server.config('relative'))).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await readdir(place)).toEqual(['file']);
  });

  test('whose folder vanished or lies empty is not filled', async () => {
    const { config, target } = await begun();
    await rm(config.path, { recursive: true });
    for (const attempt of [
      () => target.write(PACK, Buffer.from('x')),
      () => target.create('HOLDFAST', Buffer.from('x')),
      () => target.find(PACK),
      () => target.delete(PACK),
      () => target.sweep(),
      () => target.freeBytes(),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'unavailable' });
    }
    await server.makeFolder(config.path.slice(server.top.length + 1));

    await expect(target.write(PACK, Buffer.from('x'))).rejects.toMatchObject({ code: 'unavailable' });

    expect(await readdir(config.path)).toEqual([]);
    await target.close();
  });

  test('lets only its own account read, and sweeps what interrupted writes left', async () => {
    const { config, target } = await begun();
    await target.write(PACK, Buffer.from('x'));

    expect((await stat(join(config.path, PACK))).mode & 0o777).toBe(0o600);
    expect((await stat(join(config.path, 'packs'))).mode & 0o777).toBe(0o700);
    await writeFile(join(config.path, 'packs/aa/.tmp-0011-left'), 'half');
    await symlink('/etc/passwd', join(config.path, 'packs/aa/link.age'));
    const names: string[] = [];
    for await (const object of target.list('packs/')) names.push(object.name);
    expect(names).toEqual([PACK]);
    expect(await target.find('packs/aa/link.age')).toBeUndefined();
    expect(await target.sweep()).toBe(1);
    await target.close();
  });

  test('a connection cut in the middle of uploads is opened again, and everything is there whole', async () => {
    const { config, target } = await begun();
    const objects = Array.from({ length: 12 }, (_, at) => ({
      name: `packs/aa/${String(at)}.age`,
      data: randomBytes(8 * 1024 * 1024 + at),
    }));

    const writing = Promise.all(objects.map(({ name, data }) => target.write(name, data)));
    const cuts: number[] = [];
    // Once the first bytes are there, again and again while it goes on.
    for (let round = 0; round < 3; round++) {
      await vi.waitFor(async () => {
        const there = await readdir(join(config.path, 'packs/aa'));
        expect(there.length).toBeGreaterThan(round);
      }, 20_000);
      cuts.push(server.cut());
    }
    await writing;

    expect(Math.max(...cuts)).toBeGreaterThan(0);
    for (const { name, data } of objects) {
      expect((await readFile(join(config.path, name))).equals(data)).toBe(true);
    }
    await target.sweep();
    expect((await readdir(join(config.path, 'packs/aa'))).length).toBe(objects.length);
    await target.close();
  });

  test('a read goes on after a cut', async () => {
    const { target } = await begun();
    const data = randomBytes(24 * 1024 * 1024);
    await target.write(PACK, data);

    const reading = target.read(PACK);
    server.cut();

    expect((await reading).equals(data)).toBe(true);
    await target.close();
  });

  test('a server that stays away is told of, and that what is written is whole', async () => {
    const own = await startSftpServer();
    const { target } = await begun(own);
    try {
      await own.halt();

      const failure = target.write(PACK, Buffer.from('x'));

      await expect(failure).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('127.0.0.1') as string,
      });
    } finally {
      await target.close();
      await own.stop();
    }
  });
});

describe('a server whose disk is full', () => {
  test('is told apart from another failure, keeps nothing half, and takes more once there is room', async () => {
    const place = await mkdtemp(join(tmpdir(), 'holdfast-sftp-full-'));
    await chmod(place, 0o711);
    const disk = await mountSmallDisk(join(place, 'disk'), 1024 * 1024);
    const own = await startSftpServer({ within: disk.within });
    try {
      await mkdir(join(disk.outside, 'keys'));
      own.giveAway(disk.outside);
      own.giveAway(join(disk.outside, 'keys'));
      const target = await openTarget(own.config(disk.path));
      const names = ['a', 'b', 'c', 'd'].map((letter) => `packs/aa/${letter.repeat(64)}.age`);
      const written: string[] = [];
      for (const name of names) {
        try {
          await target.write(name, Buffer.alloc(400_000, name));
          written.push(name);
        } catch (error) {
          expect(error).toMatchObject({ code: 'no_space', hint: expect.stringContaining('space') as string });
        }
      }
      expect(written).toHaveLength(2);
      expect((await readdir(join(disk.outside, 'packs/aa'))).length).toBe(2);

      await target.delete(names[0] ?? '');
      await target.write(names[2] ?? '', Buffer.alloc(400_000, 'x'));
      expect((await target.readBack(names[2] ?? '')).sizeBytes).toBe(400_000);
      await target.close();
    } finally {
      await own.stop();
      await disk.dispose();
      await rm(place, { recursive: true });
    }
  });
});

describe('the host key', () => {
  test('is asked for without signing in, as OpenSSH prints it', async () => {
    expect(await askHostKey(server.config('/'))).toEqual(server.hostKey);
  });

  test('another one than was confirmed ends in an error before anything is sent', async () => {
    const own = await startSftpServer();
    const config = own.config(await makePlace(own));
    try {
      await own.restart({ newHostKey: true });

      await expect(openTarget(config)).rejects.toMatchObject({
        code: 'wrong_key',
        message: expect.stringContaining(own.hostKey.fingerprint) as string,
      });

      expect(own.log()).not.toContain('Accepted publickey');
    } finally {
      await own.stop();
    }
  });

  test('that changes while a target is open ends its use', async () => {
    const own = await startSftpServer();
    const { target } = await begun(own);
    try {
      await own.restart({ newHostKey: true });

      await expect(target.write(PACK, Buffer.from('x'))).rejects.toMatchObject({ code: 'wrong_key' });
    } finally {
      await target.close();
      await own.stop();
    }
  });
});

describe('signing in', () => {
  test('a wrong password is refused in plain words, the right one opens the target', async () => {
    const top = await mkdtemp(join(tmpdir(), 'holdfast-sftp-password-'));
    await mkdir(join(top, 'keys'));
    try {
      await expect(openTarget(passwords.config(top, 'wrong'))).rejects.toMatchObject({
        code: 'target_refused',
        message: expect.not.stringContaining('wrong') as string,
      });

      const target = await openTarget(passwords.config(top, 'correct horse'));
      await target.write(PACK, Buffer.from('x'));

      expect((await target.readBack(PACK)).sizeBytes).toBe(1);
      await target.close();
    } finally {
      await rm(top, { recursive: true });
    }
  });

  test('a key that the server does not know, or that is none, is refused', async () => {
    const config = server.config(await makePlace(server));

    await expect(
      openTarget({ ...config, signIn: { kind: 'private-key', privateKey: 'nothing' } }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(openTarget({ ...config, username: 'somebody-else' })).rejects.toMatchObject({
      code: 'target_refused',
    });
    const { kind, host, port, username, path, hostKey } = config;
    await expect(openTarget({ kind, host, port, username, path, hostKey })).rejects.toMatchObject({
      code: 'wrong_state',
    });
  });
});
