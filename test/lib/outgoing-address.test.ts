import { networkInterfaces } from 'node:os';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { isOwnAddress, pinnedLookup, resolveOutgoing } from '../../server/lib/outgoing-address.ts';

/** By which this machine is called from elsewhere. */
const own = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.internal === false)?.address;

const LOOPBACK = [
  ...['127.0.0.1', '127.9.9.9', '0.0.0.0', '0.1.2.3', '::', '::1', '0::1', '[::1]', '::127.0.0.1'],
  ...['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:0.0.0.0', '64:ff9b::127.0.0.1', 'localhost'],
  // Spellings that only the resolver understands.
  ...['2130706433', '0x7f.1', '127.1', '0'],
];
const LINK = [
  ...['169.254.169.254', '169.254.0.1', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '64:ff9b::a9fe:a9fe'],
  ...['fd00:ec2::254', 'fd20:ce::254', '100.100.100.200', '168.63.129.16', 'fe80::1', '224.0.0.1'],
  ...['255.255.255.255', 'ff02::1', '192.0.0.192'],
];

describe('an address that somebody asks for', () => {
  test.each(LOOPBACK)('%s is refused as this machine, and reached where that is allowed', async (host) => {
    for (const where of ['no', 'network'] as const) {
      await expect(resolveOutgoing(host, where)).rejects.toMatchObject({
        code: 'invalid_input',
        message: expect.stringContaining('of this machine') as string,
      });
    }
    expect(await resolveOutgoing(host, 'loopback')).not.toEqual([]);
  });

  test.each(LINK)('%s is refused whatever is allowed', async (host) => {
    await expect(resolveOutgoing(host, 'loopback')).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test.each(['192.0.2.7', '10.0.0.9', '2001:db8::1', 'fd12::1', '64:ff9b::8.8.8.8'])(
    '%s is another machine',
    async (host) => {
      const [only] = await resolveOutgoing(host, 'no');

      expect(only?.address).toBeDefined();
      expect(isOwnAddress(host)).toBe(false);
    },
  );

  test.runIf(own !== undefined)('by which others call this machine is its own', async () => {
    expect(isOwnAddress(own ?? '')).toBe(true);
    await expect(resolveOutgoing(own ?? '', 'no')).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await resolveOutgoing(own ?? '', 'network')).toHaveLength(1);
  });

  test('that no name server knows is said to be unknown', async () => {
    await expect(resolveOutgoing('no-such-host.invalid', 'no')).rejects.toMatchObject({
      code: 'unavailable',
      message: 'The name no-such-host.invalid is not known',
    });
  });

  test('is held to what was looked at, whatever the name servers would say by then', async () => {
    const server = createServer((socket) => socket.end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const lookup = pinnedLookup([{ address: '127.0.0.1', family: 4 }]);

    const socket = connect({ host: 'no-such-host.invalid', port, lookup });
    await once(socket, 'connect');

    expect(socket.remoteAddress).toBe('127.0.0.1');
    socket.destroy();
    server.close();
  });
});
