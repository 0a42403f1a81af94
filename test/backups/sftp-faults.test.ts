/** What a server refuses, how slow it may be, and what it does without: told in words, waited for, and not held against it for good. */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { askHostKey, ConnectionLost, openConnection } from '../../server/backups/targets/sftp/connection.ts';
import { listFolder } from '../../server/backups/targets/sftp/requests.ts';
import { openSftpTarget } from '../../server/backups/targets/sftp/sftp.ts';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { openTcpLine } from '../helpers/tcp-line.ts';

vi.setConfig({ testTimeout: 60_000 });

const pack = (letter: string) => `packs/aa/${letter.repeat(64)}.age`;
let server: SftpServer;
let folders = 0;
beforeAll(async () => {
  server = await startSftpServer();
});
afterAll(() => server.stop());

async function begun() {
  const config = server.config(await server.makeFolder(`place-${String(++folders)}/repository`));
  server.giveAway(dirname(config.path));
  const target = await openSftpTarget(config);
  await target.create('HOLDFAST', Buffer.from('{}\n'));
  await target.write(pack('a'), Buffer.from('x'));
  return { config, target };
}

const refused = {
  code: 'unavailable',
  message: expect.stringMatching(/^127\.0\.0\.1 .*“Permission denied” \(3\)/) as string,
  hint: expect.stringContaining('right to read and write') as string,
};

describe('a refusal of the server', () => {
  test('is told in its words, with what to do, wherever it comes', async () => {
    const { config, target } = await begun();
    const left = join(config.path, 'packs/aa/.tmp-0011-left');
    await writeFile(left, 'half');

    await chmod(join(config.path, 'packs/aa'), 0o500);
    await expect(target.sweep()).rejects.toMatchObject(refused);
    await chmod(join(config.path, 'packs/aa'), 0o700);
    await chmod(config.path, 0o600);
    await expect(Array.fromAsync(target.list(''))).rejects.toMatchObject(refused);
    await chmod(config.path, 0o700);
    await chmod(dirname(config.path), 0o000);
    for (const attempt of [
      () => openTarget(config),
      () => target.freeBytes(),
      () => target.now(),
      () => target.find(pack('b')),
      () => target.delete(pack('b')),
      () => target.topEntries(),
      () => target.openTrial(),
    ]) {
      await expect(attempt()).rejects.toMatchObject(refused);
    }

    await chmod(dirname(config.path), 0o700);
    expect(await target.sweep()).toBe(1);
    await target.close();
  });
});

describe('syncing a folder', () => {
  test('is asked for again after a refusal, and missed once it has worked', async () => {
    const { config, target } = await begun();
    await target.close();
    const folder = join(config.path, 'packs/aa');
    // Written in, but not opened for reading: so the server syncs the object and refuses the folder.
    await chmod(folder, 0o300);
    const again = await openSftpTarget(config);

    await again.write(pack('b'), Buffer.from('x'));
    await chmod(folder, 0o700);
    await again.write(pack('c'), Buffer.from('x'));
    await chmod(folder, 0o300);

    await expect(again.write(pack('d'), Buffer.from('x'))).rejects.toMatchObject(refused);
    await chmod(folder, 0o700);
    await again.write(pack('d'), Buffer.from('x'));
    await again.close();
  });
});

describe('a slow line', () => {
  test('only takes its time for a folder of many names: the limit is one of silence', async () => {
    const { config, target } = await begun();
    await target.close();
    const folder = join(config.path, 'packs/bb');
    await mkdir(folder);
    server.giveAway(folder);
    const names = Array.from({ length: 2_500 }, (_, at) => `${String(at).padStart(64, '0')}.age`);
    await Promise.all(names.map((name) => writeFile(join(folder, name), '')));
    const line = await openTcpLine(config.port);
    const slow = await openSftpTarget({ ...config, port: line.port }, 1_000);
    line.delay(100);

    const startedMs = performance.now();
    const listed = await Array.fromAsync(slow.list('packs/bb/'));

    expect(listed).toHaveLength(names.length);
    expect(performance.now() - startedMs).toBeGreaterThan(2_000);
    await slow.close();
    line.close();
    await rm(folder, { recursive: true });
  });

  test('on which nothing comes any more is given up', async () => {
    const { config, target } = await begun();
    const line = await openTcpLine(config.port);
    const connection = await openConnection({ ...config, port: line.port }, 500);
    await connection.use((channel) => listFolder(channel, config.path));
    line.delay(Infinity);

    const asked = connection.use((channel) => listFolder(channel, config.path));

    await expect(asked).rejects.toBeInstanceOf(ConnectionLost);
    expect(connection.lost).toBe(true);
    line.close();
    await target.close();
  });
});

describe('a server without the kind of host key that was compared', () => {
  test('is not signed in to, and shows the key that it has to who looks anew', async () => {
    const { config, target } = await begun();
    const type = 'ecdsa-sha2-nistp256';
    const before = { type, fingerprint: `SHA256:${'A'.repeat(43)}` };

    await expect(openTarget({ ...config, hostKey: before })).rejects.toMatchObject({
      code: 'wrong_key',
      message: expect.stringContaining(type) as string,
      hint: expect.stringContaining('an owner can accept') as string,
    });

    expect(await askHostKey(config, type)).toEqual(server.hostKey);
    await target.close();
  });
});
