/** An update that comes in pieces: a real `holdfast serve` beside the real application of hostd, over connections that break. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { BundleUpload, CurrentUpload, PieceTaken } from '../../server/appliance/host/updates/schema.ts';
import {
  takeOwnership,
  runHoldfast,
  serveAppliance,
  signIn,
  removeFolder,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { NEXT_VERSION, startMachine, type HostedMachine } from '../web/machine-host.ts';

const LIMIT_MS = 120_000;
const UPLOAD = '/host/updates/upload';

let machine: HostedMachine;
let appliance: ServedAppliance;
let file: string;
let content: Buffer;
let part: string;

beforeAll(async () => {
  machine = await startMachine();
  appliance = await serveAppliance({ env: { HOLDFAST_HOST_SOCKET: machine.socket } });
  await takeOwnership(appliance);
  file = await machine.bundles.make({ version: NEXT_VERSION });
  content = await readFile(file);
  part = join(machine.updates.store.folder, 'upload.part');
}, LIMIT_MS);
afterAll(async () => {
  await appliance.stop();
  await machine.close();
  await removeFolder(join(appliance.dataDir, '..'));
}, LIMIT_MS);
beforeEach(async () => {
  const { upload } = await current();
  if (upload !== null) await appliance.call('DELETE', `${UPLOAD}/${upload.id}`);
  for (const { sha256 } of await machine.updates.store.list()) await machine.updates.store.remove(sha256);
});

async function current(): Promise<CurrentUpload> {
  return (await appliance.call<CurrentUpload>('GET', UPLOAD)).body;
}

function fingerprintOf(bytes: Buffer): string {
  const mebi = 1024 * 1024;
  return createHash('sha256')
    .update(bytes.subarray(0, mebi))
    .update(bytes.subarray(Math.max(0, bytes.length - mebi)))
    .digest('hex');
}

function begin(bytes: Buffer = content, name = 'holdfast.raucb') {
  const wanted = { name, sizeBytes: bytes.length, fingerprint: fingerprintOf(bytes) };
  return appliance.call<BundleUpload & Failed>('POST', UPLOAD, wanted);
}

interface Failed {
  error?: { code: string; message: string; hint?: string };
}

/** @param announced as Content-Length; with more than the piece has, the connection is broken after it. */
function send(id: string, offset: number, piece: Buffer, announced = piece.length) {
  return new Promise<{ status: number; body: PieceTaken & Failed }>((resolve, reject) => {
    const sent = request(
      `${appliance.url}/api/v1${UPLOAD}/${id}`,
      {
        method: 'PATCH',
        rejectUnauthorized: false,
        agent: false,
        headers: {
          cookie: appliance.cookie(),
          origin: appliance.url,
          'sec-fetch-site': 'same-origin',
          'x-holdfast': '1',
          'content-type': 'application/octet-stream',
          'content-length': announced,
          'upload-offset': String(offset),
        },
      },
      (reply) => {
        const parts: Buffer[] = [];
        reply.on('data', (one: Buffer) => parts.push(one));
        reply.on('end', () =>
          resolve({
            status: reply.statusCode ?? 0,
            body: JSON.parse(Buffer.concat(parts).toString('utf8')) as PieceTaken,
          }),
        );
      },
    );
    sent.on('error', reject);
    if (announced > piece.length) sent.write(piece);
    else sent.end(piece);
  });
}

/** Sends the beginning of a piece and stays away; resolves when it is on the disk of the machine. */
async function leaveHanging(
  id: string,
  offset: number,
  piece: Buffer,
): Promise<{ broken: Promise<unknown> }> {
  const broken = send(id, offset, piece, content.length - offset).catch((error: unknown) => error);
  await waitFor(
    'the piece to arrive',
    async () => (await stat(part).catch(() => undefined))?.size === offset + piece.length,
  );
  return { broken };
}

/** The process that serves, below the one that was started. */
async function findServer(one: ServedAppliance): Promise<number> {
  const pid = String(one.process.pid);
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ');
  for (const child of children) {
    if ((await readFile(`/proc/${child}/cmdline`, 'utf8')).includes('server/main.ts')) return Number(child);
  }
  throw new Error(`none of ${children.join(', ')} serves`);
}

describe('a piece is refused, and nothing is changed', () => {
  test('that does not begin where the upload is', async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 10_000));

    const refused = await send(upload.id, 9_999, content.subarray(9_999));

    expect([refused.status, refused.body.error?.code, refused.body.error?.hint]).toEqual([
      409,
      'conflict',
      'Go on at byte 10000.',
    ]);
    expect((await current()).upload?.offset).toBe(10_000);
  });

  test('that is longer than the file was said to be', async () => {
    const { body: upload } = await begin();

    const refused = await send(upload.id, 0, Buffer.concat([content, Buffer.from('x')]));

    expect([refused.status, refused.body.error?.code]).toEqual([413, 'too_large']);
    expect((await current()).upload?.offset).toBe(0);
  });

  test('that belongs to no upload', async () => {
    const refused = await send('5b8f5b1e-8f9c-4c62-9d3b-7d3a5c1f0e11', 0, content);

    expect([refused.status, refused.body.error?.code]).toEqual([404, 'not_found']);
    expect(existsSync(part)).toBe(false);
  });
});

describe('while one upload is under way', () => {
  test('another file of its name is refused, and one of another name; both say what to do', async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 10_000));
    const other = Buffer.concat([content.subarray(0, -1), Buffer.from('x')]);

    const sameName = await begin(other);
    const otherName = await begin(other, 'other.raucb');

    expect([sameName.status, sameName.body.error?.message]).toEqual([
      409,
      'Another file of the name holdfast.raucb is being uploaded',
    ]);
    expect(otherName.body.error?.message).toBe('holdfast.raucb is being uploaded');
    expect(otherName.body.error?.hint).toMatch(/It is at \d+ %.*discard it first/);
    expect((await current()).upload).toMatchObject({ id: upload.id, offset: 10_000 });
  });

  test('it can be discarded, and leaves nothing behind', async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 10_000));

    expect((await appliance.call('DELETE', `${UPLOAD}/${upload.id}`)).status).toBe(204);

    expect((await current()).upload).toBeNull();
    expect(existsSync(part)).toBe(false);
  });

  test('nothing of it is left a day after its last piece', async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 10_000));
    const yesterday = new Date(Date.now() - 25 * 3_600_000);
    await utimes(`${part}.length`, yesterday, yesterday);

    expect((await current()).upload).toBeNull();
    expect(existsSync(part)).toBe(false);
  });
});

describe('an upload goes on', () => {
  test('after a connection that broke in the middle of a piece, with what came of it', async () => {
    const { body: upload } = await begin();
    const { broken } = await leaveHanging(upload.id, 0, content.subarray(0, 20_000));
    await appliance.call('GET', UPLOAD);
    const { body: same } = await begin();
    // The next piece ends the one that nobody sends any more.
    const early = await send(upload.id, same.offset, content.subarray(same.offset, 30_000));
    const at = early.status === 200 ? early.body.upload.offset : ((await current()).upload?.offset ?? 0);
    const { body: taken } = await send(upload.id, at, content.subarray(at));

    expect(same.id).toBe(upload.id);
    expect(at).toBeGreaterThanOrEqual(20_000);
    expect(taken.bundle).toMatchObject({
      version: NEXT_VERSION,
      installable: true,
      sizeBytes: content.length,
    });
    expect((await current()).upload).toBeNull();
    await broken;
  });

  test('after the server was killed in the middle of a piece', { timeout: LIMIT_MS }, async () => {
    const { body: upload } = await begin();
    const { broken } = await leaveHanging(upload.id, 0, content.subarray(0, 20_000));

    // What is killed first would have ended the request in order.
    const server = await findServer(appliance);
    process.kill(server, 'SIGKILL');
    await broken;
    await appliance.stop('SIGKILL');
    const { dataDir } = appliance;
    appliance = await serveAppliance({ dataDir, env: { HOLDFAST_HOST_SOCKET: machine.socket } });
    await signIn(appliance);
    const { body: same } = await begin();
    expect(same).toMatchObject({ id: upload.id, offset: 20_000 });

    const { body: taken } = await send(same.id, same.offset, content.subarray(same.offset));
    expect(taken.bundle?.version).toBe(NEXT_VERSION);
    expect(await readFile(machine.updates.store.path(taken.bundle?.sha256 ?? ''))).toEqual(content);
  });

  test('where it is safe, not where the file ends: a power cut may have left anything there', async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 20_000));
    await truncate(part, 60_000);

    const { body: same } = await begin();
    expect(same.offset).toBe(20_000);
    const { body: taken } = await send(same.id, same.offset, content.subarray(same.offset));

    expect(taken.bundle?.version).toBe(NEXT_VERSION);
  });

  test('at the end, when all was here and only the check was missing', async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 20_000));
    await writeFile(part, content);
    await writeFile(`${part}.length`, String(content.length));

    const { body: taken } = await send(upload.id, content.length, Buffer.alloc(0));

    expect(taken.bundle?.version).toBe(NEXT_VERSION);
  });

  test('by the command line, which begins where the browser stopped', { timeout: LIMIT_MS }, async () => {
    const { body: upload } = await begin();
    await send(upload.id, 0, content.subarray(0, 20_000));
    await stat(part);

    const { dataDir } = appliance;
    const run = await runHoldfast(['update', 'check', file, '--json'], { dataDir });

    expect([run.exitCode, run.stderr]).toEqual([0, '']);
    expect(JSON.parse(run.stdout)).toMatchObject({ version: NEXT_VERSION, installable: true });
    expect((await current()).upload).toBeNull();
    const entries = await appliance.call<{ items: { action: string }[] }>('GET', '/audit?limit=5');
    expect(entries.body.items.map(({ action }) => action)).toContain('appliance.update.uploaded');
  });
});

test('what is not signed is refused at its last piece, and nothing of it stays', async () => {
  const unsigned = await readFile(await machine.bundles.makeUnsigned());
  const { body: upload } = await begin(unsigned, 'unsigned.raucb');

  const refused = await send(upload.id, 0, unsigned);

  expect(refused.body.error?.message).toBe('This update is not signed');
  expect((await current()).upload).toBeNull();
  expect(existsSync(part)).toBe(false);
});
