/**
 * What the console menu (`systemd/system/console.sh`) asks and tells, one verb a call; text for people on standard output. Whoever
 * is at the console is root to hostd, but gets no more than these verbs. Secrets come on standard input.
 */
import { X509Certificate } from 'node:crypto';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { Type } from 'typebox';
import {
  connectHost,
  describeRecovery,
  describeSetBackRecord,
  hostPlaces,
  keptCertificateFolder,
  readSetupProblem,
  readStateFile,
  requireHost,
  type NetworkSettings,
  type NetworkState,
  type RecoveryStatus,
  type SetBackView,
  type SshState,
} from './appliance/host/index.ts';
import { openControl } from './cli/control-client.ts';
import { printable } from './cli/output.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { dataPaths } from './lib/data-folder.ts';
import { HoldfastError } from './lib/errors.ts';
import { readFileIfPresent } from './lib/files.ts';
import { SOFTWARE_VERSION } from './lib/version.ts';

const [verb = '', ...args] = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
const onSerial = process.argv.includes('--serial');
const rootAt = process.argv.find((arg) => arg.startsWith('--root='))?.slice('--root='.length) ?? '/';
const places = hostPlaces(rootAt);
const config = { ...loadConfig(), ...(rootAt === '/' ? {} : { dataDir: join(places.data, 'holdfast') }) };
const host = requireHost(connectHost({ hostSocket: join(places.run, 'host.sock') }));
const actor = { kind: 'console', label: 'console' } as const;

const UnlockNote = Type.Object({
  state: Type.Optional(
    Type.Object({ kind: Type.String(), title: Type.String(), sentences: Type.Array(Type.String()) }),
  ),
  fingerprint: Type.Union([Type.String(), Type.Null()]),
});

const RECOVERY_HOW = `An appliance that was lost comes back on a new machine, from its backups and its recovery kit.

In a browser: start a machine of this image with an empty data disk, open its address, type the claim code that its console
shows, and choose "Recover an appliance that was lost". It asks where the backups lie and for the recovery kit, and shows how
far it is. Without a browser: the section holdfast.recover of the cloud configuration.

A disk with the data of another Holdfast is opened with its passphrase, or with the volume key in its recovery kit: this
machine then takes it over. No disk that holds anything is ever formatted.`;

const SAID_FOR_MS = 7 * 86_400_000;

const VERBS: Record<string, () => Promise<string>> = {
  summary: async () => (await summarize()).join('\n'),
  unlock: async () => {
    const door = requireHost(connectHost({ hostSocket: join(places.run, 'unlock.sock') }));
    const reply = await door.send<{ title: string }>('POST', '/unlock', { key: await readLine() });
    return reply.title;
  },
  'claim-code': async () => {
    const renewed = await openControl(config.dataDir).send<{ code: string; expiresAt: string }>(
      'POST',
      '/console/claim-code',
    );
    return `A new claim code: ${renewed.code}\nGood until ${renewed.expiresAt}. The earlier one has ended.`;
  },
  network: async () => describeNetwork(await host.get<NetworkState>('/network')),
  'network-set': async () => {
    const { settings } = await host.get<NetworkState>('/network');
    const changed = changeSettings(settings, await readAll(process.stdin));
    return describeNetwork(await host.send<NetworkState>('PUT', '/network', { actor, settings: changed }));
  },
  'network-confirm': async () => {
    await host.send('POST', '/network/confirm', { actor });
    return 'The new settings count from now on.';
  },
  'network-give-up': async () => {
    await host.send('POST', '/network/give-up', { actor });
    return 'The earlier settings count again.';
  },
  'recovery-how': async () => RECOVERY_HOW,
  power: async () => {
    await host.send('POST', '/power', { actor, action: args[0] === 'shutdown' ? 'shutdown' : 'restart' });
    return 'The machine goes down now.';
  },
  shell: async () => {
    const recoveryKey = await readLine();
    const request = { actor, line: args[0] ?? '', ...(recoveryKey === '' ? {} : { recoveryKey }) };
    await host.send('POST', '/shell', request);
    return 'The shell opens here, for at most an hour. This is in the audit log.';
  },
};

try {
  const act = VERBS[verb];
  if (act === undefined) throw new HoldfastError('invalid_input', `The console does not know ${verb}`);
  process.stdout.write(`${(await act()).split('\n').map(printable).join('\n')}\n`);
} catch (error) {
  const known = error instanceof HoldfastError;
  process.stdout.write(`${printable(known ? error.message : 'That did not work; the log says more')}\n`);
  if (known && error.hint !== undefined) process.stdout.write(`${printable(error.hint)}\n`);
  process.exitCode = 1;
}

interface MachineState {
  kind: 'locked' | 'starting' | 'recovering' | 'unclaimed' | 'ready';
  words: string[];
  fingerprint: string | undefined;
  claim: { code: string; expiresAt: string } | undefined;
}

async function readState(): Promise<MachineState> {
  const note = await readStateFile(join(places.run, 'unlock.json'), UnlockNote).catch(() => undefined);
  if (note?.state !== undefined && note.state.kind !== 'open') {
    const words = [note.state.title, ...note.state.sentences];
    return { kind: 'locked', words, fingerprint: note.fingerprint ?? undefined, claim: undefined };
  }
  const recovery = await host.get<RecoveryStatus>('/recovery').catch(() => undefined);
  if (recovery?.state === 'running') {
    const fingerprint = await readFingerprint(keptCertificateFolder(places));
    return { kind: 'recovering', words: describeRecovery(recovery), fingerprint, claim: undefined };
  }
  const fingerprint = await readFingerprint(dataPaths(config.dataDir).tls);
  const claim = await readClaimCode();
  if (claim !== undefined) {
    const words = [
      'This appliance has no owner yet: open it in a browser',
      'There it is set up anew, or becomes one that was lost.',
    ];
    if (recovery?.state === 'failed') words.unshift(...describeRecovery(recovery));
    return { kind: 'unclaimed', words, fingerprint, claim };
  }
  const ready = await openControl(config.dataDir)
    .get('/health/ready')
    .then(
      () => true,
      () => false,
    );
  return ready
    ? { kind: 'ready', words: ['Ready'], fingerprint, claim }
    : { kind: 'starting', words: ['Starting; the log says more'], fingerprint, claim };
}

async function readFingerprint(folder: string): Promise<string | undefined> {
  const certificate = await readFileIfPresent(join(folder, 'certificate.pem'));
  return certificate === undefined ? undefined : new X509Certificate(certificate).fingerprint256;
}

/** Both lines, or it is being written at this moment. */
async function readClaimCode(): Promise<MachineState['claim']> {
  const path = rootAt === '/' ? config.claimCodeFile : join(places.run, 'claim-code');
  const content = path === undefined ? undefined : await readFileIfPresent(path);
  const [code, expiresAt] = content?.toString('utf8').split('\n') ?? [];
  return code && expiresAt ? { code, expiresAt } : undefined;
}

async function summarize(): Promise<string[]> {
  const state = await readState();
  const lines: string[] = [state.kind, `Holdfast ${SOFTWARE_VERSION} on ${hostname()}`, ...state.words];
  const problem = await readSetupProblem(places);
  if (problem !== undefined) lines.push(problem);
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter((entry) => !entry.internal && !entry.address.startsWith('fe80'))
    .map(({ address, family }) => (family === 'IPv6' ? `https://[${address}]/` : `https://${address}/`));
  lines.push(addresses.length === 0 ? 'No address yet' : `Address: ${addresses.join(' ')}`);
  if (state.fingerprint !== undefined) lines.push(`Certificate, SHA-256: ${state.fingerprint}`);
  if (state.claim !== undefined) {
    lines.push(
      onSerial && !(await claimCodeMayBeOnSerial())
        ? 'Claim code: not shown on a serial line, which may be kept as a log. Look at the screen of the machine.'
        : `Claim code: ${state.claim.code} (good until ${state.claim.expiresAt})`,
    );
  }
  if (state.kind !== 'recovering') lines.push(...(await describeSetBack()));
  lines.push(...(await describeSsh()));
  return lines;
}

/** Also after a power cut: what the machine then did by itself. Of a failure a week later nobody asks. */
async function describeSetBack(): Promise<string[]> {
  const view = await host.get<SetBackView>('/set-back').catch(() => undefined);
  const record = view?.record ?? null;
  const old = record !== null && systemClock.now().getTime() - Date.parse(record.at) > SAID_FOR_MS;
  const line = old ? undefined : describeSetBackRecord(record);
  return line === undefined ? [] : [line];
}

/** Whoever stands here sees when the machine can be reached from afar, and how to tell that it is this machine. */
async function describeSsh(): Promise<string[]> {
  const ssh = await host.get<SshState>('/ssh').catch(() => undefined);
  if (!ssh?.open) return [];
  return [`SSH is open until ${ssh.open.until}. Host key: ${ssh.hostKey?.fingerprint ?? 'unknown'}`];
}

async function claimCodeMayBeOnSerial(): Promise<boolean> {
  const network = await host.get<NetworkState>('/network').catch(() => undefined);
  return network?.settings.console?.claimCodeOnSerial === true;
}

function describeNetwork({ settings, pending, addresses }: NetworkState): string {
  const own = addresses.map((entry) => `${entry.interface} ${entry.address}`).join(', ');
  const lines = [`Addresses now: ${own || 'none'}`];
  const list = (label: string, values: readonly string[] | undefined, none: string) =>
    lines.push(`${label}: ${values === undefined || values.length === 0 ? none : values.join(' ')}`);
  const given = settings.addresses;
  list(
    'Set',
    given?.method === 'static' ? given.addresses : undefined,
    given?.method ?? 'as the cloud says, else DHCP',
  );
  if (given?.method === 'static') list('Gateways', given.gateways, 'none');
  list('Name servers', settings.nameServers, 'as the network says');
  list('Time servers', settings.timeServers, "Debian's pool");
  lines.push(`Host name: ${settings.hostName ?? 'holdfast'}`, `Proxy: ${settings.proxy?.url ?? 'none'}`);
  list('Management networks', settings.managementNetworks, 'everywhere');
  if (pending !== null) lines.push(`Others are being tried until ${pending.until}`);
  return lines.join('\n');
}

/** `name=value` lines; an empty value takes the setting away. */
function changeSettings(present: NetworkSettings, text: string): NetworkSettings {
  const given = new Map(
    text
      .split('\n')
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1).trim()]),
  );
  const words = (name: string) =>
    given
      .get(name)
      ?.split(/[\s,]+/)
      .filter((word) => word !== '') ?? [];
  const next: Record<string, unknown> = { ...present };
  const method = given.get('method');
  if (method === 'static')
    next.addresses = { method, addresses: words('addresses'), gateways: words('gateways') };
  else if (method === 'dhcp') next.addresses = { method };
  for (const name of ['nameServers', 'timeServers', 'managementNetworks'])
    if (given.has(name)) next[name] = words(name);
  const hostName = given.get('hostName');
  if (hostName !== undefined) next.hostName = hostName === '' ? undefined : hostName;
  const proxy = given.get('proxy');
  if (proxy !== undefined)
    next.proxy = proxy === '' ? undefined : { url: proxy, except: present.proxy?.except ?? [] };
  return next;
}

async function readLine(): Promise<string> {
  return (await readAll(process.stdin)).split('\n')[0]?.trim() ?? '';
}
