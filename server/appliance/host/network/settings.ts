/** What a person sets about this machine's place in the network: shapes, and the rules that shapes alone cannot say. Pure. */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { Type, type Static } from 'typebox';
import { HoldfastError } from '../../../lib/errors.ts';

const strict = { additionalProperties: false };
const Address = Type.String({ minLength: 2, maxLength: 45 });
const AddressWithPrefix = Type.String({ minLength: 4, maxLength: 50 });
const DnsName = Type.String({
  minLength: 1,
  maxLength: 253,
  pattern: '^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$',
});
const Port = Type.Integer({ minimum: 1, maximum: 65_535 });

export const NetworkSettings = Type.Object(
  {
    /** Absent: as the cloud says, else by DHCP. */
    addresses: Type.Optional(
      Type.Union([
        Type.Object(
          {
            method: Type.Literal('dhcp'),
            interface: Type.Optional(Type.String({ pattern: '^[a-z][a-z0-9]{1,14}$' })),
          },
          strict,
        ),
        Type.Object(
          {
            method: Type.Literal('static'),
            /** Absent: the first network card. */
            interface: Type.Optional(Type.String({ pattern: '^[a-z][a-z0-9]{1,14}$' })),
            /** With their prefix: `192.0.2.10/24`. */
            addresses: Type.Array(AddressWithPrefix, { minItems: 1, maxItems: 16 }),
            gateways: Type.Array(Address, { maxItems: 2 }),
          },
          strict,
        ),
      ]),
    ),
    nameServers: Type.Optional(Type.Array(Address, { maxItems: 4 })),
    searchDomains: Type.Optional(Type.Array(DnsName, { maxItems: 6 })),
    hostName: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$' })),
    timeServers: Type.Optional(Type.Array(Type.Union([DnsName, Address]), { maxItems: 8 })),
    /** For what the server and its runs fetch and send; without a password, which would lie unencrypted. */
    proxy: Type.Optional(
      Type.Object(
        {
          url: Type.String({ pattern: '^https?://[^/@\\s?#]{1,253}/?$', maxLength: 300 }),
          except: Type.Array(Type.String({ pattern: '^[A-Za-z0-9.:*-]{1,253}$' }), { maxItems: 50 }),
        },
        strict,
      ),
    ),
    /** From where pages may be asked for; empty or absent: from everywhere. */
    managementNetworks: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 100 })),
    /** TCP ports that may be called, by whom. Absent: the defaults. */
    outbound: Type.Optional(
      Type.Object(
        {
          /** Runs: targets. */
          worker: Type.Array(Port, { maxItems: 50 }),
          /** The server: mail, webhooks, sign-in services. */
          server: Type.Array(Port, { maxItems: 50 }),
          /** The machine itself: shares, fetched updates. */
          machine: Type.Array(Port, { maxItems: 50 }),
        },
        strict,
      ),
    ),
    console: Type.Optional(
      Type.Object(
        {
          /** The claim code also on serial lines, which a cloud may keep a log of. */
          claimCodeOnSerial: Type.Optional(Type.Boolean()),
          /** The owner's consent: somebody at the machine may open a shell. */
          shell: Type.Optional(Type.Boolean()),
        },
        strict,
      ),
    ),
  },
  strict,
);
export type NetworkSettings = Static<typeof NetworkSettings>;

/** SSH and HTTPS targets; HTTPS, mail submission; HTTPS and the two kinds of shares. */
export const DEFAULT_OUTBOUND = { worker: [22, 443], server: [443, 465, 587], machine: [443, 445, 2049] };

/** The part of `/state/settings.json` that counts for the network; the rest is others'. */
export const SettingsFile = Type.Object({ network: Type.Optional(NetworkSettings) });

/** @throws HoldfastError `invalid_input` that names what is wrong, for anything a firewall or a network could not take. */
export function checkNetworkSettings(settings: NetworkSettings): void {
  const { addresses } = settings;
  if (addresses?.method === 'static') {
    for (const address of addresses.addresses) requireNetwork(address, 'an address with its prefix', true);
    for (const gateway of addresses.gateways) requireAddress(gateway, 'The gateway');
    requireReachable(addresses.addresses, addresses.gateways);
  }
  for (const server of settings.nameServers ?? []) requireAddress(server, 'The name server');
  for (const network of settings.managementNetworks ?? []) requireNetwork(network, 'a network', false);
  if (settings.proxy !== undefined && !URL.canParse(settings.proxy.url)) {
    throw new HoldfastError('invalid_input', `${settings.proxy.url} is no address of a proxy`);
  }
}

function requireAddress(text: string, what: string): void {
  if (isIP(text) !== 0 && !text.includes('%')) return;
  throw new HoldfastError('invalid_input', `${what} ${text} is no IP address`, {
    hint: 'Write it like 192.0.2.1 or 2001:db8::1.',
  });
}

/** @throws HoldfastError `invalid_input` unless it is an address with a prefix; `prefixWanted`: one of a machine, not a network. */
export function requireNetwork(text: string, what: string, prefixWanted: boolean): void {
  const [base = '', prefix, more] = text.split('/');
  const most = isIPv4(base) ? 32 : isIPv6(base) && !base.includes('%') ? 128 : -1;
  const length = prefix === undefined ? most : Number(prefix);
  const written = prefix === undefined ? !prefixWanted : /^\d{1,3}$/.test(prefix);
  if (most > 0 && more === undefined && written && length <= most && (length > 0 || !prefixWanted)) return;
  throw new HoldfastError('invalid_input', `${text} is not ${what}`, {
    hint: 'Write it like 192.0.2.10/24 or 2001:db8::10/64.',
  });
}

/** A gateway outside every network of the machine is the commonest way to lock oneself out. */
function requireReachable(addresses: readonly string[], gateways: readonly string[]): void {
  for (const gateway of gateways) {
    if (gateway.toLowerCase().startsWith('fe80:')) continue;
    if (addresses.some((address) => sameNetwork(address, gateway))) continue;
    throw new HoldfastError(
      'invalid_input',
      `The gateway ${gateway} lies in none of this machine's networks`,
      {
        hint: 'Check the prefix of the address: 192.0.2.10/24 reaches 192.0.2.1.',
      },
    );
  }
}

function sameNetwork(address: string, other: string): boolean {
  const [base = '', prefix] = address.split('/');
  if (isIPv4(base) !== isIPv4(other)) return false;
  const [left, right] = [bitsOf(base), bitsOf(other)];
  return left.slice(0, Number(prefix)) === right.slice(0, Number(prefix));
}

function bitsOf(address: string): string {
  if (isIPv4(address)) {
    return address
      .split('.')
      .map((part) => Number(part).toString(2).padStart(8, '0'))
      .join('');
  }
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(':'));
  const [first, last] = [groups(head), groups(tail)];
  const middle = Array.from({ length: 8 - first.length - last.length }, () => '0');
  return [...first, ...(tail === undefined ? [] : middle), ...last]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('');
}

/** A checked network as programs want it that refuse bits beyond the prefix: `10.1.2.3/8` is `10.0.0.0/8`. */
export function normalNetwork(text: string): string {
  const [base = '', written] = text.split('/');
  const bits = bitsOf(base);
  const prefix = written === undefined ? bits.length : Number(written);
  const kept = bits.slice(0, prefix).padEnd(bits.length, '0');
  const width = isIPv4(base) ? 8 : 16;
  const parts = Array.from({ length: bits.length / width }, (_, index) =>
    Number.parseInt(kept.slice(index * width, (index + 1) * width), 2),
  );
  const address = isIPv4(base) ? parts.join('.') : parts.map((part) => part.toString(16)).join(':');
  return `${address}/${prefix}`;
}
