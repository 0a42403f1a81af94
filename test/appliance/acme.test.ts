/** The certificate by ACME against a real authority: refusals, both ways of showing a name, renewal, failure, and the watch over its end. */
import type { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildApp } from '../../server/app.ts';
import { answerChallenge, renewCertificate } from '../../server/appliance/index.ts';
import { renewalTime } from '../../server/appliance/certificate/acme/renewal.ts';
import { dueNotice } from '../../server/appliance/certificate/expiry.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { loadTlsIdentity } from '../../server/lib/tls.ts';
import { startAcmeAuthority, type AcmeAuthority } from '../helpers/acme-authority.ts';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';

interface State {
  enabled: boolean;
  busy: boolean;
  problem: { message: string; hint?: string } | null;
  nextTryAt: string | null;
  renewedAt: string | null;
}

let authority: AcmeAuthority;
let appliance: TestAppliance;
let owner: TestCaller;
let app: FastifyInstance;
let port: number;
let redirect: Server;

beforeAll(async () => {
  [appliance, authority] = await Promise.all([startTestAppliance(), startAcmeAuthority()]);
  Object.assign(appliance.deps.config, { acmeDnsHook: authority.dnsHook, redirectPort: authority.httpPort });
  owner = await appliance.claim();
  const tls = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
  app = await buildApp(appliance.deps, { tls });
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as AddressInfo).port;
  redirect = createServer((request, reply) => {
    const answer = answerChallenge(request.url ?? '');
    reply.writeHead(answer === undefined ? 404 : 200).end(answer);
  });
  await new Promise<void>((resolve) => redirect.listen(authority.httpPort, '127.0.0.1', resolve));
});
afterAll(async () => {
  redirect.close();
  await app.close();
  await Promise.all([appliance.close(), authority.stop()]);
});

const wanted = (more: object = {}) => ({
  ...{
    enabled: true,
    directoryUrl: authority.directoryUrl,
    names: ['vault.example.org'],
    challenge: 'http-01',
  },
  ...{ authority: authority.root, termsAgreed: true, ...more },
});
const put = (body: object) =>
  owner.call<State & { error: { message: string } }>('PUT', '/certificate/acme', body);
const readState = async () => (await owner.call<State>('GET', '/certificate/acme')).body;

async function settled(): Promise<State> {
  return waitFor(
    'the order to end',
    async () => {
      const state = await readState();
      // A change sets the next try to now; the end of the order, to later.
      const over = Date.parse(state.nextTryAt ?? '') > appliance.clock.now().getTime();
      return !state.busy && over && state;
    },
    60_000,
    200,
  );
}

/** The certificate that a new connection is shown. */
async function shown(): Promise<X509Certificate> {
  const socket = await dial();
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  if (certificate === undefined) throw new Error('no certificate');
  return certificate;
}

async function dial(): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  return socket;
}

describe('nothing is changed', () => {
  test('by settings that could not work', async () => {
    const refused: [object, number, RegExp][] = [
      [wanted({ termsAgreed: false }), 400, /terms/],
      [wanted({ directoryUrl: 'http://localhost/dir' }), 400, /not valid/],
      [wanted({ directoryUrl: 'https://user:word@host/dir' }), 400, /not valid/],
      [wanted({ names: [] }), 400, /not valid/],
      [wanted({ names: ['a b'] }), 400, /not valid/],
      [wanted({ names: ['*.example.org'] }), 400, /by DNS only/],
      [wanted({ authority: 'x'.repeat(80) }), 400, /0 certificates/],
    ];
    for (const [body, status, words] of refused) {
      const reply = await put(body);
      expect([reply.status, reply.body.error.message]).toEqual([status, expect.stringMatching(words)]);
    }

    expect(await readState()).toMatchObject({ enabled: false, nextTryAt: null });
    expect((await owner.call('POST', '/certificate/acme/orders')).status).toBe(409);
  });

  test(
    'by an authority that is not trusted or does not answer: it says so in plain words, and the old certificate stays',
    { timeout: 90_000 },
    async () => {
      const before = (await shown()).fingerprint256;

      await put(wanted({ authority: null }));
      expect((await settled()).problem?.message).toMatch(/shows a certificate that is not trusted/);
      await put(wanted({ directoryUrl: 'https://localhost:9/dir' }));
      const state = await settled();

      expect(state.problem?.message).toMatch(/does not answer \(ECONNREFUSED\)/);
      expect(Date.parse(state.nextTryAt ?? '') - appliance.clock.now().getTime()).toBeGreaterThan(
        50 * 60_000,
      );
      expect((await shown()).fingerprint256).toBe(before);
      const { body } = await owner.call<{ items: object[] }>(
        'GET',
        '/audit?action=appliance.certificate.renewed',
      );
      expect(body.items).toMatchObject([{ result: 'failed' }, { result: 'failed' }]);
    },
  );
});

describe('a certificate comes', () => {
  test(
    'by a file on port 80; it counts for the next connection, open ones go on, and it is installed for the next start',
    { timeout: 90_000 },
    async () => {
      const open = await dial();
      await put(wanted());
      const state = await settled();

      expect(state.problem).toBeNull();
      const certificate = await shown();
      expect(certificate.checkHost('vault.example.org')).toBe('vault.example.org');
      expect((await owner.call('GET', '/certificate')).body).toMatchObject({
        source: 'acme',
        selfSigned: false,
        key: 'P-256',
      });
      open.write('GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n');
      const answer = await new Promise<Buffer>((resolve) => open.once('data', resolve));
      expect(answer.toString()).toContain('200 OK');
      open.destroy();
      const again = await loadTlsIdentity(appliance.deps.config, appliance.deps.clock);
      expect(again.fingerprint).toBe(certificate.fingerprint256);
      const tls = dataPaths(appliance.dataDir).tls;
      expect((await stat(join(tls, 'acme-account.json'))).mode & 0o777).toBe(0o600);
      expect(await readFile(join(tls, 'acme-account.json'), 'utf8')).toContain('PRIVATE KEY');
    },
  );

  test('not by hand meanwhile', async () => {
    expect((await owner.call('DELETE', '/certificate')).status).toBe(409);
    expect(
      (await owner.call('PUT', '/certificate', { certificate: authority.root, key: 'x'.repeat(40) })).status,
    ).toBe(409);
  });

  test('by DNS, for a name with a star', { timeout: 90_000 }, async () => {
    await put(wanted({ challenge: 'dns-01', names: ['*.example.org', 'example.org'] }));
    expect((await settled()).problem).toBeNull();
    await waitFor(
      'the new certificate',
      async () => (await shown()).checkHost('a.example.org') === '*.example.org',
    );

    expect((await shown()).checkHost('example.org')).toBe('example.org');
  });

  test('again when two thirds of its life are over, not before', { timeout: 90_000 }, async () => {
    const first = await shown();
    const due = renewalTime(first).getTime();
    const life = first.validToDate.getTime() - first.validFromDate.getTime();
    expect((due - first.validFromDate.getTime()) / life).toBeGreaterThan(0.62);
    expect((due - first.validFromDate.getTime()) / life).toBeLessThan(2 / 3);

    await renewCertificate(appliance.deps);
    expect((await shown()).fingerprint256).toBe(first.fingerprint256);
    await appliance.database.db
      .updateTable('acme')
      .set({ next_try_at: new Date(0) })
      .execute();
    await renewCertificate(appliance.deps);

    expect((await shown()).fingerprint256).not.toBe(first.fingerprint256);
  });
});

describe('a renewal that fails', () => {
  test(
    'keeps the old certificate, waits longer each time, and says what the authority said',
    { timeout: 90_000 },
    async () => {
      const before = (await shown()).fingerprint256;
      redirect.close();
      redirect.closeAllConnections();
      // A name that the authority never looked at: it now and then lets an earlier look count, whatever it is told.
      await put(wanted({ names: ['other.example.org'] }));
      const first = await settled();

      expect(first.problem?.message).toMatch(/gave no certificate/);
      expect(first.problem?.hint).toMatch(/port 80/);
      expect((await shown()).fingerprint256).toBe(before);
      await appliance.database.db
        .updateTable('acme')
        .set({ next_try_at: new Date(0) })
        .execute();
      await authority.pause();
      await renewCertificate(appliance.deps);
      const second = await readState();
      const waitMs = Date.parse(second.nextTryAt ?? '') - appliance.clock.now().getTime();
      expect(waitMs).toBeGreaterThan(1.9 * 3_600_000);
      expect((await shown()).fingerprint256).toBe(before);
    },
  );
});

describe('the end of a certificate', () => {
  test('is told at 30, 14, 7 and 1 days', () => {
    expect([31, 30, 15, 14, 8, 7, 2, 1, 0, -1].map(dueNotice)).toEqual([
      undefined,
      30,
      30,
      14,
      14,
      7,
      7,
      1,
      1,
      1,
    ]);
  });

  test(
    'is a banner, a line on the overview, an audit entry and one mail to the owner at each step',
    { timeout: 90_000 },
    async () => {
      const end = (await shown()).validToDate.getTime();
      const session = await owner.call<{ banners: { kind: string }[] }>('GET', '/session');
      expect(session.body.banners.some((one) => one.kind === 'certificate')).toBe(false);
      appliance.clock.offsetMs = end - Date.now() - 6.5 * 86_400_000;
      const later = await appliance.signIn('ada@example.org', 'copper kettle sings 7');

      await renewCertificate(appliance.deps);
      await renewCertificate(appliance.deps);

      const then = await later.call<{ banners: { kind: string; message: string }[] }>('GET', '/session');
      expect(then.body.banners).toContainEqual({
        kind: 'certificate',
        message: expect.stringMatching(/runs out on .* in 6 days/) as string,
      });
      const overview = await later.call<{ needsYou: { name: string }[] }>('GET', '/overview');
      expect(overview.body.needsYou).toContainEqual(
        expect.objectContaining({
          name: 'certificate',
          hint: expect.stringMatching(/renewal failed/) as string,
        }),
      );
      const audit = await later.call<{ items: object[] }>(
        'GET',
        '/audit?action=appliance.certificate.expiring',
      );
      expect(audit.body.items).toHaveLength(1);
      const mail = await appliance.database.db.selectFrom('mail_messages').select('template').execute();
      expect(mail.filter((one) => one.template === 'certificate-expiry')).toHaveLength(1);
      appliance.clock.offsetMs = 0;
    },
  );
});
