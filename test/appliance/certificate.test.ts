/** The HTTPS certificate: what is refused and why, a request whose certificate comes back from an authority, and that it counts at once. */
import { execFile } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tool } from '../helpers/tools.ts';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { buildApp } from '../../server/app.ts';
import { renewCertificate } from '../../server/appliance/index.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { loadTlsIdentity } from '../../server/lib/tls.ts';

const run = promisify(execFile);
let appliance: TestAppliance;
let owner: TestCaller;
let folder: string;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  folder = await mkdtemp(join(tmpdir(), 'holdfast-certificate-'));
  await openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '30',
    '-subj',
    '/CN=House authority',
  );
});
afterAll(async () => {
  await appliance.close();
  await rm(folder, { recursive: true, force: true });
});

/** The authority's own files are the default names. */
async function openssl(...args: string[]): Promise<void> {
  const made = args[0] === 'req' ? ['-keyout', 'ca.key', '-out', 'ca.crt'] : [];
  await run(tool('openssl').path, [...args, ...made], { cwd: folder });
}

const read = (name: string) => readFile(join(folder, name), 'utf8');

/** Has the authority sign a request. */
async function sign(request: string, extensions: string, days = '20'): Promise<string> {
  await writeFile(join(folder, 'one.csr'), request);
  await writeFile(join(folder, 'one.ext'), extensions);
  await openssl(
    ...['x509', '-req', '-in', 'one.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-days', days],
    ...['-extfile', 'one.ext', '-out', 'one.crt'],
  );
  return read('one.crt');
}

interface Reply {
  error: { message: string };
}

const put = (body: object) => owner.call<Reply>('PUT', '/certificate', body);

describe('a certificate is refused', () => {
  test('without its key while no request waits, and nothing changes', async () => {
    const before = (await owner.call('GET', '/certificate')).body;

    const reply = await put({ certificate: await read('ca.crt') });

    expect([reply.status, reply.body.error.message]).toEqual([
      400,
      'No request waits for a certificate, so its key is needed',
    ]);
    expect((await owner.call('GET', '/certificate')).body).toEqual(before);
    expect(before).toMatchObject({ source: 'own', selfSigned: true, request: null });
  });

  test('when it is that of an authority, names no host, is for another purpose, or its key is another', async () => {
    const names = ['vault.example.org'];
    const made = await owner.call<{ request: { pem: string } }>('POST', '/certificate/request', { names });
    const { pem } = made.body.request;
    const refusals = [
      [{ certificate: await read('ca.crt'), key: await read('ca.key') }, /of an authority/],
      [{ certificate: await sign(pem, 'basicConstraints=CA:FALSE') }, /names no host/],
      [
        { certificate: await sign(pem, 'subjectAltName=DNS:vault.example.org\nextendedKeyUsage=clientAuth') },
        /not meant for servers/,
      ],
      [
        { certificate: await sign(pem, 'subjectAltName=DNS:a'), key: await read('ca.key') },
        /does not belong/,
      ],
      [
        { certificate: `-----BEGIN CERTIFICATE-----\n${'A'.repeat(64)}\n-----END CERTIFICATE-----` },
        /damaged/,
      ],
      [{ certificate: 'x'.repeat(64) }, /There are 0 certificates/],
      [
        { certificate: await read('ca.crt'), key: `-----BEGIN ENCRYPTED PRIVATE KEY-----${'A'.repeat(64)}` },
        /passphrase/,
      ],
    ] as [object, RegExp][];

    for (const [body, words] of refusals) {
      const reply = await put(body);
      expect([reply.status, reply.body.error.message]).toEqual([400, expect.stringMatching(words)]);
    }

    expect((await owner.call('GET', '/certificate')).body).toMatchObject({ source: 'own' });
  });

  test('a name that is none is not asked a certificate for', async () => {
    for (const name of ['', 'a b', 'x,y', 'CN=evil', '-a', '*'])
      expect((await owner.call('POST', '/certificate/request', { names: [name] })).status).toBe(400);
  });
});

test('one that an authority made from a request counts for the next connection, survives a restart, and can be taken off', async () => {
  const tls = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
  const app = await buildApp(appliance.deps, { tls });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const call = (method: 'GET' | 'PUT' | 'POST' | 'DELETE', url: string, payload?: object) =>
    app.inject({
      method,
      url: `/api/v1${url}`,
      ...(payload === undefined ? {} : { payload }),
      headers: { cookie: owner.cookie, 'x-holdfast': '1' },
    });
  expect((await seen(port)).subject).toBe('CN=Holdfast');

  const names = ['vault.example.org', '192.0.2.10', '2001:db8::10'];
  const { request } = (await call('POST', '/certificate/request', { names })).json<{
    request: { pem: string };
  }>();
  const alternatives = 'subjectAltName=DNS:vault.example.org,IP:192.0.2.10,IP:2001:db8::10';
  const certificate = await sign(request.pem, alternatives);
  const installed = await call('PUT', '/certificate', {
    certificate: `${await read('ca.crt')}\n${certificate}`,
  });

  expect(installed.json()).toMatchObject({ source: 'installed', issuer: 'House authority', request: null });
  expect(installed.body).not.toContain('PRIVATE KEY');
  expect((await seen(port)).issuer).toBe('CN=House authority');
  const again = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
  expect(new X509Certificate(again.certificate).issuer).toBe('CN=House authority');

  expect((await call('DELETE', '/certificate')).json()).toMatchObject({ source: 'own' });
  expect((await seen(port)).subject).toBe('CN=Holdfast');
  expect((await call('DELETE', '/certificate')).statusCode).toBe(409);
  await app.close();
});

test('the appliance’s own is made anew a month before it runs out, and shown to the next connection', async () => {
  const tls = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
  const app = await buildApp(appliance.deps, { tls });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  await renewCertificate(appliance.deps);
  expect((await seen(port)).fingerprint256).toBe(tls.fingerprint);

  appliance.clock.offsetMs += 370 * 86_400_000;
  // Whoever only looks changes nothing.
  expect((await loadTlsIdentity(appliance.deps.config, appliance.deps.clock)).fingerprint).toBe(
    tls.fingerprint,
  );
  await renewCertificate(appliance.deps);

  const shown = await seen(port);
  expect(shown.fingerprint256).not.toBe(tls.fingerprint);
  const entries = await appliance.deps.db
    .selectFrom('audit_entries')
    .select('object_id')
    .where('action', '=', 'appliance.certificate.renewed')
    .execute();
  expect(entries).toEqual([{ object_id: shown.fingerprint256 }]);
  appliance.clock.offsetMs -= 370 * 86_400_000;
  await app.close();
});

test('a key and a certificate of two are replaced: the making of another was cut off between them', async () => {
  const { config, clock } = appliance.deps;
  const directory = dataPaths(config.dataDir).tls;
  const before = await loadTlsIdentity(config, clock);
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  await writeFile(join(directory, 'key.pem'), other.export({ format: 'pem', type: 'pkcs8' }));

  const after = await loadTlsIdentity(config, clock);

  expect(after.fingerprint).not.toBe(before.fingerprint);
  expect(new X509Certificate(after.certificate).checkPrivateKey(createPrivateKey(after.key))).toBe(true);
});

function seen(port: number): Promise<X509Certificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) reject(new Error('no certificate'));
      else resolve(certificate);
    });
    socket.once('error', reject);
  });
}
