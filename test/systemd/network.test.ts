import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { hostPlaces, openJournal } from '../../server/appliance/host/index.ts';
import { renderFirewall } from '../../server/appliance/host/network/firewall-rules.ts';
import {
  adoptNetworkSettings,
  CONFIRM_MS,
  openNetworkDesk,
  readNetworkSettings,
} from '../../server/appliance/host/network/trial.ts';
import { checkNetworkSettings, type NetworkSettings } from '../../server/appliance/host/network/settings.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { createLog } from '../../server/lib/log.ts';
import { isRoot } from '../helpers/other-account.ts';
import { requireTools } from '../helpers/tools.ts';

const ACTOR = { kind: 'console', label: 'root' } as const;
const STATIC: NetworkSettings = {
  addresses: {
    method: 'static',
    addresses: ['192.0.2.10/24', '2001:db8::10/64'],
    gateways: ['192.0.2.1', '2001:DB8::1'],
  },
  nameServers: ['192.0.2.53'],
  hostName: 'vault',
  timeServers: ['time.example.org'],
  managementNetworks: ['10.0.0.0/8', 'fd00::/8'],
};
const ACCOUNTS = { server: 971, worker: 973, resolver: 991, time: 105 };

let top = '';
beforeEach(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-test-network-'));
  await mkdir(join(top, 'state'));
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(top, { recursive: true, force: true });
});

describe('network settings', () => {
  it.each([
    [
      { addresses: { method: 'static', addresses: ['192.0.2.10'], gateways: [] } },
      /not an address with its prefix/,
    ],
    [{ addresses: { method: 'static', addresses: ['192.0.2.10/33'], gateways: [] } }, /not an address/],
    [
      { addresses: { method: 'static', addresses: ['192.0.2.10/24'], gateways: ['192.0.3.1'] } },
      /in none of this machine/,
    ],
    [
      { addresses: { method: 'static', addresses: ['2001:db8::1/64'], gateways: ['2001:db8:1::1'] } },
      /in none of/,
    ],
    [{ nameServers: ['dns.example'] }, /no IP address/],
    [{ managementNetworks: ['10.0.0.0/8; accept'] }, /is not a network/],
    [{ managementNetworks: ['10.0.0.0/99'] }, /is not a network/],
  ] as [NetworkSettings, RegExp][])('%j are refused in words', (settings, words) => {
    expect(() => checkNetworkSettings(settings)).toThrow(words);
  });

  it('of a machine with two families and a link-local gateway are taken', () => {
    checkNetworkSettings(STATIC);
    checkNetworkSettings({
      addresses: { method: 'static', addresses: ['2001:db8::1/64'], gateways: ['fe80::1'] },
    });

    expect(STATIC.hostName).toBe('vault');
  });
});

describe('new network settings', () => {
  it('are applied at once and count for good when they are confirmed', async () => {
    const { desk, applied, places } = open();

    const tried = await desk.tryOut(STATIC, ACTOR);
    expect(tried).toMatchObject({ settings: {}, pending: { settings: STATIC } });
    const kept = await desk.confirm(ACTOR);

    expect(kept).toMatchObject({ settings: STATIC, pending: null });
    expect(applied).toEqual([STATIC]);
    expect(await readFile(join(top, 'etc/systemd/network/05-holdfast.network'), 'utf8')).toContain(
      'Address=192.0.2.10/24\nAddress=2001:db8::10/64\nGateway=192.0.2.1\n',
    );
    expect(await readFile(join(top, 'etc/chrony/sources.d/holdfast.sources'), 'utf8')).toBe(
      'server time.example.org iburst\n',
    );
    expect(await readNetworkSettings(places)).toEqual(STATIC);
  });

  it('are given up after a minute when nobody confirms them', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { desk, applied, places } = open();
    await desk.tryOut(STATIC, ACTOR);

    vi.advanceTimersByTime(CONFIRM_MS + 1);
    vi.useRealTimers();

    await vi.waitFor(() => expect(applied).toEqual([STATIC, {}]));
    await expect(desk.confirm(ACTOR)).rejects.toMatchObject({ code: 'wrong_state' });
    expect(await readNetworkSettings(places)).toEqual({});
    expect(await readFile(join(top, 'etc/hostname'), 'utf8')).toBe('holdfast\n');
  });

  it('do not survive a stop before they are confirmed', async () => {
    const { desk, places } = open();
    await desk.tryOut(STATIC, ACTOR);
    desk.stop();

    expect(await readNetworkSettings(places)).toEqual({});
    expect((await open().desk.state()).pending).toBeNull();
  });

  it('that the system does not take are put back at once', async () => {
    const { desk, applied } = open(async (settings) => {
      if (settings.hostName === 'vault') throw new Error('networkctl said no');
    });

    await expect(desk.tryOut(STATIC, ACTOR)).rejects.toMatchObject({ code: 'invalid_input' });

    expect(applied).toEqual([STATIC, {}]);
    expect((await desk.state()).pending).toBeNull();
  });

  it('are refused while others are tried, and each act is journaled', async () => {
    const { desk, places } = open();
    await desk.tryOut(STATIC, ACTOR);

    await expect(desk.tryOut({}, ACTOR)).rejects.toMatchObject({ code: 'conflict' });
    await desk.giveUp(ACTOR);

    const acts = await openJournal(places.state, systemClock).list();
    expect(acts.map((act) => act.action)).toEqual(['host.network.tried', 'host.network.given-up']);
  });

  it('leave what other verbs keep in the file', async () => {
    const { desk, places } = open();
    await writeFile(join(places.state, 'settings.json'), JSON.stringify({ dataDisk: '/dev/vdb' }));

    await desk.tryOut(STATIC, ACTOR);
    await desk.confirm(ACTOR);

    const file = JSON.parse(await readFile(join(places.state, 'settings.json'), 'utf8')) as object;
    expect(file).toMatchObject({ dataDisk: '/dev/vdb', managementNetworks: ['10.0.0.0/8', 'fd00::/8'] });
  });

  it('of the cloud are taken only while nobody set any', async () => {
    const { places } = open();

    await expect(adoptNetworkSettings(places, { hostName: 'a b' })).rejects.toMatchObject({
      code: 'invalid_input',
    });
    expect(await adoptNetworkSettings(places, { hostName: 'cloudy' }, async () => undefined)).toBe(true);
    expect(await adoptNetworkSettings(places, STATIC)).toBe(false);
    expect(await readNetworkSettings(places)).toEqual({ hostName: 'cloudy' });
  });

  it('that are damaged are an error, not an empty machine', async () => {
    const { desk, places } = open();
    await writeFile(join(places.state, 'settings.json'), '{"network":{"hostName":7}}');

    await expect(desk.state()).rejects.toMatchObject({ code: 'integrity_failure' });
  });

  function open(fail?: (settings: NetworkSettings) => Promise<void>) {
    const places = hostPlaces(top);
    const log = createLog('silent', 'test');
    const applied: NetworkSettings[] = [];
    const deps = { places, clock: systemClock, log, journal: openJournal(places.state, systemClock) };
    const desk = openNetworkDesk(deps, async (settings) => {
      applied.push(settings);
      await fail?.(settings);
    });
    return { desk, applied, places };
  }
});

describe('the firewall', () => {
  it('lets pages in from the management networks only', () => {
    const rules = renderFirewall(STATIC, ACCOUNTS);

    expect(rules).toContain('ip saddr { 10.0.0.0/8 } tcp dport { 80, 443 } ct state new accept');
    expect(rules).toContain('ip6 saddr { fd00::/8 } tcp dport { 80, 443 } ct state new accept');
    expect(rules).not.toMatch(/^ *tcp dport/m);
  });

  it('closes the metadata service before any account may call out', () => {
    const rules = renderFirewall({}, ACCOUNTS)
      .split('\n')
      .map((line) => line.trim());
    const closed = rules.indexOf('ip daddr 169.254.169.254 reject with icmpx admin-prohibited');

    expect(closed).toBeGreaterThan(0);
    expect(rules.findIndex((rule) => /skuid 97[13]/.test(rule))).toBeGreaterThan(closed);
  });

  it('lets the server try out a target on whatever port backups go to', () => {
    const outbound = { worker: [2222], server: [443], machine: [] };

    expect(renderFirewall({ outbound }, ACCOUNTS)).toContain('meta skuid 971 tcp dport { 443, 2222 } accept');
  });

  it('opens the port of a proxy to those who use it', () => {
    const proxy = { url: 'http://proxy.example:3128', except: [] };

    expect(renderFirewall({ proxy }, ACCOUNTS)).toContain(
      'meta skuid 973 tcp dport { 22, 443, 3128 } accept',
    );
  });

  beforeAll(() => requireTools('nft'));

  it.skipIf(!isRoot).each([
    ['without settings', {}],
    ['with all settings', { ...STATIC, outbound: { worker: [9000], server: [], machine: [] } }],
  ] as [string, NetworkSettings][])('%s loads, twice, and ends up closed', async (_name, settings) => {
    const file = join(top, 'firewall.nft');
    await writeFile(file, renderFirewall(settings, ACCOUNTS));

    const loaded = spawnSync(
      'unshare',
      ['--net', 'sh', '-c', `nft -f ${file} && nft -f ${file} && nft list ruleset`],
      {
        encoding: 'utf8',
      },
    );

    expect(loaded.stderr).toBe('');
    expect(loaded.stdout.match(/policy drop/g)).toHaveLength(3);
  });

  it.skipIf(!isRoot)('of the image, for a machine without settings, loads', () => {
    const file = join(import.meta.dirname, '../../systemd/system/firewall-closed.nft');

    expect(spawnSync('unshare', ['--net', 'nft', '-f', file], { encoding: 'utf8' })).toMatchObject({
      status: 0,
    });
  });
});
