/** Calls to addresses that an administrator gave, before real servers that behave badly. */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { callOut } from '../../server/monitoring/outgoing/call-out.ts';
import { checkAddress, showAddress } from '../../server/monitoring/outgoing/secret-address.ts';
import { signatureHeaders } from '../../server/monitoring/webhooks/sign.ts';
import { makeAuthority } from '../helpers/mail-server.ts';
import {
  startGarbage,
  startHttpReceiver,
  type Behaviour,
  type HttpReceiver,
} from '../helpers/http-receiver.ts';

const SECRET = 'f00dcafe-secret';
let receiver: HttpReceiver;
beforeAll(async () => {
  vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');
  receiver = await startHttpReceiver();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await receiver.close();
});

const get = (base: string, limitMs?: number) =>
  callOut({ url: new URL(`${base}/ping/${SECRET}?key=${SECRET}`), method: 'GET', allowHttp: true }, limitMs);

describe('an answer', () => {
  test.each<[string, Behaviour, object]>([
    ['2xx is good', { status: 204 }, { good: true, status: 204 }],
    [
      'of any length is good, and is not taken in',
      { status: 200, endless: true },
      { good: true, status: 200 },
    ],
    ['4xx is none', { status: 404 }, { good: false, status: 404 }],
    ['5xx is none', { status: 500 }, { good: false, status: 500 }],
    [
      'that asks for time is heard, up to an hour',
      { status: 503, headers: { 'retry-after': '86400' } },
      { good: false, retryAfterMs: 3_600_000 },
    ],
    [
      'of a cut connection is said',
      'reset',
      { good: false, status: null, message: expect.stringContaining('ECONNRESET') as string },
    ],
  ])('%s', async (_name, behaviour, expected) => {
    receiver.behave(behaviour);

    const result = await get(receiver.url);

    expect(result).toMatchObject(expected);
    expect(JSON.stringify(result)).not.toContain(SECRET);
  });

  test('with a redirect is not followed', async () => {
    const other = await startHttpReceiver();
    receiver.behave({ status: 302, headers: { location: other.url } });

    expect(await get(receiver.url)).toMatchObject({ good: false, status: 302 });
    expect(other.calls).toEqual([]);
    await other.close();
  });

  test('that does not come is given up in time', async () => {
    receiver.behave('hang');

    const result = await get(receiver.url, 300);

    expect(result).toMatchObject({ good: false, message: 'No answer within 0.3 s' });
    expect(result.tookMs).toBeLessThan(3_000);
    expect(JSON.stringify(result)).not.toContain(SECRET);
  });

  test.each([
    ['that is no HTTP', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')],
    ['of random bytes', Buffer.from('00ff10c0ffee00000a0d0a', 'hex')],
    [
      'with endless headers',
      Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nx: '), Buffer.alloc(100_000, 'a')]),
    ],
    ['that ends in its first line', Buffer.from('HTTP/1.1 2')],
    ['of nothing', Buffer.alloc(0)],
  ])('%s is said in our words', async (_name, bytes) => {
    const garbage = await startGarbage(bytes);

    const result = await get(garbage.url, 3_000);

    expect(result).toMatchObject({ good: false, status: null });
    expect(result.message).toMatch(/does not speak http|cannot be reached/);
    expect(JSON.stringify(result)).not.toContain(SECRET);
    await garbage.close();
  });

  test('under a certificate of nobody known is refused', async () => {
    const authority = await makeAuthority();
    const server = createServer(await authority.issue('localhost'), (_request, response) => response.end());
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;

    const result = await get(`https://localhost:${port}`);

    expect(result).toMatchObject({ good: false, status: null });
    expect(result.message).toMatch(/certificate of localhost:\d+ is not trusted/);
    server.close();
  });
});

describe('an address', () => {
  test('of this machine or of its link is refused, by name and by number', async () => {
    vi.stubEnv('HOLDFAST_OWN_MACHINE', '');
    receiver.behave({ status: 200 });
    const before = receiver.calls.length;
    const port = new URL(receiver.url).port;
    for (const host of [
      '127.0.0.1',
      'localhost',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '169.254.169.254',
      '0.0.0.0',
    ])
      expect(await get(`http://${host}:${port}`, 3_000)).toMatchObject({ good: false, status: null });
    expect(receiver.calls).toHaveLength(before);
    vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');
    expect(await get('http://169.254.169.254', 3_000)).toMatchObject({ good: false, status: null });
  });

  test('in plain http needs a word', async () => {
    const call = { url: new URL(receiver.url), method: 'GET' as const, allowHttp: false };
    const before = receiver.calls.length;

    expect(await callOut(call)).toMatchObject({
      good: false,
      message: expect.stringContaining('Plain http') as string,
    });
    expect(receiver.calls).toHaveLength(before);
  });

  test.each([
    '',
    'nonsense',
    'ftp://a.example/',
    'file:///etc/passwd',
    'https://me:word@a.example/x',
    'http://a.example/x',
  ])('%j is refused, and not repeated', (text) => {
    expect(() => checkAddress(text, false)).toThrow(
      expect.objectContaining({
        code: 'invalid_input',
        message: expect.not.stringContaining('a.example') as string,
      }) as Error,
    );
  });

  test('is shown without path and query', () => {
    expect(showAddress(checkAddress('https://a.example:8443/ping/abc?x=1#y', false))).toBe(
      'https://a.example:8443/…',
    );
  });
});

test('a signature is that of Standard Webhooks', () => {
  // The vector of its libraries.
  const headers = signatureHeaders(['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'], {
    ...{ id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestampS: 1614265330, body: '{"test": 2432232314}' },
  });

  expect(headers).toEqual({
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  });
});
