/** Which names a link by mail may lead to: over TLS, with certificates as they are. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fastify, type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { trustedOrigin } from '../../server/identity/mail-links/link-origin.ts';
import { tool } from '../helpers/tools.ts';

let app: FastifyInstance;
let port: number;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-origin-'));
  const names = 'subjectAltName=DNS:data.corp.example,DNS:*.corp.example,IP:127.0.0.1';
  await promisify(execFile)(
    tool('openssl').path,
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'].concat([
      '-subj',
      '/CN=data.corp.example',
      '-addext',
      names,
      '-keyout',
      'own.key',
      '-out',
      'own.crt',
    ]),
    { cwd: folder },
  );
  const https = {
    key: await readFile(join(folder, 'own.key')),
    cert: await readFile(join(folder, 'own.crt')),
  };
  await rm(folder, { recursive: true, force: true });
  app = fastify({ https });
  app.get('/', (asked) => trustedOrigin(asked, ['https://named.example:9443']));
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as AddressInfo).port;
});
afterAll(() => app.close());

function ask(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, headers: { host }, rejectUnauthorized: false }, (reply) => {
      let text = '';
      reply.setEncoding('utf8').on('data', (part: string) => (text += part));
      reply.on('end', () => resolve(reply.statusCode === 200 ? text : 'refused'));
    })
      .on('error', reject)
      .end();
  });
}

describe('a link leads to', () => {
  test.each(['data.corp.example', '127.0.0.1'])('%s, which the certificate names', async (name) => {
    expect(await ask(`${name}:${port}`)).toBe(`https://${name}:${port}`);
  });

  test('the usual port, and a name of the configuration', async () => {
    expect(await ask('data.corp.example')).toBe('https://data.corp.example');
    expect(await ask('named.example:9443')).toBe('https://named.example:9443');
  });

  test.each([
    ['a name that only the wildcard covers', 'dev.corp.example'],
    ['a name of somebody else', 'evil.example'],
    ['another port of ours', 'data.corp.example:4444'],
    ['a name with words behind it', 'data.corp.example/some-words'],
    ['a name with a question', 'data.corp.example?x'],
    ['somebody before the name', 'evil.example@data.corp.example'],
    ['a name with a backslash', 'data.corp.example\\@evil.example'],
  ])('nowhere for %s', async (_what, host) => {
    expect(await ask(host)).toBe('refused');
  });
});
