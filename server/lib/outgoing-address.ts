/**
 * Where a connection goes that somebody asks for by a name: resolved once, every address looked at, and the connection held to those that
 * passed, so that a second answer of the name servers cannot lead elsewhere. Addresses of this machine and of its link, where clouds
 * keep their metadata, are refused: what listens there believes that whoever asks is on the machine.
 */
import { lookup as resolve, type LookupAddress, type LookupOptions } from 'node:dns';
import { BlockList, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { HoldfastError } from './errors.ts';

/** This machine, by addresses that every machine calls its own. */
const LOOPBACK = listOf([
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  // ::, ::1 and the old form of IPv4 addresses.
  ['::', 96],
]);
/** The link, with metadata of clouds also where they chose other addresses, and what is no single machine. */
const NEVER = listOf([
  ['169.254.0.0', 16],
  ['100.100.100.200', 32],
  ['168.63.129.16', 32],
  ['192.0.0.0', 24],
  ['224.0.0.0', 3],
  ['fe80::', 10],
  ['ff00::', 8],
  ['fd00:ec2::', 32],
  ['fd20:ce::254', 128],
]);

function listOf(networks: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [network, bits] of networks) list.addSubnet(network, bits, isIPv6(network) ? 'ipv6' : 'ipv4');
  return list;
}

/** IPv4 inside IPv6 counts as what it is: `::ffff:127.0.0.1`, `::ffff:7f00:1`, and NAT64's `64:ff9b::7f00:1` (RFC 6052). */
function plain(address: string): string {
  const bare = address.replace(/%.*$/, '');
  if (!isIPv6(bare)) return bare;
  const canonical = new URL(`http://[${bare}]`).hostname.slice(1, -1);
  const [, high, low] = /^(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical) ?? [];
  if (high === undefined || low === undefined) return canonical;
  const bytes = Buffer.from(high.padStart(4, '0') + low.padStart(4, '0'), 'hex');
  return bytes.join('.');
}

function lies(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

/** Whether an address leads back to this machine, also by the address that others call it by. */
export function isOwnAddress(address: string): boolean {
  return lies(LOOPBACK, plain(address)) || isInterface(address);
}

function isInterface(address: string): boolean {
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return own.some((mine) => plain(mine.address) === plain(address));
}

/**
 * Whether it may lie on this machine. `loopback`: anywhere on it, for trials on a single machine and for people who sit at it;
 * `network`: where others could reach it too; `no`: nowhere.
 */
export type OwnMachine = 'no' | 'network' | 'loopback';

/**
 * @param host a name or an address, an IPv6 one also in brackets.
 * @returns at least one.
 * @throws HoldfastError `unavailable` for an unknown name, `invalid_input` when none of its addresses may be reached.
 */
export async function resolveOutgoing(host: string, ownMachine: OwnMachine): Promise<LookupAddress[]> {
  const name = host.replace(/^\[|\]$/g, '');
  const found = await new Promise<LookupAddress[]>((done, fail) => {
    resolve(name, { all: true }, (error, list) => {
      if (error === null) done(list);
      else fail(error);
    });
  }).catch((error: unknown) => {
    throw new HoldfastError('unavailable', `The name ${name} is not known`, {
      hint: 'Check the name, and the name servers.',
      cause: error,
    });
  });
  const linked = found.filter(({ address }) => !lies(NEVER, plain(address)));
  const allowed = linked.filter(
    ({ address }) =>
      ownMachine === 'loopback' ||
      (!lies(LOOPBACK, plain(address)) && (ownMachine === 'network' || !isInterface(address))),
  );
  if (allowed.length > 0) return allowed;
  throw new HoldfastError('invalid_input', `${name} is an address of this machine or of its link`, {
    hint:
      linked.length > 0 && ownMachine === 'no'
        ? 'Name another machine. For a trial on one machine alone, start Holdfast with HOLDFAST_OWN_MACHINE=allow.'
        : 'Name a server of your own network.',
  });
}

type LookupDone = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/** For `net.connect` and what builds on it: whatever name is asked for, it is those addresses. */
export function pinnedLookup(addresses: readonly LookupAddress[]) {
  return (_name: string, options: LookupOptions, done: LookupDone): void => {
    const { family } = options;
    const wanted = addresses.filter((one) => (family !== 4 && family !== 6 ? true : one.family === family));
    const [first] = wanted;
    if (first === undefined)
      done(Object.assign(new Error('no address of that family'), { code: 'ENOTFOUND' }), '');
    else if (options.all === true) done(null, wanted);
    else done(null, first.address, first.family);
  };
}
