/** The files of the system that the settings become: systemd-networkd's, resolved's, chrony's, the proxy for our services. Pure. */
import type { NetworkSettings } from './settings.ts';

/** Path below `/etc`, and content; undefined: the file is removed. */
export type SystemFile = readonly [path: string, content: string | undefined];

const DEFAULT_TIME = ['pool 2.debian.pool.ntp.org iburst'];

export function renderSystemFiles(settings: NetworkSettings): SystemFile[] {
  return [
    ['systemd/network/05-holdfast.network', networkFile(settings)],
    ['systemd/resolved.conf.d/holdfast.conf', resolvedFile(settings)],
    ['chrony/sources.d/holdfast.sources', timeSources(settings)],
    ['holdfast/proxy.env', proxyFile(settings)],
    ['hostname', `${hostNameOf(settings)}\n`],
    ['hosts', hostsFile(hostNameOf(settings))],
  ];
}

export function hostNameOf(settings: NetworkSettings): string {
  return settings.hostName ?? 'holdfast';
}

/** Undefined: what cloud-init wrote, else the image's DHCP on every card. */
function networkFile({ addresses, nameServers, searchDomains }: NetworkSettings): string | undefined {
  if (addresses === undefined) return undefined;
  const lines = ['[Match]', addresses.interface === undefined ? 'Type=ether' : `Name=${addresses.interface}`];
  lines.push('', '[Network]', 'LinkLocalAddressing=ipv6');
  if (addresses.method === 'dhcp') lines.push('DHCP=yes', 'IPv6AcceptRA=yes');
  else {
    lines.push(
      'DHCP=no',
      `IPv6AcceptRA=${addresses.addresses.some((one) => one.includes(':')) ? 'no' : 'yes'}`,
    );
    lines.push(...addresses.addresses.map((address) => `Address=${address}`));
    lines.push(...addresses.gateways.map((gateway) => `Gateway=${gateway}`));
  }
  lines.push(...(nameServers ?? []).map((server) => `DNS=${server}`));
  if (searchDomains !== undefined && searchDomains.length > 0)
    lines.push(`Domains=${searchDomains.join(' ')}`);
  if (addresses.method === 'dhcp') {
    // The machine's own identity, not a new one at every start.
    lines.push(
      '',
      '[DHCPv4]',
      'ClientIdentifier=mac',
      `UseDNS=${(nameServers ?? []).length === 0 ? 'yes' : 'no'}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

function resolvedFile({ nameServers, searchDomains }: NetworkSettings): string | undefined {
  const lines = ['[Resolve]', 'LLMNR=no', 'MulticastDNS=no', 'DNSStubListener=yes'];
  if ((nameServers ?? []).length > 0) lines.push(`DNS=${nameServers?.join(' ')}`, 'Domains=~.');
  // Never a public server that the owner did not choose.
  lines.push('FallbackDNS=');
  if ((searchDomains ?? []).length > 0) lines.push(`Domains=${searchDomains?.join(' ')}`);
  return `${lines.join('\n')}\n`;
}

function timeSources({ timeServers }: NetworkSettings): string {
  const sources = (timeServers ?? []).map((server) => `server ${server} iburst`);
  return `${(sources.length === 0 ? DEFAULT_TIME : sources).join('\n')}\n`;
}

function proxyFile({ proxy }: NetworkSettings): string | undefined {
  if (proxy === undefined) return undefined;
  const except = ['localhost', '127.0.0.1', '::1', ...proxy.except].join(',');
  return `NODE_USE_ENV_PROXY=1\nHTTP_PROXY=${proxy.url}\nHTTPS_PROXY=${proxy.url}\nNO_PROXY=${except}\n`;
}

function hostsFile(name: string): string {
  return `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t${name}\n`;
}
