/** Clients that hold a connection without using it are dropped; slow honest ones, and those that wait for us, are not. */
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FastifyInstance } from 'fastify';
import { buildApp } from '../../server/app.ts';
import { CONNECTION_LIMITS } from '../../server/lib/door/index.ts';
import { loadTlsIdentity } from '../../server/lib/tls.ts';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { openRaw, type RawConnection } from '../helpers/raw-connection.ts';

/** As in use, in a second instead of half a minute. */
const QUICK = { ...CONNECTION_LIMITS, windowMs: 1_000, firstRequestMs: 1_500, leastReceived: 500 };
const FILE_BYTES = 24 * 1024 * 1024;

let appliance: TestAppliance;
let owner: TestCaller;
let app: FastifyInstance;
let port: number;
let folderId: string;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  const tls = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
  app = await buildApp(appliance.deps, { tls, connections: QUICK });
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as AddressInfo).port;
  const { body } = await owner.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces');
  folderId = body.items[0]?.rootFolderId ?? '';
});
afterAll(async () => {
  await app.close();
  await appliance.close();
});

const signed = () => ['Host: a', 'x-holdfast: 1', `Cookie: ${owner.cookie}`];

function beginUpload(connection: RawConnection, name: string, length: number): void {
  const first = `PUT /api/v1/folders/${folderId}/files?name=${name} HTTP/1.1`;
  const type = 'Content-Type: application/octet-stream';
  connection.send(`${[first, ...signed(), type, `Content-Length: ${length}`].join('\r\n')}\r\n\r\n`);
}

/** Sends a piece every 100 ms until the connection ends or all pieces are sent. */
async function dribble(connection: RawConnection, piece: Buffer | string, pieces: number): Promise<void> {
  for (let sent = 0; sent < pieces && connection.isOpen(); sent += 1) {
    connection.send(piece);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test('whoever hangs up in the middle of a body is no trouble with the database', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const tls = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
  const own = await buildApp({ ...appliance.deps, log }, { tls, connections: QUICK });
  await own.listen({ host: '127.0.0.1', port: 0 });
  const connection = await openRaw((own.server.address() as AddressInfo).port);
  const type = 'Content-Type: application/json';
  connection.send(
    `POST /api/v1/session HTTP/1.1\r\nHost: a\r\nx-holdfast: 1\r\n${type}\r\nContent-Length: 1000\r\n\r\n{"em`,
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  connection.close();

  await waitFor('what is said of it', () => lines.some((line) => line.includes('left before its request')));
  await own.close();
  expect(lines.filter((line) => /"level":(50|"error")|database/.test(line))).toEqual([]);
});

describe('a connection is dropped', () => {
  test('on which nothing is asked', async () => {
    const connection = await openRaw(port);

    expect(await connection.ended()).toBe('');
  });

  test('whose headers come one by one (slowloris)', async () => {
    const connection = await openRaw(port);
    connection.send('GET /health/live HTTP/1.1\r\nHost: a\r\n');

    await dribble(connection, 'X-A: b\r\n', 60);

    expect(connection.isOpen()).toBe(false);
  });

  test('whose small body comes byte by byte, with 408', async () => {
    const connection = await openRaw(port);
    const type = 'Content-Type: application/json';
    connection.send(
      `POST /api/v1/session HTTP/1.1\r\nHost: a\r\nx-holdfast: 1\r\n${type}\r\nContent-Length: 4000\r\n\r\n`,
    );

    await dribble(connection, ' ', 60);

    expect(await connection.ended()).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('whose upload comes byte by byte: nothing of it is kept', async () => {
    const connection = await openRaw(port);
    beginUpload(connection, 'dribbled.bin', 100_000);

    await dribble(connection, 'x', 60);

    await connection.ended();
    const { body } = await owner.call('GET', `/folders/${folderId}`);
    expect(JSON.stringify(body)).not.toContain('dribbled.bin');
  });
});

describe('a connection is kept', () => {
  test('whose upload is slow but moves, far beyond the time that is looked at', async () => {
    const connection = await openRaw(port);
    beginUpload(connection, 'slow.bin', 40_000);

    await dribble(connection, Buffer.alloc(1_000, 7), 40);

    expect(await connection.until(/^HTTP\/1\.1 \d{3}[\s\S]*\}/)).toMatch(/^HTTP\/1\.1 201 /);
    connection.close();
  });

  test('that reads slowly: the download comes whole', { timeout: 60_000 }, async () => {
    const id = await uploadLarge('large.bin');
    const connection = await openRaw(port);
    connection.send(`GET /api/v1/files/${id}/content HTTP/1.1\r\n${signed().join('\r\n')}\r\n\r\n`);
    let bytes = 0;
    connection.socket.removeAllListeners('data');
    connection.socket.on('data', (part: Buffer) => (bytes += part.length));

    // 4 MiB a second, in half-second halts: six windows.
    while (bytes < FILE_BYTES && connection.isOpen()) {
      const goal = bytes + 2 * 1024 * 1024;
      connection.socket.resume();
      while (bytes < goal && bytes < FILE_BYTES && connection.isOpen())
        await new Promise((resolve) => setTimeout(resolve, 5));
      connection.socket.pause();
      await new Promise((resolve) => setTimeout(resolve, 500));
    }

    expect(bytes).toBeGreaterThanOrEqual(FILE_BYTES);
    connection.close();
  });

  test('until it stops reading altogether (slow read)', { timeout: 60_000 }, async () => {
    const id = await uploadLarge('unread.bin');
    const connection = await openRaw(port);
    connection.socket.pause();
    connection.send(`GET /api/v1/files/${id}/content HTTP/1.1\r\n${signed().join('\r\n')}\r\n\r\n`);

    await expect.poll(() => countOpen(connection), { timeout: 20_000, interval: 100 }).toBe('gone');
  });
});

/** What the server knows: a client that does not read does not see the end. */
async function countOpen(connection: RawConnection): Promise<string> {
  const { localPort } = connection.socket;
  const local = port.toString(16).toUpperCase().padStart(4, '0');
  const remote = (localPort ?? 0).toString(16).toUpperCase().padStart(4, '0');
  const table = await readFile('/proc/net/tcp', 'utf8');
  // State 01: established, as the server's end sees it.
  return new RegExp(`:${local} [0-9A-F]+:${remote} 01 `).test(table) ? 'open' : 'gone';
}

async function uploadLarge(name: string): Promise<string> {
  const path = `/folders/${folderId}/files?name=${name}`;
  const headers = { 'content-type': 'application/octet-stream' };
  const stored = await owner.call<{ id: string }>('PUT', path, Buffer.alloc(FILE_BYTES, 9), { headers });
  expect(stored.status).toBe(201);
  return stored.body.id;
}
