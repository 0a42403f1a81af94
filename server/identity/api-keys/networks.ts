/** From where a key may be used. */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { HoldfastError } from '../../lib/errors.ts';

/** @returns them in their plain form. @throws HoldfastError `invalid_input` for one that is no address and no network. */
export function checkNetworks(networks: readonly string[]): string[] {
  return [...new Set(networks.map((network) => network.trim().toLowerCase()))].map((network) => {
    const [address = '', bits, more] = network.split('/');
    const most = isIPv6(address) ? 128 : 32;
    const fits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
    if (isIP(address) !== 0 && !address.includes('%') && more === undefined && fits) return network;
    throw new HoldfastError('invalid_input', `${network.slice(0, 64)} is no network`, {
      hint: 'Write it like 192.0.2.0/24, 2001:db8::/48 or 192.0.2.7.',
    });
  });
}

/** Without any network it may be used from everywhere. */
export function isAllowedFrom(networks: readonly string[], address: string): boolean {
  if (networks.length === 0) return true;
  if (isIP(address) === 0) return false;
  const list = new BlockList();
  for (const network of networks) {
    const [base = '', bits] = network.split('/');
    const family = isIPv6(base) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(base, family);
    else list.addSubnet(base, Number(bits), family);
  }
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
