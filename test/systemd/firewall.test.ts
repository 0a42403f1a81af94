/** The packet filter as the kernel applies it: two network namespaces with a cable between them, one of them the machine. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderFirewall } from '../../server/appliance/host/network/firewall-rules.ts';
import { isRoot } from '../helpers/other-account.ts';
import { requireTools } from '../helpers/tools.ts';

const UNIT = join(import.meta.dirname, '..', '..', 'systemd', 'units', 'holdfast-ssh.service');
const CABLE = 'ip link set lo up && ip link add name machine type veth peer name world';
const ACCOUNTS = { server: 971, worker: 973, resolver: 991, time: 105 };
const SETTINGS = { managementNetworks: ['10.9.0.2/32'] };
/** SSH is open, for one who may not see the pages. */
const DOOR = { port: 22, networks: ['10.9.0.3/32'] };

const LISTEN = `for (const port of process.argv.slice(1))
  require('net').createServer((s) => s.on('error', () => undefined).end('x')).listen(+port, '0.0.0.0', () => console.error('up'));`;
const CONNECT = `const [host, port, from] = process.argv.slice(1);
  const s = require('net').connect({ host, port: +port, localAddress: from, timeout: 1500 });
  const say = (word) => { console.log(word); process.exit(); };
  s.on('connect', () => say('open')).on('error', (e) => say(e.code)).on('timeout', () => say('silence'));`;

const OUT: [uid: number, host: string, port: number, expected: string][] = [
  [973, '10.9.0.2', 22, 'open'],
  [973, '10.9.0.2', 443, 'open'],
  [973, '10.9.0.2', 25, 'EHOSTUNREACH'],
  [971, '10.9.0.2', 443, 'open'],
  [971, '10.9.0.2', 22, 'open'],
  [971, '10.9.0.2', 5432, 'EHOSTUNREACH'],
  [974, '10.9.0.2', 443, 'EHOSTUNREACH'],
  [973, '169.254.169.254', 443, 'EHOSTUNREACH'],
  [971, '169.254.169.254', 80, 'EHOSTUNREACH'],
  [0, '169.254.169.254', 80, 'open'],
  [0, '169.254.169.254', 443, 'EHOSTUNREACH'],
];
const IN: [from: string, port: number, expected: string][] = [
  ['10.9.0.2', 443, 'open'],
  ['10.9.0.2', 8443, 'silence'],
  ['10.9.0.3', 443, 'silence'],
  ['10.9.0.3', 22, 'open'],
  ['10.9.0.2', 22, 'silence'],
];

describe.skipIf(!isRoot)('the firewall of a machine', () => {
  let folder = '';
  let found: string[] = [];

  beforeAll(() => {
    requireTools('nft', 'ip');
    folder = mkdtempSync(join(tmpdir(), 'holdfast-test-firewall-'));
    writeFileSync(join(folder, 'rules'), renderFirewall(SETTINGS, ACCOUNTS, DOOR));
    const script = `set -e
      node=${process.execPath}
      unshare --net sleep 60 & world=$!
      until [ "$(readlink /proc/$world/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
      ${CABLE} netns $world
      ip addr add 10.9.0.1/24 dev machine; ip link set machine up
      nsenter --net -t $world sh -c 'ip link set lo up; for a in 10.9.0.2/24 10.9.0.3/24 169.254.169.254/32; do ip addr add $a dev world; done; ip link set world up'
      ip route add 169.254.169.254 dev machine
      nft -f ${folder}/rules
      nsenter --net -t $world $node -e "$LISTEN" 443 22 25 80 2> ${folder}/far & far=$!
      $node -e "$LISTEN" 443 8443 22 2> ${folder}/near & near=$!
      until [ "$(cat ${folder}/far ${folder}/near | grep -c up)" = 7 ]; do sleep 0.05; done
      ${OUT.map(([uid, host, port]) => `setpriv --reuid ${uid} --clear-groups $node -e "$CONNECT" ${host} ${port}`).join('\n')}
      ${IN.map(([from, port]) => `nsenter --net -t $world $node -e "$CONNECT" 10.9.0.1 ${port} ${from}`).join('\n')}
      nft flush chain inet holdfast support
      nsenter --net -t $world $node -e "$CONNECT" 10.9.0.1 22 10.9.0.3
      kill $far $near $world`;
    const ran = spawnSync('unshare', ['--net', 'bash', '-c', script], {
      encoding: 'utf8',
      timeout: 50_000,
      env: { PATH: process.env.PATH, LISTEN, CONNECT },
    });
    found = ran.stdout.trim().split('\n');
    if (ran.status !== 0) throw new Error(ran.stderr);
  }, 60_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(OUT.map((row, index) => [...row, index] as const))(
    'account %i calling %s, port %i: %s',
    (_uid, _host, _port, expected, index) => {
      expect(found[index]).toBe(expected);
    },
  );

  it.each(IN.map((row, index) => [...row, index] as const))(
    'a call from %s to port %i: %s',
    (_from, _port, expected, index) => {
      expect(found[OUT.length + index]).toBe(expected);
    },
  );

  it('what SSH was let in by is closed again by emptying its chain, as its unit does', () => {
    expect(found[OUT.length + IN.length]).toBe('silence');
    expect(readFileSync(UNIT, 'utf8')).toContain('/usr/sbin/nft flush chain inet holdfast support\n');
  });
});
