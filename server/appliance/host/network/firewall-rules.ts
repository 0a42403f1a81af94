/**
 * The packet filter, from settings: nothing comes in but pages from the management networks, nothing goes out but what each account
 * needs. Pure. The metadata service of a cloud hands out credentials to whoever asks: only root, who asks early for the region, may.
 */
import { isIPv4 } from 'node:net';
import { DEFAULT_OUTBOUND, type NetworkSettings } from './settings.ts';

/** Numbers of the accounts that may call out; one that this machine does not have gets no rule. */
export type OutboundAccounts = Partial<Record<'server' | 'worker' | 'resolver' | 'time', number>>;

/** What is let in beside the pages, for a time: SSH while it is open. */
export interface OpenDoor {
  port: number;
  /** Empty: from everywhere. */
  networks: readonly string[];
}

/** Azure's is an ordinary address; the others share one. */
const METADATA = ['169.254.169.254', '168.63.129.16'];

/** Rules for `nft -f`, which replaces the old ones in one transaction. */
export function renderFirewall(
  settings: NetworkSettings,
  accounts: OutboundAccounts,
  door?: OpenDoor,
): string {
  const outbound = settings.outbound ?? DEFAULT_OUTBOUND;
  const lines = [
    'table inet holdfast',
    'delete table inet holdfast',
    'table inet holdfast {',
    // Always there, so that the unit of SSH can empty it whatever became of hostd.
    support(door),
    chain('input', [
      'iif lo accept',
      'ct state established,related accept',
      'ct state invalid drop',
      'meta l4proto { icmp, ipv6-icmp } limit rate 50/second accept',
      'udp sport 67 udp dport 68 accept',
      'udp sport 547 udp dport 546 accept',
      ...rulesFrom(settings.managementNetworks ?? [], 'tcp dport { 80, 443 } ct state new accept'),
      'jump support',
      'limit rate 6/minute log prefix "holdfast refused in: "',
    ]),
    chain('forward', []),
    chain('output', [
      'oif lo accept',
      'ct state established,related accept',
      'meta l4proto { icmp, ipv6-icmp } accept',
      'udp sport 68 udp dport 67 accept',
      'udp sport 546 udp dport 547 accept',
      ...when(accounts.resolver, (uid) => [
        `meta skuid ${uid} meta l4proto { tcp, udp } th dport { 53, 853 } accept`,
      ]),
      ...METADATA.flatMap((address) => [
        `ip daddr ${address} meta skuid 0 tcp dport { 80, 32526 } accept`,
        `ip daddr ${address} reject with icmpx admin-prohibited`,
      ]),
      'ip6 daddr fd00:ec2::254 meta skuid != 0 reject with icmpx admin-prohibited',
      ...when(accounts.time, (uid) => [
        `meta skuid ${uid} udp dport 123 accept`,
        `meta skuid ${uid} tcp dport 4460 accept`,
      ]),
      ...portRules(accounts.worker, withProxy(outbound.worker, settings)),
      // The server tries targets out, and reads in them for the pages; the worker does the bulk.
      ...portRules(accounts.server, withProxy([...outbound.server, ...outbound.worker], settings)),
      ...portRules(0, outbound.machine),
      'limit rate 6/minute log prefix "holdfast refused out: "',
      'reject with icmpx admin-prohibited',
    ]),
    '}',
    '',
  ];
  return lines.join('\n');
}

function chain(hook: string, rules: readonly string[]): string {
  const all = [`type filter hook ${hook} priority filter; policy drop;`, ...rules];
  return `  chain ${hook} {\n${all.map((rule) => `    ${rule}\n`).join('')}  }`;
}

function support(door: OpenDoor | undefined): string {
  const rules =
    door === undefined ? [] : rulesFrom(door.networks, `tcp dport ${door.port} ct state new accept`);
  return `  chain support {\n${rules.map((rule) => `    ${rule}\n`).join('')}  }`;
}

function rulesFrom(networks: readonly string[], what: string): string[] {
  if (networks.length === 0) return [what];
  const of = (wanted: boolean) =>
    networks.filter((network) => isIPv4(network.split('/')[0] ?? '') === wanted);
  const rule = (family: string, list: string[]) =>
    list.length === 0 ? [] : [`${family} saddr { ${[...new Set(list)].join(', ')} } ${what}`];
  return [...rule('ip', of(true)), ...rule('ip6', of(false))];
}

function portRules(uid: number | undefined, ports: readonly number[]): string[] {
  if (uid === undefined || ports.length === 0) return [];
  const list = [...new Set(ports)].sort((left, right) => left - right).join(', ');
  return [`meta skuid ${uid} tcp dport { ${list} } accept`];
}

function withProxy(ports: readonly number[], { proxy }: NetworkSettings): number[] {
  if (proxy === undefined) return [...ports];
  const { port, protocol } = new URL(proxy.url);
  return [...ports, port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)];
}

function when<T>(value: T | undefined, rules: (value: T) => string[]): string[] {
  return value === undefined ? [] : rules(value);
}
