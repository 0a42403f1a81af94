import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type KeydRole, KEYD_ROLES } from '../../server/keys/index.ts';
import { PERMISSIONS } from '../../server/keys/keyd/permissions.ts';
import { createFrameReader, encodeFrame } from '../../server/keys/keyd/protocol.ts';
import { type KeydPlace, makeKeydPlace, makeMovedClock, workspaceId } from './keyd-place.ts';

/** A socket between client and keyd that records and changes what passes. */
async function tap(
  place: KeydPlace,
  parts: {
    fromClient?: (frame: Buffer, index: number) => Buffer[];
    fromKeyd?: (frame: Buffer, index: number) => Buffer[];
  },
) {
  const path = join(place.run, 'tap.sock');
  const seen: Buffer[] = [];
  const upstreams: Socket[] = [];
  const server = createServer((down) => {
    const up = connect(place.socketPath);
    upstreams.push(up);
    const pass = (
      from: Socket,
      to: Socket,
      change: ((frame: Buffer, index: number) => Buffer[]) | undefined,
      keep: boolean,
    ) => {
      const read = createFrameReader(() => 1e8);
      let index = 0;
      from.on('data', (data: Buffer) => {
        for (const frame of read(data)) {
          if (keep) seen.push(Buffer.from(frame));
          for (const out of change ? change(frame, index) : [frame]) to.write(encodeFrame(out));
          index += 1;
        }
      });
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    };
    pass(down, up, parts.fromClient, true);
    pass(up, down, parts.fromKeyd, false);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => void server.close());
  return { path, seen, upstreams };
}

/** Sends frames to keyd and waits until it ends the connection. @returns frames received. */
async function sendRaw(
  place: KeydPlace,
  send: (socket: Socket, received: Buffer[]) => void,
): Promise<Buffer[]> {
  const socket = connect(place.socketPath);
  const received: Buffer[] = [];
  const read = createFrameReader(() => 1e8);
  socket.on('data', (data: Buffer) => {
    received.push(...read(data));
    send(socket, received);
  });
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  send(socket, received);
  await closed;
  return received;
}

describe('the key socket', () => {
  it('a client without the credential gets nothing but a challenge', async () => {
    const place = await makeKeydPlace();
    const hello = { version: 1, role: 'server', nonce: Buffer.alloc(32).toString('base64') };

    const received = await sendRaw(place, (socket, frames) => {
      const body = frames.length === 0 ? hello : { proof: Buffer.alloc(32).toString('base64') };
      socket.write(encodeFrame(Buffer.from(JSON.stringify(body))));
    });

    expect(received).toHaveLength(1);
    expect(place.refusals.join()).toMatch(/proof for role server is wrong/);
  });

  it.each([
    ['a role that does not exist', { version: 1, role: 'root', nonce: Buffer.alloc(32).toString('base64') }],
    ['another version', { version: 2, role: 'server', nonce: Buffer.alloc(32).toString('base64') }],
    ['a short nonce', { version: 1, role: 'server', nonce: 'AAAA' }],
  ])('%s is refused', async (_what, hello) => {
    const place = await makeKeydPlace();

    const received = await sendRaw(place, (socket) => {
      socket.write(encodeFrame(Buffer.from(JSON.stringify(hello))));
    });

    expect(received).toEqual([]);
    expect(place.refusals).toHaveLength(1);
  });

  it('a frame longer than its limit ends the connection before it is read', async () => {
    const place = await makeKeydPlace();

    await sendRaw(place, (socket) => socket.write(Buffer.from([0, 0, 8, 0])));

    expect(place.refusals.join()).toMatch(/too long/);
  });

  it('a role with the credential of another is refused', async () => {
    const place = await makeKeydPlace();
    const worker = await readFile(join(place.run, 'keyd-worker.key'), 'latin1');
    await writeFile(join(place.run, 'keyd-server.key'), worker.replace(' worker ', ' server '));

    await expect(place.connect('server')).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('what only took over the socket cannot pose as keyd', async () => {
    const place = await makeKeydPlace();
    const fake = createServer((socket) => {
      const reply = {
        nonce: Buffer.alloc(32).toString('base64'),
        proof: Buffer.alloc(32).toString('base64'),
      };
      socket.on('data', () => socket.write(encodeFrame(Buffer.from(JSON.stringify(reply)))));
      socket.on('error', () => undefined);
    });
    const path = join(place.run, 'fake.sock');
    await new Promise<void>((resolve) => fake.listen(path, resolve));
    onTestFinished(() => void fake.close());

    await expect(place.connect('server', { socketPath: path })).rejects.toMatchObject({
      code: 'unauthenticated',
    });
  });

  it('a recorded request played back on the same connection is refused', async () => {
    const place = await makeKeydPlace();
    const { path, seen, upstreams } = await tap(place, {});
    const client = await place.connect('server', { socketPath: path });
    await client.createWorkspaceKey(workspaceId);
    const recorded = seen.at(-1) ?? Buffer.alloc(0);
    const before = (await client.status()).keyCount;

    const closed = new Promise((resolve) => upstreams[0]?.once('close', resolve));
    upstreams[0]?.write(encodeFrame(recorded));
    await closed;

    expect(place.refusals.join()).toMatch(/out of order/);
    expect((await client.status()).keyCount).toBe(before);
  });

  it('a whole recorded connection played back is refused', async () => {
    const place = await makeKeydPlace();
    const { path, seen } = await tap(place, {});
    const client = await place.connect('server', { socketPath: path });
    await client.createSubjectKey(null);
    const count = (await client.status()).keyCount;
    const frames = [...seen];

    await sendRaw(place, (socket, received) => {
      const next = frames[received.length];
      if (next) socket.write(encodeFrame(next));
    });

    expect(place.refusals.join()).toMatch(/proof for role server is wrong/);
    expect((await client.status()).keyCount).toBe(count);
  });

  it('a request carried over from another connection is refused', async () => {
    const place = await makeKeydPlace();
    let recorded: Buffer | undefined;
    const { path } = await tap(place, {
      fromClient: (frame, index) => {
        if (index !== 2) return [frame];
        const carried = recorded;
        recorded ??= Buffer.from(frame);
        return [carried ?? frame];
      },
    });
    const first = await place.connect('server', { socketPath: path });
    await first.createSubjectKey(null);
    const second = await place.connect('server', { socketPath: path });
    await second.createSubjectKey(null).catch(() => undefined);

    expect(place.refusals.join()).toMatch(/not authentic/);
  });

  it('requests in another order are refused', async () => {
    const place = await makeKeydPlace();
    let held: Buffer | undefined;
    const { path } = await tap(place, {
      fromClient: (frame, index) => {
        if (index === 2) {
          held = Buffer.from(frame);
          return [];
        }
        return index === 3 && held ? [frame, held] : [frame];
      },
    });
    const client = await place.connect('worker', { socketPath: path });
    const both = await Promise.allSettled([client.lastHeadNumber(), client.lastHeadNumber()]);

    expect(both.map((result) => result.status)).toEqual(['rejected', 'rejected']);
    expect(place.refusals.join()).toMatch(/out of order/);
  });

  it('one changed byte of a request ends the connection', async () => {
    const place = await makeKeydPlace();
    const { path } = await tap(place, {
      fromClient: (frame, index) => {
        if (index < 2) return [frame];
        const changed = Buffer.from(frame);
        changed.writeUInt8(changed.readUInt8(changed.length - 3) ^ 1, changed.length - 3);
        return [changed];
      },
    });
    const client = await place.connect('server', { socketPath: path });

    await expect(
      client.sign({ type: 'index', repositoryId: workspaceId, number: '1', sha256: '' }),
    ).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(place.refusals.join()).toMatch(/not authentic/);
  });

  it('an answer that was changed or played back is not believed', async () => {
    const place = await makeKeydPlace();
    let recorded: Buffer | undefined;
    const { path } = await tap(place, {
      fromKeyd: (frame, index) => {
        if (index === 2) recorded = Buffer.from(frame);
        return index === 3 && recorded ? [recorded] : [frame];
      },
    });
    const client = await place.connect('server', { socketPath: path });
    await client.lend(workspaceId, null);

    await expect(client.lend(workspaceId, null)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('a request from another time is refused', async () => {
    const place = await makeKeydPlace();
    const clock = makeMovedClock();
    const client = await place.connect('server', { clock });
    clock.offsetMs = -31_000;

    await expect(client.lend(workspaceId, null)).rejects.toMatchObject({ code: 'unavailable' });
    expect(place.refusals.join()).toMatch(/too old/);
  });

  it('every operation is refused to every role that the table does not name', async () => {
    const place = await makeKeydPlace();
    let tried = 0;
    for (const role of KEYD_ROLES) {
      const client = await place.connect(role);
      const calls = client as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
      for (const [operation, roles] of Object.entries(PERMISSIONS)) {
        const call = calls[operation];
        if (!call || (roles as readonly KeydRole[]).includes(role)) continue;
        const args =
          operation === 'signCheckpoint'
            ? [{ after: 0, size: 0, root: Buffer.alloc(32), proof: [] }]
            : [0, 0, {}];
        await expect(call(...args), `${role} ${operation}`).rejects.toMatchObject({ code: 'forbidden' });
        tried += 1;
      }
    }

    expect(tried).toBeGreaterThan(50);
    expect((await (await place.connect('console')).status()).keyCount).toBe(0);
  });

  it('a client finds the keyd that was started in the place of one that died', async () => {
    const place = await makeKeydPlace();
    const client = await place.connect('server');
    const key = await client.createWorkspaceKey(workspaceId);
    await place.stop();
    await place.start();

    expect(await client.workspaceKey(workspaceId)).toEqual(key);
  });

  it('without keyd a request ends in an error that says so', async () => {
    const place = await makeKeydPlace();
    const client = await place.connect('server');
    await place.stop();

    await expect(client.status()).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.any(String) as string,
    });
  });

  it('hundreds of requests at once are all answered', async () => {
    const place = await makeKeydPlace();
    const client = await place.connect('server');

    const keys = await Promise.all(Array.from({ length: 300 }, () => client.createSubjectKey(null)));

    expect(new Set(keys.map((key) => key.id)).size).toBe(300);
  });
});
