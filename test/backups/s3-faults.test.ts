/** An S3 target on a line and a server that fail in the ways they do: what is repeated, what is told, and that nothing is half. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { S3Config } from '../../server/backups/engine.ts';
import { openCredentials } from '../../server/backups/targets/s3/credentials.ts';
import { LIMITS, type S3Limits } from '../../server/backups/targets/s3/limits.ts';
import { openS3Target } from '../../server/backups/targets/s3/s3.ts';
import {
  signatureOf,
  startBadLine,
  startS3Server,
  type BadLine,
  type Mishap,
  type S3Server,
} from '../helpers/s3-server.ts';

vi.setConfig({ testTimeout: 60_000 });

const PACK = `packs/aa/${'a'.repeat(64)}.age`;
/** As in the product, but in no time. */
const QUICK: S3Limits = { ...LIMITS, firstWaitMs: 1, longestWaitMs: 5, stallMs: 400, rivalsMs: 2_000 };

let server: S3Server;
let line: BadLine;
let config: S3Config;
let places = 0;

beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());
beforeEach(async () => {
  line = await startBadLine({ port: server.port });
  config = server.config(`faults-${String(++places)}`, { endpoint: line.endpoint });
});
afterEach(() => line.stop());

async function begun(limits = QUICK) {
  const target = await openS3Target(config, limits);
  await target.create('HOLDFAST', Buffer.from('{}\n'));
  line.requests.length = 0;
  return target;
}

/** Strikes the first `times` requests that fit. */
function strike(fits: (method: string, url: string) => boolean, mishap: Mishap, times = 1): void {
  let left = times;
  line.strike = ({ method, url }) => (fits(method, url) && left-- > 0 ? mishap : undefined);
}

const refuse = (status: number, code: string, more = '', headers: Record<string, string> = {}): Mishap => ({
  kind: 'answer',
  ...{ status, headers: { 'content-type': 'application/xml', ...headers } },
  body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>said by the server</Message>${more}</Error>`,
});
const isPut = (method: string, url: string) => method === 'PUT' && url.includes('/packs/');
const isGet = (method: string, url: string) => method === 'GET' && url.includes('/packs/');

describe('what goes by is repeated', () => {
  test.each([
    ['a server that asks to slow down', refuse(503, 'SlowDown')],
    ['a server that fails inside', refuse(500, 'InternalError')],
    ['a connection cut before the server heard', { kind: 'cut-before' }],
    ['a connection cut before its answer', { kind: 'cut-after' }],
    ['a line that falls silent', { kind: 'silent' }],
  ] as [string, Mishap][])('%s, on the way there', async (_, mishap) => {
    const target = await begun();
    const data = randomBytes(300_000);
    strike(isPut, mishap, 2);

    await target.write(PACK, data);

    expect((await target.read(PACK)).equals(data)).toBe(true);
    expect(await server.files(config.prefix)).toHaveLength(2);
    await target.close();
  });

  test.each([
    ['an answer that is cut short', { kind: 'short', bytes: 1000 }],
    ['a line that falls silent', { kind: 'silent' }],
    ['a server that asks to slow down', refuse(503, 'SlowDown')],
  ] as [string, Mishap][])('%s, on the way back', async (_, mishap) => {
    const target = await begun();
    const data = randomBytes(300_000);
    await target.write(PACK, data);
    strike(isGet, mishap, 2);
    const into = Buffer.alloc(50_000);

    expect((await target.read(PACK)).equals(data)).toBe(true);
    strike(isGet, mishap, 2);
    expect(
      (await target.read(PACK, { offset: 7, length: 40_000, into })).equals(data.subarray(7, 40_007)),
    ).toBe(true);
    strike(isGet, mishap, 1);
    expect((await target.readBack(PACK)).sizeBytes).toBe(data.length);
    await target.close();
  });

  test('a create whose answer was lost is known for our own; one of another is a conflict', async () => {
    const target = await begun();
    strike((method, url) => method === 'PUT' && url.endsWith('/writers/1'), { kind: 'cut-after' });

    await target.create('writers/1', Buffer.from('me'));

    await expect(target.create('writers/1', Buffer.from('you'))).rejects.toMatchObject({ code: 'conflict' });
    await target.close();
  });

  test('changed bytes are found by the hash, and never handed on as whole', async () => {
    const target = await begun();
    await target.write(PACK, randomBytes(1000));
    const whole = await target.readBack(PACK);
    strike(isGet, { kind: 'garbled' }, 9);

    expect((await target.readBack(PACK)).sha256).not.toBe(whole.sha256);
    await target.close();
  });

  test('a keys object that comes back garbled is not written in the place of the whole one', async () => {
    const stored = randomBytes(500);
    const name = `keys/1-${createHash('sha256').update(stored).digest('hex')}.age`;
    const first = await begun();
    await first.write(name, stored);
    const target = await openS3Target(config, QUICK);
    strike((method, url) => method === 'GET' && url.includes('/keys/'), { kind: 'garbled' });

    await target.create('writers/1', Buffer.from('me'));

    expect((await target.read(name)).equals(stored)).toBe(true);
    await first.close();
    await target.close();
  });

  test('a listing that is garbage names nothing, and one that names strangers is not believed', async () => {
    const target = await begun();
    const answer = (body: string): Mishap => ({ kind: 'answer', status: 200, body });
    const names = async () => (await Array.fromAsync(target.list('packs/'))).map(({ name }) => name);

    strike((_, url) => url.includes('list-type'), answer('\u0000\u0001 no XML <Contents><Key>'));
    expect(await names()).toEqual([]);
    const strange = '<Contents><Key>elsewhere/packs/x</Key><Size>1</Size></Contents>';
    strike((_, url) => url.includes('list-type'), answer(`<ListBucketResult>${strange}</ListBucketResult>`));
    expect(await names()).toEqual([]);
    await target.close();
  });

  test('a listing that does not show the newest yet loses nothing: the object is asked for by its name', async () => {
    const target = await begun();
    await target.write(PACK, Buffer.from('new'));
    strike(
      (_, url) => url.includes('list-type'),
      { kind: 'answer', status: 200, body: '<ListBucketResult/>' },
      99,
    );

    await target.write(PACK, Buffer.from('new'));

    await expect(target.create(PACK, Buffer.from('two'))).rejects.toMatchObject({ code: 'conflict' });
    expect(await target.find(PACK)).toEqual({ name: PACK, sizeBytes: 3 });
    await target.close();
  });

  test('it ends, and says that what was written stays', async () => {
    const target = await begun();
    strike(isPut, refuse(503, 'SlowDown'), 99);

    await expect(target.write(PACK, Buffer.from('x'))).rejects.toMatchObject({
      code: 'unavailable',
      hint: expect.stringContaining('Everything written so far is whole') as string,
    });
    expect(line.requests.filter(({ method, url }) => isPut(method, url))).toHaveLength(QUICK.attempts);
    await target.close();
  });
});

test('every request is signed as AWS describes it, and says the hash of what it carries', async () => {
  const target = await begun();
  await target.write(PACK, randomBytes(2_000_000));
  await target.read(PACK, { offset: 5, length: 5 });
  await target.create('keyring/5+2-x.age', Buffer.from('x'));
  await Array.fromAsync(target.list(''));
  await target.delete(PACK);
  await target.close();

  expect(line.requests.length).toBeGreaterThan(8);
  for (const request of line.requests) {
    const { said, computed } = signatureOf(request, 'S3RVER');
    expect(said).toBe(computed);
    if (request.method !== 'PUT') continue;
    const sent = String(request.headers['x-amz-content-sha256']);
    expect(request.headers['x-amz-checksum-sha256']).toBe(Buffer.from(sent, 'hex').toString('base64'));
  }
});

describe('parts', () => {
  const SMALL: S3Limits = { ...QUICK, singlePutBytes: 100_000, partBytes: 60_000 };

  test('a large object goes in parts, over a line that breaks, and is whole', async () => {
    const target = await begun(SMALL);
    const data = randomBytes(500_001);
    let count = 0;
    line.strike = ({ url }) =>
      url.includes('partNumber') && count++ % 3 === 0 ? { kind: 'cut-after' } : undefined;

    // s3rver does not do parts: what it is asked for is what counts here, and the end is another server's.
    const asked = await target
      .write(PACK, [data.subarray(0, 70_000), data.subarray(70_000)])
      .catch((error: unknown) => error);

    expect(line.requests.some(({ url, method }) => method === 'POST' && url.includes('uploads'))).toBe(true);
    if (asked === undefined) expect((await target.read(PACK)).equals(data)).toBe(true);
    await target.close();
  });
});

describe('what a second try cannot change is told at once', () => {
  test.each([
    ['InvalidAccessKeyId', 403, 'target_refused', 'does not know this access key'],
    ['SignatureDoesNotMatch', 403, 'target_refused', 'secret key'],
    ['ExpiredToken', 400, 'target_refused', 'session'],
    ['AccessDenied', 403, 'target_refused', 'does not let this key'],
    ['NoSuchBucket', 404, 'unavailable', 'no bucket'],
    ['QuotaExceeded', 403, 'no_space', 'full'],
  ])('%s', async (code, status, expected, words) => {
    strike(() => true, refuse(status, code), 99);

    await expect(openS3Target(config, QUICK)).rejects.toMatchObject({
      code: expected,
      message: expect.stringContaining(words) as string,
      hint: expect.stringMatching(/\w/) as string,
    });
    expect(line.requests).toHaveLength(1);
  });

  test('a bucket that stands elsewhere: where', async () => {
    strike(() => true, refuse(301, 'PermanentRedirect', '', { 'x-amz-bucket-region': 'us-west-2' }), 99);

    await expect(openS3Target(config, QUICK)).rejects.toMatchObject({
      message: expect.stringContaining('stands in us-west-2, and not in us-east-1') as string,
    });
  });

  test('a clock that is wrong: by how much', async () => {
    const date = new Date(Date.now() + 40 * 60_000).toUTCString();
    strike(() => true, refuse(403, 'RequestTimeTooSkewed', '', { date }), 99);

    await expect(openS3Target(config, QUICK)).rejects.toMatchObject({
      message: expect.stringContaining('40 minutes behind') as string,
    });
  });

  test('a wrong key and a wrong bucket, by the server itself; no error holds the key', async () => {
    const signIn = { kind: 'access-key', accessKeyId: 'STRANGER', secretAccessKey: 'not this one' } as const;
    const wrong = await openS3Target({ ...config, signIn }, QUICK).catch((error: unknown) => error);

    expect(wrong).toMatchObject({ code: 'target_refused' });
    expect(JSON.stringify(wrong, Object.getOwnPropertyNames(wrong))).not.toContain('not this one');
    await expect(openS3Target({ ...config, bucket: 'another-bucket' }, QUICK)).rejects.toMatchObject({
      message: expect.stringContaining('no bucket another-bucket') as string,
    });
    await expect(openS3Target({ ...config, endpoint: 'http://127.0.0.1:9' }, QUICK)).rejects.toMatchObject({
      message: expect.stringContaining('Nothing answers') as string,
    });
  });

  test.each([
    { endpoint: 'ftp://127.0.0.1' },
    { endpoint: 'http://127.0.0.1/path' },
    { bucket: 'Upper' },
    { bucket: '..' },
    { prefix: '../x' },
    { prefix: '/x' },
    { prefix: 'a//b' },
    { pathStyle: false },
    { region: 'a b' },
  ])('%j is no place', async (change) => {
    await expect(openS3Target({ ...config, ...change }, QUICK)).rejects.toMatchObject({
      code: 'invalid_input',
    });
    expect(line.requests).toEqual([]);
  });
});

describe('a writer that is killed', () => {
  test('in the middle of its uploads leaves whole objects or none', async () => {
    const target = await begun();
    const child = spawn(process.execPath, [
      ...['--input-type=module', '--experimental-strip-types', '-e'],
      `const { openTarget } = await import(${JSON.stringify(new URL('../../server/backups/targets/open-target.ts', import.meta.url).href)});
       const target = await openTarget(${JSON.stringify(config)});
       const data = Buffer.alloc(20_000_000, 7);
       for (let at = 0; ; at++) await target.write('packs/bb/' + at + '.age', data);`,
    ]);
    await vi.waitFor(
      () => expect(line.requests.filter(({ url }) => url.includes('/packs/bb/2'))).not.toEqual([]),
      30_000,
    );
    child.kill('SIGKILL');

    await target.sweep();
    // s3rver shows an object while it writes it down; what came whole to it is whole in a moment.
    await vi.waitFor(async () => {
      const sizes = (await Array.fromAsync(target.list('packs/'))).map(({ sizeBytes }) => sizeBytes);
      expect(new Set(sizes)).toEqual(new Set([20_000_000]));
    }, 20_000);

    await target.close();
  });
});

describe('the role of a machine', () => {
  /** As the metadata service of a cloud, version 2. */
  async function startMetadata(endsInMs: () => number) {
    const asked: { url: string; headers: IncomingHttpHeaders }[] = [];
    let lent = 0;
    const service = createServer(({ url = '', method, headers }, answer) => {
      asked.push({ url, headers });
      if (method === 'PUT') return void answer.end('a-token');
      if (headers['x-aws-ec2-metadata-token'] !== 'a-token') return void answer.writeHead(401).end();
      if (url.endsWith('/')) return void answer.end('backup-role\n');
      const Expiration = new Date(Date.now() + endsInMs()).toISOString();
      answer.end(
        JSON.stringify({ AccessKeyId: `ID${String(++lent)}`, SecretAccessKey: 's', Token: 't', Expiration }),
      );
    });
    await new Promise<void>((listening) => service.listen(0, '127.0.0.1', listening));
    const metadata = `http://127.0.0.1:${String((service.address() as AddressInfo).port)}`;
    const stop = () => new Promise((closed) => service.close(closed));
    return { metadata, asked, stop };
  }

  test('lends a session, which is asked for once and again before it ends', async () => {
    let left = 3_600_000;
    const service = await startMetadata(() => left);
    const credentials = openCredentials({ signIn: { kind: 'role' } }, () => service);

    expect(await credentials.take()).toMatchObject({ accessKeyId: 'ID1', sessionToken: 't' });
    expect(await credentials.take()).toMatchObject({ accessKeyId: 'ID1' });
    expect(service.asked).toHaveLength(3);
    credentials.renew?.();
    left = 60_000;
    expect(await credentials.take()).toMatchObject({ accessKeyId: 'ID2' });
    expect(await credentials.take()).toMatchObject({ accessKeyId: 'ID3' });
    await service.stop();
  });

  test('without one it is said what to do', async () => {
    const credentials = openCredentials({ signIn: { kind: 'role' } }, () => ({
      metadata: 'http://127.0.0.1:9',
    }));
    await expect(credentials.take()).rejects.toMatchObject({ code: 'target_refused' });
    const elsewhere = openCredentials({ signIn: { kind: 'role' } }, () => ({
      metadata: '',
      container: { url: 'http://192.0.2.1/credentials' },
    }));
    await expect(elsewhere.take()).rejects.toMatchObject({
      message: expect.stringContaining('not fetched from 192.0.2.1') as string,
    });
  });
});
