import { once } from 'node:events';
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectStatus } from '../helpers/appliance.ts';
import { noise, startTestWorkspace, uploadPath, type TestWorkspace } from './workspace.ts';

const MIB = 1024 * 1024;

let space: TestWorkspace;
let port: number;
/** The clients' ports of all connections that the server holds. */
const served = new Set<number>();
beforeAll(async () => {
  space = await startTestWorkspace();
  await space.appliance.app.listen({ host: '127.0.0.1', port: 0 });
  port = (space.appliance.app.server.address() as AddressInfo).port;
  space.appliance.app.server.on('connection', (socket: Socket) => {
    const from = socket.remotePort ?? 0;
    served.add(from);
    socket.once('close', () => served.delete(from));
  });
});
afterAll(() => space.appliance.close());

function send(method: string, path: string, headers: Record<string, string> = {}): ClientRequest {
  return httpRequest({
    host: '127.0.0.1',
    port,
    method,
    path: `/api/v1${path}`,
    headers: {
      cookie: space.owner.cookie,
      'x-holdfast': '1',
      'content-type': 'application/octet-stream',
      ...headers,
    },
  });
}

async function answer(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return response;
}

async function readBody(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Waits for a state; fails after ten seconds. */
async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const start = performance.now(); performance.now() - start < 10_000; await delay(20)) {
    if (await holds()) return;
  }
  throw new Error(`not within ten seconds: ${what}`);
}

async function leave(userId: string): Promise<void> {
  await expectStatus(space.owner.call('DELETE', `/workspaces/${space.id}/people/${userId}`, {}), 200);
}

async function endSessions(userId: string): Promise<void> {
  await expectStatus(space.owner.call('DELETE', `/people/${userId}/sessions`, {}), 200);
}

async function deactivate(userId: string): Promise<void> {
  await expectStatus(space.owner.call('POST', `/people/${userId}/deactivate`, {}), 200);
}

function closed(reader: IncomingMessage): Promise<void> {
  // It may have noticed before anybody asks.
  return reader.closed ? Promise.resolve() : new Promise((resolve) => reader.once('close', resolve));
}

/** Whether the server still holds the connection of this reader, whose own end may not have noticed yet. */
function isServed({ socket: { localPort } }: IncomingMessage): boolean {
  return localPort !== undefined && served.has(localPort);
}

/** Starts a download and reads its first bytes; more only as fast as the caller takes them. */
async function startReading(id: string, cookie = space.owner.cookie): Promise<IncomingMessage> {
  const request = send('GET', `/files/${id}/content`, { cookie });
  request.end();
  const response = await answer(request);
  response.on('error', () => undefined);
  await once(response, 'readable');
  expect(response.read(1)).not.toBeNull();
  return response;
}

describe('uploads that do not arrive', () => {
  test.each([
    ['with an announced length', { 'content-length': String(50 * MIB) }],
    ['without one', { 'transfer-encoding': 'chunked' }],
  ])('a sender that goes away %s leaves nothing', async (_how, headers) => {
    const before = await space.state();
    const request = send('PUT', uploadPath(space.root, 'never there'), headers);
    request.once('error', () => undefined);
    request.write(noise(5 * MIB));
    await until(
      'the upload has begun',
      async () => (await space.stored()).length > (before as { stored: string[] }).stored.length,
    );

    request.destroy();

    await until(
      'its temporary is gone',
      async () => (await space.stored()).length === (before as { stored: string[] }).stored.length,
    );
    expect(await space.state()).toEqual(before);
  });

  test('an upload is refused before its bytes are sent, and a sender that goes on is cut off', async () => {
    await space.upload('is there', 'x');
    const request = send('PUT', uploadPath(space.root, 'is there'), {
      'content-length': String(10 * 1024 * MIB),
    });
    request.once('error', () => undefined);
    request.write('first bytes');

    const response = await answer(request);
    const cut = new Promise<void>((resolve) => request.once('close', resolve));
    response.resume();

    expect(response.statusCode).toBe(409);
    await cut;
  });
});

describe('downloads under way', () => {
  test('every reader of a deleted file is cut off within a second, also one that does not read', async () => {
    const node = await space.upload('long read', noise(60 * MIB));
    const readers = await Promise.all([startReading(node.id), startReading(node.id), startReading(node.id)]);
    expect(readers.map(isServed)).toEqual([true, true, true]);

    const start = performance.now();
    expect((await space.owner.call('DELETE', `/nodes/${node.id}`)).status).toBe(204);
    await until('the connections are closed', () => !readers.some(isServed));
    expect(performance.now() - start).toBeLessThan(1_000);

    const ends = readers.map(closed);
    for (const reader of readers) reader.resume();
    await Promise.all(ends);
    expect(readers.map((reader) => reader.complete)).toEqual([false, false, false]);
  });

  test('a file that another process deleted is cut off within a second', async () => {
    const node = await space.upload('deleted elsewhere', noise(60 * MIB));
    const reader = await startReading(node.id);
    const { db } = space.appliance.deps;

    const start = performance.now();
    await db.deleteFrom('node_name_index').where('node_id', '=', node.id).execute();
    await db.deleteFrom('nodes').where('id', '=', node.id).execute();
    await until('the connection is closed', () => !isServed(reader));
    expect(performance.now() - start).toBeLessThan(1_000);

    const end = closed(reader);
    reader.resume();
    await end;
    expect(reader.complete).toBe(false);
  });

  test.each([
    ['lost the workspace', (userId: string) => leave(userId)],
    ['was signed out', (userId: string) => endSessions(userId)],
    ['was deactivated', (userId: string) => deactivate(userId)],
  ])('whoever %s reads on no longer than a second', async (_how, take) => {
    const node = await space.upload(`taken away ${Math.random()}`, noise(60 * MIB));
    const member = await space.appliance.addPerson('member');
    await space.admit(member.userId, 'viewer');
    const reader = await startReading(node.id, member.cookie);
    const owners = await startReading(node.id);

    const start = performance.now();
    await take(member.userId);
    await until('the connection is closed', () => !isServed(reader));
    expect(performance.now() - start).toBeLessThan(1_500);

    const end = closed(reader);
    reader.resume();
    await end;
    expect(reader.complete).toBe(false);
    expect((await readBody(owners)).length).toBe(60 * MIB - 1);
  });

  test('a session that idles out while a file is sent does not cut it off', async () => {
    const node = await space.upload('longer than anybody clicks', noise(20 * MIB));
    const member = await space.appliance.addPerson('member');
    await space.admit(member.userId, 'viewer');
    const reader = await startReading(node.id, member.cookie);

    await space.appliance.deps.db
      .updateTable('sessions')
      .set({ idle_expires_at: new Date(1_000) })
      .where('user_id', '=', member.userId)
      .execute();
    await delay(1_200);

    expect((await readBody(reader)).length).toBe(20 * MIB - 1);
  });

  test('a download whose key is disabled stops, and a new one is refused', async () => {
    const node = await space.upload('key goes', noise(60 * MIB));
    const { subject_key_id: keyId } = await space.appliance.deps.db
      .selectFrom('file_versions')
      .select('subject_key_id')
      .where('node_id', '=', node.id)
      .executeTakeFirstOrThrow();
    const reader = await startReading(node.id);
    try {
      await space.appliance.deps.keys.disableKey(keyId);
      await until('a new download is refused', async () => {
        const refused = await space.owner.call('GET', `/files/${node.id}/content`);
        return refused.status === 409 && JSON.stringify(refused.body).includes('key_disabled');
      });
      const end = closed(reader);
      reader.resume();
      await end;

      expect(reader.complete).toBe(false);
    } finally {
      await space.appliance.deps.keys.enableKey(keyId);
    }
  });

  test('readers that leave give their places back', async () => {
    const node = await space.upload('left alone', noise(20 * MIB));

    for (let round = 0; round < 70; round += 1) {
      const reader = await startReading(node.id);
      reader.destroy();
    }

    await until('all places are free', async () => {
      const reader = await startReading(node.id);
      reader.destroy();
      return reader.statusCode === 200;
    });
  });
});

const testWhenSlow = process.env.SLOW === '1' ? test : () => undefined;
// Takes minutes: with SLOW=1 only.
testWhenSlow(
  'three gibibytes go in and out in bounded memory',
  async () => {
    const size = 3 * 1024 * MIB;
    const block = Buffer.concat([noise(MIB / 2), Buffer.alloc(MIB / 2)]);
    let peak = 0;
    const meter = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 20);
    const before = process.memoryUsage().rss;
    const request = send('PUT', uploadPath(space.root, 'three gibibytes'), {
      'content-length': String(size),
    });
    for (let sent = 0; sent < size; sent += block.length) {
      if (!request.write(block)) await once(request, 'drain');
    }
    request.end();
    const stored = await answer(request);
    const node = JSON.parse((await readBody(stored)).toString()) as { id: string; sizeBytes: number };
    expect([stored.statusCode, node.sizeBytes]).toEqual([201, size]);

    const get = send('GET', `/files/${node.id}/content`);
    get.end();
    let received = 0;
    for await (const part of await answer(get)) received += (part as Buffer).length;
    clearInterval(meter);

    expect(received).toBe(size);
    // The client of this test lives in the same process.
    expect(peak - before).toBeLessThan(200 * MIB);
  },
  300_000,
);
