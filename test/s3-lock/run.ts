/**
 * Tries the S3 target on a server with versions, locks, conditional writes and checksums, which s3rver has not. By itself it takes moto
 * from Debian 13, in a folder of its own made by mmdebstrap (root, 300 MB, about a minute):
 *
 *     node test/s3-lock/run.ts [FOLDER]
 *
 * or any other server whose key may make buckets, such as radosgw: HOLDFAST_TEST_S3_ENDPOINT, HOLDFAST_TEST_S3_ID and
 * HOLDFAST_TEST_S3_SECRET. What is locked stays there for its days: use a server that may be thrown away.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { waitFor } from '../helpers/wait-for.ts';

const root = join(import.meta.dirname, '..', '..');
const folder = process.argv[2] ?? join(root, '.cache', 'moto');

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

function run(command: string, args: string[], env: Record<string, string> = {}): number {
  return spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } }).status ?? 1;
}

function makeMoto(): void {
  if (existsSync(join(folder, 'usr/bin/moto_server'))) return;
  const packages = 'python3-moto,python3-flask,python3-flask-cors';
  const options = ['--variant=apt', `--include=${packages}`, '--aptopt=APT::Install-Recommends "false"'];
  const mirror = process.env.HOLDFAST_DEBIAN_MIRROR ?? 'http://deb.debian.org/debian';
  if (run('mmdebstrap', [...options, 'trixie', folder, mirror]) === 0) return;
  throw new Error('moto could not be fetched: this needs root, mmdebstrap and a mirror of Debian');
}

function tests(endpoint: string): number {
  const vitest = join(root, 'node_modules/.bin/vitest');
  return run(vitest, ['run', '-c', join(import.meta.dirname, 'vitest.config.ts')], {
    HOLDFAST_TEST_S3_ENDPOINT: endpoint,
  });
}

const given = process.env.HOLDFAST_TEST_S3_ENDPOINT;
if (given !== undefined) process.exit(tests(given));
makeMoto();
const port = await freePort();
const moto = spawn('chroot', [folder, 'moto_server', '-H', '127.0.0.1', '-p', String(port)], {
  stdio: 'ignore',
  env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1' },
});
const endpoint = `http://127.0.0.1:${String(port)}`;
try {
  await waitFor('moto', () => fetch(endpoint).then(Boolean, () => false), 60_000);
  process.exitCode = tests(endpoint);
} finally {
  moto.kill();
}
