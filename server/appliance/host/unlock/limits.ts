/** How often keys may be tried. In memory: a restart of a locked machine needs somebody at the machine anyway. */
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import type { Clock } from '../../../lib/clock.ts';
import { HoldfastError } from '../../../lib/errors.ts';

export const LIMITS = {
  windowMs: 60_000,
  perAddress: 5,
  overall: 20,
  /** Addresses remembered at once; more is somebody with a whole network, whom the overall limit holds. */
  addresses: 10_000,
} as const;

export interface AttemptLimits {
  /** @throws HoldfastError `too_many_requests`; the attempt is then not made, whatever was typed. */
  count(address: string): void;
}

export function createLimits(clock: Clock): AttemptLimits {
  let windowStart = -Infinity;
  let overall = 0;
  const perAddress = new Map<string, number>();
  return {
    count(address) {
      if (clock.monotonicMs() - windowStart >= LIMITS.windowMs) {
        windowStart = clock.monotonicMs();
        overall = 0;
        perAddress.clear();
      }
      const place = networkOf(address);
      const own = (perAddress.get(place) ?? 0) + 1;
      if (own > LIMITS.perAddress || overall >= LIMITS.overall) {
        throw new HoldfastError('too_many_requests', 'Too many attempts: wait a minute', {
          hint: 'The console of the machine is not held up by this.',
        });
      }
      if (perAddress.size < LIMITS.addresses) perAddress.set(place, own);
      overall += 1;
    },
  };
}

/** One household has a /64 of IPv6; an IPv4 address may come in IPv6 form. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  return isIPv6(address) ? address.split(':').slice(0, 4).join(':') : address;
}

/**
 * Whether an address lies in one of the networks (`10.0.0.0/8`, `fd00::/8`, single addresses). No networks: everywhere.
 *
 * @throws HoldfastError `invalid_input` for something that is no network.
 */
export function allowedNetworks(networks: readonly string[]): (address: string) => boolean {
  if (networks.length === 0) return () => true;
  const list = new BlockList();
  for (const network of networks) {
    const [base = '', prefix] = network.split('/');
    const family = isIPv4(base) ? 'ipv4' : isIPv6(base) ? 'ipv6' : undefined;
    const most = family === 'ipv4' ? 32 : 128;
    const length = prefix === undefined ? most : Number(prefix);
    if (family === undefined || !Number.isInteger(length) || length < 0 || length > most) {
      throw new HoldfastError('invalid_input', `${network} is no network`, {
        hint: 'Write it like 10.0.0.0/8 or fd00::/8.',
      });
    }
    list.addSubnet(base, length, family);
  }
  return (address) => {
    const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
    return list.check(mapped, isIPv4(mapped) ? 'ipv4' : 'ipv6');
  };
}
