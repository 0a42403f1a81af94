/** Sockets at paths longer than the kernel takes. */
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { shortDirectory, shortPath } from '../../server/lib/sockets.ts';

let root: string;
let deep: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-sockets-'));
  deep = join(root, 'a-folder-with-a-long-name'.repeat(4), 'run');
  await mkdir(deep, { recursive: true });
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function greet(): Promise<string> {
  const path = join(deep, 'server.sock');
  const server = createServer((socket) => socket.end('hello'));
  server.listen(shortPath(path));
  await once(server, 'listening');
  try {
    const [greeting] = (await once(connect(join(shortDirectory(deep), 'server.sock')), 'data')) as [Buffer];
    return greeting.toString();
  } finally {
    server.close();
  }
}

test('a socket in a deep folder is reached', async () => {
  expect(await greet()).toBe('hello');
});

test('a socket is reached in a folder that was removed and made again at the same path', async () => {
  await greet();
  await rm(deep, { recursive: true });
  await mkdir(deep);

  expect(await greet()).toBe('hello');
});

test('one folder costs one descriptor', () => {
  expect(shortDirectory(deep)).toBe(shortDirectory(deep));
});
