/** Whose word about an address counts, and one form for each address. */
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../server/lib/config.ts';
import { clientAddress, makeProxyTest, networkOf, normalAddress } from '../../../server/lib/door/index.ts';

describe('an address has one form', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7', '192.0.2.7'],
    ['::FFFF:c000:0207', '192.0.2.7', '192.0.2.7'],
    ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7', '192.0.2.7'],
    ['2001:DB8::1', '2001:db8::1', '2001:db8:0:0'],
    ['2001:db8:0:0:9::1', '2001:db8:0:0:9::1', '2001:db8:0:0'],
    ['fe80::1%eth0', 'fe80::1', 'fe80:0:0:0'],
    ['::1', '::1', '0:0:0:0'],
    ['no address', 'no address', 'no address'],
  ])('%s', (given, normal, network) => {
    expect([normalAddress(given), networkOf(given)]).toEqual([normal, network]);
  });
});

test('a proxy is trusted when it is named, also behind a mapped address, and nobody else', () => {
  const trusted = makeProxyTest(['192.0.2.7', '10.1.0.0/16', '2001:db8:1::/64']);

  const yes = ['192.0.2.7', '::ffff:192.0.2.7', '10.1.255.255', '2001:db8:1::9'];
  expect(yes.map(trusted)).toEqual(yes.map(() => true));
  const no = ['192.0.2.8', '10.2.0.1', '2001:db8:2::9', '::1', '127.0.0.1', '', 'x'];
  expect(no.map(trusted)).toEqual(no.map(() => false));
});

test('what a proxy passes on counts only when it is an address', () => {
  const socket = { remoteAddress: '::ffff:192.0.2.7' } as never;

  expect(clientAddress({ ip: '198.51.100.3', socket })).toBe('198.51.100.3');
  expect(clientAddress({ ip: '<script>', socket })).toBe('192.0.2.7');
});

test.each([
  '0.0.0.0/0',
  '::/0',
  '10.0.0.0/33',
  '10.0.0.0/4',
  'proxy.example.org',
  '10.0.0.1/8/8',
  '1.2.3.4/x',
])('HOLDFAST_TRUSTED_PROXIES=%s is refused', (value) => {
  expect(() => loadConfig({ HOLDFAST_TRUSTED_PROXIES: value })).toThrow(/no address or network/);
});
