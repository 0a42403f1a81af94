import { rm } from 'node:fs/promises';
import { request, type RequestOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { buildUnlockConsole, buildUnlockPage } from '../../../server/appliance/host/unlock/app.ts';
import { openUnlockDesk, type UnlockDesk } from '../../../server/appliance/host/unlock/desk.ts';
import { allowedNetworks, LIMITS } from '../../../server/appliance/host/unlock/limits.ts';
import { isOpen } from '../../../server/appliance/host/unlock/volume.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { createLog } from '../../../server/lib/log.ts';
import { runProcess } from '../../../server/lib/spawn.ts';
import { loadOwnTlsIdentity } from '../../../server/lib/tls.ts';
import {
  dropTemplates,
  makeClaimedMachine,
  makeImageMachine,
  PASSPHRASE,
  type ImageMachine,
} from './image-machine.ts';

const log = createLog('silent', 'test');

let machine: ImageMachine;
let desk: UnlockDesk;
let close: (() => Promise<void>)[];
beforeEach(async () => {
  machine = await makeImageMachine();
  close = [() => machine.close()];
});
afterEach(async () => {
  for (const act of close.reverse()) await act();
});

afterAll(dropTemplates);

function startDesk(): UnlockDesk {
  desk = openUnlockDesk(machine.deps, () => undefined);
  return desk;
}

interface Answer {
  status: number;
  body: string;
  headers: NodeJS.Dict<string | string[]>;
  fingerprint: string;
}

/** The page over real TLS. */
async function startPage(isAllowed: (address: string) => boolean = () => true) {
  const tls = await loadOwnTlsIdentity(join(machine.places.state, 'unlock', 'tls'), systemClock);
  const page = await buildUnlockPage({ desk, clock: systemClock, log, tls, isAllowed });
  await page.listen({ host: '127.0.0.1', port: 0 });
  close.push(() => page.close());
  const { port } = page.server.address() as AddressInfo;
  const call = (method: string, path: string, body?: string, headers: Record<string, string> = {}) =>
    new Promise<Answer>((resolve, reject) => {
      const options: RequestOptions = {
        host: '127.0.0.1',
        port,
        method,
        path,
        rejectUnauthorized: false,
        agent: false,
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          ...headers,
        },
      };
      const sent = request(options, (response) => {
        const fingerprint = (
          response.socket as unknown as { getPeerCertificate(): { fingerprint256: string } }
        ).getPeerCertificate().fingerprint256;
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => (text += part));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers, fingerprint }),
        );
      });
      sent.on('error', reject);
      sent.end(body);
    });
  return { call, tls };
}

const form = (key: string) => new URLSearchParams({ key }).toString();

async function lockedMachine(daily: 'passphrase' | 'tpm2' = 'passphrase'): Promise<string> {
  const claimed = await makeClaimedMachine(daily);
  close.push(() => claimed.close());
  machine = claimed;
  return claimed.recoveryKey;
}

describe('the unlock page', () => {
  test('opens the volume with the passphrase, and until then says 503 to whoever asks for health', async () => {
    await lockedMachine();
    expect(await startDesk().start()).toBe(false);
    const { call, tls } = await startPage();

    const page = await call('GET', '/');
    expect(page).toMatchObject({ status: 200, fingerprint: tls.fingerprint });
    expect(page.body).toContain('The data volume is locked');
    expect(page.body).not.toContain('<script');
    expect(page.headers['content-security-policy']).toMatch(/default-src 'none'.*form-action 'self'/);
    expect(page.headers['cache-control']).toBe('no-store');
    expect(page.headers['strict-transport-security']).toBeUndefined();
    for (const path of ['/health', '/health/ready'])
      expect(await call('GET', path)).toMatchObject({ status: 503, body: '{"status":"locked"}' });
    expect(await call('GET', '/runs', undefined, { accept: 'text/html' })).toMatchObject({ status: 303 });
    expect(await call('GET', '/api/v1/overview')).toMatchObject({ status: 404 });

    const opened = await call('POST', '/unlock', form(PASSPHRASE));

    expect(opened.status).toBe(200);
    expect(opened.body).toContain('The data volume is open');
    expect(opened.body).toContain('http-equiv="refresh"');
    expect(await isOpen(machine.deps)).toBe(true);
    await desk.opened;
    expect((await machine.deps.journal.list()).at(-1)).toMatchObject({
      action: 'host.volume.unlocked',
      actor: { label: 'unlock-page', address: '127.0.0.1' },
    });
  });

  test('says that a key is wrong, takes only so many a minute, and journals the first of them', async () => {
    await lockedMachine();
    await startDesk().start();
    const { call } = await startPage();
    const journaled = (await machine.deps.journal.list()).length;

    const replies: Answer[] = [];
    for (let attempt = 0; attempt <= LIMITS.perAddress; attempt += 1)
      replies.push(await call('POST', '/unlock', form(`wrong <key> ${attempt}`)));

    expect(replies.map((reply) => reply.status)).toEqual([400, 400, 400, 400, 400, 429]);
    expect(replies[0]?.body).toContain('This key does not open the data volume');
    expect(replies[0]?.body).not.toContain('wrong <key>');
    expect(replies.at(-1)?.body).toContain('wait a minute');
    expect(await call('POST', '/unlock', form(PASSPHRASE))).toMatchObject({ status: 429 });
    expect(await isOpen(machine.deps)).toBe(false);
    const acts = (await machine.deps.journal.list()).slice(journaled);
    expect(acts).toMatchObject([
      { action: 'host.volume.unlock-refused', result: 'refused', detail: { attempts: 1 } },
    ]);
    expect(JSON.stringify(acts)).not.toContain('wrong');
  });

  test('refuses what is no key, another page’s form, and addresses outside the networks', async () => {
    await lockedMachine();
    await startDesk().start();
    const { call } = await startPage();

    for (const key of ['', 'x'.repeat(513), 'two\nlines'])
      expect(await call('POST', '/unlock', form(key))).toMatchObject({ status: 400 });
    expect(await call('POST', '/unlock', form('x'.repeat(10_000)))).toMatchObject({ status: 413 });
    expect(await call('POST', '/unlock', form('a'), { 'sec-fetch-site': 'cross-site' })).toMatchObject({
      status: 403,
    });
    const elsewhere = await startPage(allowedNetworks(['10.0.0.0/8', 'fd00::/8']));
    expect(await elsewhere.call('GET', '/')).toMatchObject({ status: 403 });
    expect(await elsewhere.call('POST', '/unlock', form(PASSPHRASE))).toMatchObject({ status: 403 });
    expect(await isOpen(machine.deps)).toBe(false);
  });

  test('says why the TPM did not open the volume, and takes the recovery key instead', async () => {
    const recoveryKey = await lockedMachine('tpm2');
    machine.tpm.state = 'changed';
    await startDesk().start();
    const { call } = await startPage();

    expect((await call('GET', '/')).body).toContain(
      'TPM of this machine: The TPM does not give out the key.',
    );
    const json = { accept: 'application/json' };
    expect(await call('POST', '/unlock', form(recoveryKey), json)).toMatchObject({ status: 200 });
    expect(await isOpen(machine.deps)).toBe(true);
  });

  test('with the TPM well nobody is asked', async () => {
    await lockedMachine('tpm2');

    expect(await startDesk().start()).toBe(true);

    expect(desk.state().kind).toBe('open');
  });

  test('offers to take a volume of another system over, with its recovery key', async () => {
    const recoveryKey = await lockedMachine();
    await rm(machine.places.state, { recursive: true });
    await startDesk().start();
    const { call } = await startPage();

    const page = await call('GET', '/');
    expect(page.body).toContain('belongs to another Holdfast');
    expect(page.body).toContain('Take over');
    expect((await call('POST', '/unlock', form(recoveryKey))).status).toBe(200);
    expect(await isOpen(machine.deps)).toBe(true);
  });

  test('shows what a foreign disk holds and asks for no key; an empty disk that is attached is taken at once', async () => {
    const path = await machine.addDisk('photos');
    await runProcess('mkfs.ext4', ['-q', '-F', '-L', '<b>photos', path], { timeoutMs: 30_000 });
    await startDesk().start();
    const { call } = await startPage();

    const page = await call('GET', '/');
    expect(page.body).toContain('ext4 file system &#34;&#60;b&#62;photos&#34;');
    expect(page.body).not.toContain('<form');
    expect(page.body).toContain('http-equiv="refresh"');
    expect(await call('POST', '/unlock', form(PASSPHRASE))).toMatchObject({ status: 409 });

    await machine.addDisk('empty');
    expect(await desk.lookAgain()).toBe(true);
    expect(await isOpen(machine.deps)).toBe(true);
  });
});

describe('the console', () => {
  test('opens the volume without the limits of the page, and names one of several empty disks', async () => {
    await lockedMachine();
    await startDesk().start();
    const console = buildUnlockConsole(desk, log, () => ({ fingerprint: 'AA:BB' }));
    close.push(() => console.close());
    for (let attempt = 0; attempt < LIMITS.perAddress + 1; attempt += 1) {
      const refused = await console.inject({ method: 'POST', url: '/unlock', payload: { key: 'wrong' } });
      expect(refused.statusCode).toBe(400);
    }

    const opened = await console.inject({ method: 'POST', url: '/unlock', payload: { key: PASSPHRASE } });

    expect(opened.json()).toMatchObject({ kind: 'open' });
    expect((await console.inject({ url: '/state' })).json()).toMatchObject({
      kind: 'open',
      fingerprint: 'AA:BB',
    });
    const disk = await console.inject({ method: 'POST', url: '/disk', payload: { path: '/dev/null' } });
    expect(disk.statusCode).toBe(409);
  });
});

describe('limits', () => {
  test('hold all addresses together, and count one IPv6 network as one', () => {
    let nowMs = 0;
    return import('../../../server/appliance/host/unlock/limits.ts').then(({ createLimits }) => {
      const limits = createLimits({ now: () => systemClock.now(), monotonicMs: () => nowMs });
      for (let host = 1; host <= LIMITS.perAddress; host += 1) limits.count(`2001:db8:1:2::${host}`);
      expect(() => limits.count('2001:db8:1:2::99')).toThrow(/wait a minute/);
      for (let host = 0; host < LIMITS.overall - LIMITS.perAddress; host += 1)
        limits.count(`192.0.2.${host}`);
      expect(() => limits.count('203.0.113.1')).toThrow(/wait a minute/);

      nowMs += LIMITS.windowMs;

      limits.count('203.0.113.1');
    });
  });

  test('networks take IPv4 also where it comes in the form of IPv6, and refuse what is none', () => {
    const allowed = allowedNetworks(['192.0.2.0/24', 'fd00::/8', '203.0.113.7']);
    expect(['192.0.2.9', '::ffff:192.0.2.9', 'fd12::1', '203.0.113.7'].map(allowed)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(['192.0.3.9', '::ffff:10.0.0.1', 'fe80::1', '203.0.113.8'].map(allowed)).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(() => allowedNetworks(['not-a-network'])).toThrow(/no network/);
    expect(() => allowedNetworks(['10.0.0.0/33'])).toThrow(/no network/);
  });
});
