/** A real ACME authority for tests: Debian's pebble with its own name service, on free ports of this machine. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tool } from './tools.ts';
import { waitFor } from './wait-for.ts';

const run = promisify(execFile);

export interface AcmeAuthority {
  directoryUrl: string;
  /** Certificate by which its own server is trusted, PEM. */
  root: string;
  /** The port on which it looks for http-01. */
  httpPort: number;
  /** A program for dns-01 that sets the records of its name service. */
  dnsHook: string;
  /** Ends it; a later `start` brings it back on the same ports, without what it knew. */
  pause(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export async function startAcmeAuthority(): Promise<AcmeAuthority> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-pebble-'));
  const [port, managementPort, httpPort, tlsPort, dnsPort, dnsManagementPort] = await freePorts(6);
  const path = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => run(tool('openssl').path, args, { cwd: folder });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl(
    'req',
    '-x509',
    ...key,
    '-days',
    '30',
    '-subj',
    '/CN=Test root',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
  );
  await openssl('req', ...key, '-subj', '/CN=localhost', '-keyout', 'own.key', '-out', 'own.csr');
  await writeFile(path('own.ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1');
  const authority = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '20'];
  await openssl('x509', '-req', '-in', 'own.csr', ...authority, '-extfile', 'own.ext', '-out', 'own.crt');
  const pebble = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${managementPort}`,
    ...{ certificate: path('own.crt'), privateKey: path('own.key'), httpPort, tlsPort },
    ...{ ocspResponderURL: '', externalAccountBindingRequired: false },
  };
  await writeFile(path('pebble.json'), JSON.stringify({ pebble }));
  const dnsHook = path('dns-hook');
  await writeFile(dnsHook, hookText(dnsManagementPort ?? 0), { mode: 0o755 });
  const children: ChildProcess[] = [];
  const start = async () => {
    const off = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-doh', '', '-defaultIPv6', ''];
    const dns = ['-dns01', `127.0.0.1:${dnsPort}`, '-management', `127.0.0.1:${dnsManagementPort}`];
    children.push(
      spawn(tool('pebble-challtestsrv').path, [...off.slice(0, 6), ...off.slice(8), ...dns], {
        stdio: 'ignore',
      }),
    );
    children.push(
      spawn(
        tool('pebble').path,
        ['-config', path('pebble.json'), '-dnsserver', `127.0.0.1:${dnsPort}`, '-strict'],
        {
          stdio: 'ignore',
          // Of a name that it knows, one order in a hundred counts without a look all the same; without this, half of them.
          env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0' },
        },
      ),
    );
    for (const one of [port, dnsManagementPort])
      await waitFor('the authority to listen', () => listens(one ?? 0));
  };
  const pause = async () => {
    for (const child of children.splice(0)) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
  };
  await start();
  return {
    directoryUrl: `https://localhost:${port}/dir`,
    root: await readFile(path('ca.crt'), 'utf8'),
    httpPort: httpPort ?? 0,
    ...{ dnsHook, pause, start },
    stop: async () => {
      await pause();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function hookText(managementPort: number): string {
  return `#!${process.execPath}
const [act, name, value] = process.argv.slice(2);
// Its name service can only take away all records of a name, also those that another order needs.
if (act !== 'present') process.exit(0);
fetch('http://127.0.0.1:${managementPort}/set-txt', { method: 'POST', body: JSON.stringify({ host: name + '.', value }) })
  .then((reply) => process.exit(reply.ok ? 0 : 1), () => process.exit(2));
`;
}

async function listens(port: number): Promise<boolean> {
  const { connect } = await import('node:net');
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => {
      resolve(false);
    });
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
