/**
 * Where a request comes from. The peer's address, unless the peer is a proxy that the configuration names: then what that proxy
 * says. From anybody else `X-Forwarded-For` counts for nothing (OWASP ASVS 5.0, 4.1.3).
 */
import { BlockList, isIP, isIPv6 } from 'node:net';
import type { FastifyRequest } from 'fastify';

/** Addresses and networks (`192.0.2.7`, `2001:db8::/64`) whose word is taken. Pure. */
export function makeProxyTest(trusted: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const entry of trusted) {
    const [network = '', bits] = entry.split('/');
    const family = isIPv6(network) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(network, family);
    else list.addSubnet(network, Number(bits), family);
  }
  return (given) => {
    const address = normalAddress(given);
    return isIP(address) !== 0 && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  };
}

/** The address as it is kept and counted: IPv4 in its own form, no zone. */
export function clientAddress(request: Pick<FastifyRequest, 'ip' | 'socket'>): string {
  const said = normalAddress(request.ip);
  // A trusted proxy that passes on something that is no address.
  return isIP(said) !== 0 ? said : normalAddress(request.socket.remoteAddress ?? '');
}

/** `::ffff:192.0.2.7` and `::ffff:c000:207` are IPv4; a zone (`%eth0`) is the machine's own matter. */
export function normalAddress(given: string): string {
  const address = (given.split('%')[0] ?? '').trim().toLowerCase();
  const groups = isIPv6(address) ? groupsOf(address) : undefined;
  if (groups === undefined) return address;
  if (!groups.slice(0, 5).every((group) => group === 0) || groups[5] !== 0xffff) return address;
  const [high = 0, low = 0] = groups.slice(6);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** What counts as one client: an IPv6 customer has a whole /64; an IPv4 address stands for itself. */
export function networkOf(given: string): string {
  const address = normalAddress(given);
  if (!isIPv6(address)) return address;
  return groupsOf(address)
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':');
}

/** The eight groups of a valid IPv6 address. */
function groupsOf(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const [, front = '', a, b, c, d] = dotted ?? [];
  const pair = (high?: string, low?: string) => ((Number(high) << 8) | Number(low)).toString(16);
  const text = dotted === null ? address : `${front}${pair(a, b)}:${pair(c, d)}`;
  const [head = '', tail] = text.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const back = tail === '' ? [] : tail.split(':');
    while (groups.length + back.length < 8) groups.push('0');
    groups.push(...back);
  }
  return groups.map((group) => Number.parseInt(group, 16));
}
