/** Network settings as a person types them, and back. What is right is the server's to say; here only what cannot be sent at all. */
import type { NetworkSettings } from '../../../api/host.ts';

export interface NetworkForm {
  method: 'image' | 'dhcp' | 'static';
  interface: string;
  addresses: string;
  gateways: string;
  nameServers: string;
  searchDomains: string;
  hostName: string;
  timeServers: string;
  proxyUrl: string;
  proxyExcept: string;
  managementNetworks: string;
  outboundWorker: string;
  outboundServer: string;
  outboundMachine: string;
  claimCodeOnSerial: boolean;
  shell: boolean;
}

/** As in `host/network-settings.ts`: shown where nothing is set. */
export const DEFAULT_OUTBOUND = { worker: [22, 443], server: [443, 465, 587], machine: [443, 445, 2049] };

const list = (values: readonly (string | number)[] | undefined): string => (values ?? []).join(', ');
const words = (text: string): string[] => text.split(/[\s,;]+/).filter((part) => part !== '');

export function toForm(settings: NetworkSettings): NetworkForm {
  const { addresses, proxy, outbound } = settings;
  const fixed = addresses?.method === 'static' ? addresses : undefined;
  return {
    method: addresses?.method ?? 'image',
    interface: addresses?.interface ?? '',
    addresses: list(fixed?.addresses),
    gateways: list(fixed?.gateways),
    nameServers: list(settings.nameServers),
    searchDomains: list(settings.searchDomains),
    hostName: settings.hostName ?? '',
    timeServers: list(settings.timeServers),
    proxyUrl: proxy?.url ?? '',
    proxyExcept: list(proxy?.except),
    managementNetworks: list(settings.managementNetworks),
    outboundWorker: list(outbound?.worker),
    outboundServer: list(outbound?.server),
    outboundMachine: list(outbound?.machine),
    claimCodeOnSerial: settings.console?.claimCodeOnSerial ?? false,
    shell: settings.console?.shell ?? false,
  };
}

/** Empty fields are left out: they mean the default. */
export function toSettings(form: NetworkForm): NetworkSettings {
  const some = <K extends string>(name: K, values: string[]) =>
    (values.length === 0 ? {} : { [name]: values }) as Partial<Record<K, string[]>>;
  const outbound = {
    worker: ports(form.outboundWorker, DEFAULT_OUTBOUND.worker),
    server: ports(form.outboundServer, DEFAULT_OUTBOUND.server),
    machine: ports(form.outboundMachine, DEFAULT_OUTBOUND.machine),
  };
  const usual = [form.outboundWorker, form.outboundServer, form.outboundMachine].every(
    (text) => text.trim() === '',
  );
  const console = {
    ...(form.claimCodeOnSerial ? { claimCodeOnSerial: true } : {}),
    ...(form.shell ? { shell: true } : {}),
  };
  return {
    ...addressesOf(form),
    ...some('nameServers', words(form.nameServers)),
    ...some('searchDomains', words(form.searchDomains)),
    ...(form.hostName.trim() === '' ? {} : { hostName: form.hostName.trim() }),
    ...some('timeServers', words(form.timeServers)),
    ...(form.proxyUrl.trim() === ''
      ? {}
      : { proxy: { url: form.proxyUrl.trim(), except: words(form.proxyExcept) } }),
    ...some('managementNetworks', words(form.managementNetworks)),
    ...(usual ? {} : { outbound }),
    ...(Object.keys(console).length === 0 ? {} : { console }),
  };
}

function addressesOf(form: NetworkForm): Pick<NetworkSettings, 'addresses'> {
  const card = form.interface.trim() === '' ? {} : { interface: form.interface.trim() };
  if (form.method === 'image') return {};
  if (form.method === 'dhcp') return { addresses: { method: 'dhcp', ...card } };
  const [addresses, gateways] = [words(form.addresses), words(form.gateways)];
  return { addresses: { method: 'static', ...card, addresses, gateways } };
}

function ports(text: string, usual: readonly number[]): number[] {
  const given = words(text).map(Number);
  return given.length === 0 ? [...usual] : given;
}

/** What keeps the form from being sent. */
export function whyNotSend(form: NetworkForm): string | undefined {
  if (form.method === 'static' && words(form.addresses).length === 0) return 'The fixed address is missing';
  const numbers = [form.outboundWorker, form.outboundServer, form.outboundMachine].flatMap(words);
  const odd = numbers.find((text) => !/^\d+$/.test(text) || Number(text) < 1 || Number(text) > 65_535);
  return odd === undefined ? undefined : `"${odd}" is no port`;
}

/** Where the appliance will be, when its address is fixed. */
export function newAddress(settings: NetworkSettings): string | undefined {
  if (settings.addresses?.method !== 'static') return undefined;
  const [address] = settings.addresses.addresses[0]?.split('/') ?? [];
  if (address === undefined) return undefined;
  return address.includes(':') ? `[${address}]` : address;
}

const NAMES: Record<keyof NetworkSettings, string> = {
  addresses: 'addresses',
  nameServers: 'name servers',
  searchDomains: 'search domains',
  hostName: 'host name',
  timeServers: 'time servers',
  proxy: 'proxy',
  managementNetworks: 'management networks',
  outbound: 'ports outwards',
  console: 'console',
};

/** What differs between two settings, in words. */
export function changesBetween(before: NetworkSettings, after: NetworkSettings): string[] {
  const keys = Object.keys(NAMES) as (keyof NetworkSettings)[];
  return keys
    .filter((key) => JSON.stringify(before[key] ?? null) !== JSON.stringify(after[key] ?? null))
    .map((key) => NAMES[key]);
}
