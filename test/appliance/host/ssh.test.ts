/**
 * SSH for a limited time, for real: hostd's verbs, useradd, nft, sshd and ssh in namespaces of their own, whose /etc is a copy of this
 * machine's. `ssh-hostd-child.ts` says what is played there: systemd, by what the unit says.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostPlaces, openJournal } from '../../../server/appliance/host/index.ts';
import type { OpenedSsh, SshState } from '../../../server/appliance/host/ssh/schema.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { isRoot } from '../../helpers/other-account.ts';
import { requireTools } from '../../helpers/tools.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { makeSshMachine, type Comer, type SshMachine } from './ssh-machine.ts';

const ACTOR = { kind: 'user', id: '6f0c6a3e-2f6d-4a1b-9d0e-1f2a3b4c5d6e' } as const;
const REQUEST = { actor: ACTOR, minutes: 60, reason: 'The updates do not install' };
const LIMIT_MS = 90_000;

describe.skipIf(!isRoot)('SSH', () => {
  let machine: SshMachine;
  let authority = '';
  let passphrase = '';

  beforeAll(async () => {
    requireTools('sshd', 'ssh', 'ssh-keygen', 'nft', 'ip');
    machine = await makeSshMachine();
    await machine.certify('good', 'authority', 'holdfast-support', '-1m:+1h');
    await machine.certify('from-other', 'other-authority', 'holdfast-support', '-1m:+1h');
    await machine.certify('expired', 'authority', 'holdfast-support', '-2h:-1h');
    await machine.certify('for-somebody-else', 'authority', 'somebody,root', '-1m:+1h');
    await machine.keygen(...['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', machine.at('short')]);
    authority = await read('authority.pub');
  }, LIMIT_MS);
  afterAll(() => machine.close());

  const read = (path: string) => readFile(machine.at(path), 'utf8');
  const state = () => machine.host().get<SshState>('/ssh');
  const open = (change: object = { authority }) =>
    machine.host().send<OpenedSsh>('POST', '/ssh', { ...REQUEST, ...change });
  const close = () => machine.host().send<SshState>('DELETE', '/ssh', { actor: ACTOR });
  const comer = (): Comer => ({ certificate: 'good', passphrase });
  const expectOff = async () => {
    expect(await read('etc/passwd')).not.toContain('holdfast-support');
    expect(await read('etc/shadow')).not.toContain('holdfast-support');
    expect((await machine.ssh(comer())).said).toContain('Connection refused');
    expect(await machine.inNetwork('nft', 'list', 'chain', 'inet', 'holdfast', 'support')).not.toContain(
      '22',
    );
  };

  describe('while it is off', () => {
    it('there is no account, no listener, no hole and no key', async () => {
      expect(await state()).toEqual({
        ...{ open: null, hostKey: null, authority: null },
        account: 'holdfast-support',
      });
      expect(await read('etc/passwd')).not.toContain('holdfast-support');
      expect((await machine.ssh({ certificate: 'good' })).said).toContain('Connection refused');
    });

    it.each([
      ['nothing', {}, /No authority is named/],
      ['a private key', { authority: 'PRIVATE' }, /a private key, which must not leave/],
      ['a certificate', { authority: 'CERTIFICATE' }, /a certificate, not the authority/],
      ['half a key', { authority: `ssh-ed25519 ${'A'.repeat(60)}` }, /not a whole public key/],
      ['several keys', { authority: 'TWICE' }, /several lines/],
      [
        'options before the key',
        { authority: 'cert-authority ssh-ed25519 AAAA' },
        /not a public key of a kind/,
      ],
      ['a short RSA key', { authority: 'SHORT' }, /2048 bits/],
      ['a network that is none', { authority: 'GOOD', networks: ['10.0.0.0/8 accept'] }, /is not a network/],
      ['too long', { authority: 'GOOD', minutes: 481 }, /minutes/],
      ['too short', { authority: 'GOOD', minutes: 14 }, /minutes/],
      ['no reason', { authority: 'GOOD', reason: '          ' }, /reason/],
    ])('%s is refused, and it stays off', async (_what, change, words) => {
      const texts: Record<string, string> = {
        PRIVATE: await read('authority'),
        CERTIFICATE: await read('good-cert.pub'),
        SHORT: await read('short.pub'),
        TWICE: authority + (await read('mine.pub')),
        GOOD: authority,
      };
      const given = 'authority' in change ? { authority: texts[change.authority] ?? change.authority } : {};

      await expect(open({ ...change, ...given })).rejects.toThrow(words);

      expect((await state()).open).toBeNull();
      expect(await openJournal(hostPlaces(machine.top).state, systemClock).list()).toEqual([]);
    });
  });

  describe('while it is open', () => {
    beforeAll(async () => {
      passphrase = (await open()).passphrase;
    }, LIMIT_MS);

    it('a certificate and the passphrase together get in', async () => {
      const entered = await machine.ssh(comer(), 'id -un; id -Gn');

      expect(entered).toMatchObject({ code: 0, out: 'holdfast-support\nholdfast-support systemd-journal\n' });
    });

    it.each([
      ['the certificate alone', { certificate: 'good' }],
      ['the certificate with a wrong passphrase', { certificate: 'good', passphrase: 'AAAA-BBBB' }],
      ['the passphrase alone', { passphrase: 'RIGHT' }],
      ['a key without certificate', { key: true, passphrase: 'RIGHT' }],
      ['a certificate of another authority', { certificate: 'from-other', passphrase: 'RIGHT' }],
      ['a certificate that has expired', { certificate: 'expired', passphrase: 'RIGHT' }],
      ['a certificate for somebody else', { certificate: 'for-somebody-else', passphrase: 'RIGHT' }],
      [
        'root, with a certificate for root',
        { certificate: 'for-somebody-else', passphrase: 'RIGHT', user: 'root' },
      ],
    ] as [string, Comer][])('%s: refused', async (_what, with_) => {
      const given = { ...with_, ...(with_.passphrase === 'RIGHT' ? { passphrase } : {}) };

      const tried = await machine.ssh(given, 'echo inside');

      expect(tried.code).toBe(255);
      expect(tried.out).toBe('');
      expect(tried.said).toMatch(/Permission denied/);
    });

    it('whoever is in cannot become root, read what is not theirs, forward anything or bring an environment', async () => {
      const inside = await machine.ssh(
        comer(),
        'grep -E "NoNewPrivs|CapEff|CapPrm" /proc/self/status; cat /etc/shadow; ls /data; echo "[$SECRET]"',
        ['-o', 'SetEnv=SECRET=brought'],
      );
      const forwarded = await machine.ssh(comer(), '', ['-W', '127.0.0.1:22']);
      const files = await machine.ssh(comer(), 'sftp', ['-s']);

      expect(inside.out).toMatch(/CapPrm:\s0{16}\nCapEff:\s0{16}\nNoNewPrivs:\s1\n/);
      expect(inside.out).toMatch(/\n\[\]\n$/);
      expect(inside.said).toContain('/etc/shadow: Permission denied');
      expect(forwarded).toMatchObject({ code: 255, out: '' });
      expect(forwarded.said).toContain('administratively prohibited');
      expect(files.said).toContain('subsystem request failed');
    });

    it('what sshd writes down names who came by the id of the certificate', async () => {
      const log = await read('sshd.log');

      expect(log).toMatch(/Accepted certificate ID "good".*signed by|ID good \(serial 0\)/);
      expect(log).toContain('Accepted password for holdfast-support');
      expect(log).not.toContain(passphrase);
    });

    it('the packet filter has one hole more: this port', async () => {
      const rules = await machine.inNetwork('nft', 'list', 'chain', 'inet', 'holdfast', 'support');

      expect(rules).toContain('tcp dport 22 ct state new accept');
    });

    it('a second opening is refused, and the first goes on', async () => {
      await expect(open()).rejects.toThrow(/SSH is open already/);

      expect((await machine.ssh(comer(), 'true')).code).toBe(0);
    });

    it('hostd may be killed and begin again: it is still open, and known to be', async () => {
      const before = await state();
      await machine.restartHostd();

      expect(await state()).toEqual(before);
      expect((await machine.ssh(comer(), 'true')).code).toBe(0);
    });

    it('closing ends who is in, and account, listener, hole and passphrase are gone', async () => {
      const guest = machine.visit(comer());
      await guest.entered;

      expect((await close()).open).toBeNull();

      expect(await guest.left).not.toBe(0);
      await expectOff();
    });
  });

  it(
    'opened again without naming the authority it has the same host key and another passphrase',
    async () => {
      const before = await state();
      const opened = await open({});

      expect(opened.state.hostKey).toEqual(before.hostKey);
      expect(opened.state.authority).toEqual(before.authority);
      expect(opened.passphrase).not.toBe(passphrase);
      expect((await machine.ssh(comer(), 'true')).code).toBe(255);
      expect((await machine.ssh({ certificate: 'good', passphrase: opened.passphrase }, 'true')).code).toBe(
        0,
      );
      await close();
    },
    LIMIT_MS,
  );

  it(
    'opened for a network it refuses all others by itself, behind the packet filter',
    async () => {
      const opened = await open({ authority, networks: ['192.0.2.7/24', '2001:db8::9/32'] });

      const tried = await machine.ssh({ certificate: 'good', passphrase: opened.passphrase }, 'echo inside');

      expect(tried).toMatchObject({ code: 255, out: '' });
      expect(await read('sshd.log')).toContain('not allowed because not listed in AllowUsers');
      const rules = await machine.inNetwork('nft', 'list', 'chain', 'inet', 'holdfast', 'support');
      expect(rules).toMatch(
        /ip saddr 192\.0\.2\.0\/24 tcp dport 22 .*\n\s*ip6 saddr 2001:db8::\/32 tcp dport 22/,
      );
      await close();
    },
    LIMIT_MS,
  );

  it(
    'ends by the seconds of its unit when hostd is gone, with who is in; hostd says so when it is back',
    async () => {
      await machine.restartHostd('8');
      passphrase = (await open()).passphrase;
      const guest = machine.visit(comer());
      await guest.entered;
      machine.killHostd();

      expect(await guest.left).not.toBe(0);
      await waitFor('the unit to end', () => !existsSync(machine.at('unit.pid')));
      await expectOff();
      await machine.restartHostd();
      expect((await state()).open).toBeNull();
      expect(existsSync(machine.at('run/holdfast/ssh'))).toBe(false);
    },
    LIMIT_MS,
  );

  it('each opening and end is journaled, with reason and who, and never with the passphrase', async () => {
    const journal = await openJournal(hostPlaces(machine.top).state, systemClock).list();

    expect(journal.map(({ action }) => action.slice('host.ssh.'.length))).toEqual([
      ...['opened', 'closed', 'opened', 'closed', 'opened', 'closed', 'opened', 'ended'],
    ]);
    expect(journal[0]).toMatchObject({
      actor: ACTOR,
      detail: {
        reason: REQUEST.reason,
        networks: [],
        authority: expect.stringMatching(/^SHA256:/) as string,
      },
    });
    expect(await read('state/journal.jsonl')).not.toMatch(/[0-9A-Z]{4}(-[0-9A-Z]{4}){5}/);
  });
});
