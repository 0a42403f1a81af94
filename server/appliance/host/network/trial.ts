/**
 * Changing the network of a machine that one may be reaching over it. Guarantees: new settings are applied at once and kept only
 * when somebody confirms them within a minute; otherwise, and after a restart or a power cut in between, the old ones count again.
 * A wrong address therefore locks nobody out.
 *
 * `/state/settings.json` holds what counts; `/state/settings-pending.json` what is tried. The second is removed at every start.
 */
import { rm } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import type { Static } from 'typebox';
import { Value } from 'typebox/value';
import { readAccounts } from '../../../lib/accounts.ts';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError, messageOf } from '../../../lib/errors.ts';
import {
  makePrivateDirectory,
  readFileIfPresent,
  syncDirectory,
  writeFileDurably,
} from '../../../lib/files.ts';
import { runProcess } from '../../../lib/spawn.ts';
import { renderFirewall } from './firewall-rules.ts';
import type { HostDeps } from '../host-app.ts';
import type { HostPlaces } from '../host-places.ts';
import { readSshNote } from '../ssh/note.ts';
import { hostNameOf, renderSystemFiles, type SystemFile } from './files.ts';
import { checkNetworkSettings, NetworkSettings, SettingsFile as SettingsShape } from './settings.ts';
import type { HostActor } from '../schema.ts';
import { readStateFile, withStateLock, writeStateFile } from '../state-file.ts';

/** How long new settings are tried. */
export const CONFIRM_MS = 60_000;
const COMMAND_MS = 20_000;
/** Below /etc. */
const FIREWALL_FILE = 'holdfast/firewall.nft';

/** The network's part of the file; other verbs keep theirs beside it. */
type SettingsFile = Static<typeof SettingsShape> & Record<string, unknown>;

export interface NetworkState {
  /** What counts. */
  settings: NetworkSettings;
  /** What is tried until `until`, and then given up unless confirmed. */
  pending: { settings: NetworkSettings; until: string } | null;
  /** Addresses that the machine has now. */
  addresses: { interface: string; address: string }[];
}

/** Makes running services take what the files say. */
export type NetworkSwitch = (settings: NetworkSettings) => Promise<void>;

export interface NetworkDesk {
  state(): Promise<NetworkState>;
  /** @throws HoldfastError `invalid_input`, `conflict` while others are tried. */
  tryOut(settings: NetworkSettings, actor: HostActor): Promise<NetworkState>;
  /** @throws HoldfastError `wrong_state` when nothing is tried, or it was given up already. */
  confirm(actor: HostActor): Promise<NetworkState>;
  /** Gives up what is tried. */
  giveUp(actor: HostActor): Promise<NetworkState>;
  stop(): void;
}

type NetworkDeps = Pick<HostDeps, 'places' | 'clock' | 'log' | 'journal'>;

/** @param apply the machine's own, unless a test brings another. */
export function openNetworkDesk(deps: NetworkDeps, apply: NetworkSwitch = applyToSystem): NetworkDesk {
  const { places, journal } = deps;
  let tried: { settings: NetworkSettings; until: Date; timer: NodeJS.Timeout } | undefined;

  const state = async (): Promise<NetworkState> => ({
    settings: await readNetworkSettings(places),
    pending: tried === undefined ? null : { settings: tried.settings, until: tried.until.toISOString() },
    addresses: ownAddresses(),
  });
  const putBack = async () => {
    clearTimeout(tried?.timer);
    tried = undefined;
    await dropPending(places);
    const settings = await readNetworkSettings(places);
    await writeSystemFiles(places, settings);
    await apply(settings);
  };
  const record = (actor: HostActor, action: string, detail: Record<string, unknown> = {}) =>
    journal.append(actor, { action: `host.network.${action}`, objectType: 'network', detail });

  return {
    state,
    async tryOut(settings, actor) {
      if (tried !== undefined) {
        throw new HoldfastError('conflict', 'Other network settings are being tried', {
          hint: 'Confirm them or wait a minute until they are given up.',
        });
      }
      checkNetworkSettings(settings);
      await record(actor, 'tried', { changed: Object.keys(settings) });
      await writeStateFile(pendingPath(places), settings, { step: 'host.network.pending' });
      const until = new Date(deps.clock.now().getTime() + CONFIRM_MS);
      const timer = setTimeout(() => {
        void record({ kind: 'system', label: 'network' }, 'given-up')
          .then(putBack)
          .catch((error: unknown) =>
            deps.log.error({ err: error }, 'The old network settings could not be put back'),
          );
      }, CONFIRM_MS);
      tried = { settings, until, timer };
      try {
        await writeSystemFiles(places, settings);
        await apply(settings);
      } catch (error) {
        await putBack();
        throw new HoldfastError('invalid_input', 'The system did not take these network settings', {
          hint: 'The old ones count again.',
          detail: messageOf(error),
          cause: error,
        });
      }
      return state();
    },
    async confirm(actor) {
      if (tried === undefined) {
        throw new HoldfastError('wrong_state', 'No network settings wait to be confirmed', {
          hint: 'They are given up after a minute. Set them again.',
        });
      }
      await record(actor, 'changed', { changed: Object.keys(tried.settings) });
      await keepNetworkSettings(places, tried.settings);
      clearTimeout(tried.timer);
      tried = undefined;
      await dropPending(places);
      return state();
    },
    async giveUp(actor) {
      if (tried !== undefined) {
        await record(actor, 'given-up');
        await putBack();
      }
      return state();
    },
    stop: () => clearTimeout(tried?.timer),
  };
}

/** @throws HoldfastError `integrity_failure` when they cannot be read. */
export async function readNetworkSettings(places: Pick<HostPlaces, 'state'>): Promise<NetworkSettings> {
  return (await readStateFile(settingsPath(places), SettingsShape))?.network ?? {};
}

/** Writes them to last; what other verbs keep in the file stays. */
export async function keepNetworkSettings(
  places: Pick<HostPlaces, 'state'>,
  settings: NetworkSettings,
): Promise<void> {
  await withStateLock(join(places.state, 'settings.lock'), async () => {
    const present = (await readStateFile(settingsPath(places), SettingsShape)) as SettingsFile | undefined;
    const changed = {
      ...present,
      network: settings,
      // Where the unlock page looks for them.
      managementNetworks: settings.managementNetworks ?? [],
    };
    await writeStateFile(settingsPath(places), changed, { step: 'host.network.settings' });
    crashPoint('host.network.kept');
  });
}

/**
 * Network settings that came with the machine (cloud-init): taken once, when nobody set any. @returns whether they were taken
 * @throws HoldfastError `invalid_input` when they are not right.
 */
export async function adoptNetworkSettings(
  places: HostPlaces,
  given: unknown,
  apply: NetworkSwitch = applyToSystem,
): Promise<boolean> {
  const present = await readStateFile(settingsPath(places), SettingsShape);
  if (present?.network !== undefined) return false;
  if (!Value.Check(NetworkSettings, given)) {
    const [first] = Value.Errors(NetworkSettings, given);
    throw new HoldfastError('invalid_input', `The network settings are not right: ${first?.message ?? ''}`, {
      hint: 'They have the shape of PUT /network.',
    });
  }
  checkNetworkSettings(given);
  await keepNetworkSettings(places, given);
  await writeSystemFiles(places, given);
  await apply(given);
  return true;
}

/** What is tried does not survive a start. */
export async function dropPending(places: Pick<HostPlaces, 'state'>): Promise<void> {
  await rm(pendingPath(places), { force: true });
  await syncDirectory(places.state);
}

/** Turns settings into files below /etc. */
export async function writeSystemFiles(places: HostPlaces, settings: NetworkSettings): Promise<void> {
  for (const file of [...renderSystemFiles(settings), await firewallFile(places, settings)])
    await writeSystemFile(places, file);
}

/** Makes the packet filter anew, for what is open beside the pages: by what is tried, while something is. */
export async function reloadFirewall(places: HostPlaces): Promise<void> {
  const tried = await readStateFile(pendingPath(places), NetworkSettings);
  const settings = tried ?? (await readNetworkSettings(places));
  await writeSystemFile(places, await firewallFile(places, settings));
  await run('nft', ['-f', join(etcOf(places), FIREWALL_FILE)]);
}

async function firewallFile(places: HostPlaces, settings: NetworkSettings): Promise<SystemFile> {
  const accounts = new Map(readAccounts().map(({ name, uid }) => [name, uid]));
  const numberOf = (key: string, name: string) => {
    const uid = accounts.get(name);
    return uid === undefined ? {} : { [key]: uid };
  };
  const callers = {
    ...numberOf('server', 'holdfast'),
    ...numberOf('worker', 'holdfast-worker'),
    ...numberOf('resolver', 'systemd-resolve'),
    ...numberOf('time', '_chrony'),
  };
  return [FIREWALL_FILE, renderFirewall(settings, callers, (await readSshNote(places))?.window)];
}

async function writeSystemFile(places: HostPlaces, [path, content]: SystemFile): Promise<void> {
  const target = join(etcOf(places), path);
  if (content === undefined) await rm(target, { force: true });
  else if ((await readFileIfPresent(target))?.toString('utf8') !== content) {
    await makePrivateDirectory(dirname(target), 0o755);
    await writeFileDurably(target, content, { mode: 0o644 });
  }
}

function etcOf(places: HostPlaces): string {
  return join(dirname(places.imageFile), '..');
}

const applyToSystem: NetworkSwitch = async (settings) => {
  // The filter first: the new addresses must not be open for a moment.
  await run('nft', ['-f', '/etc/holdfast/firewall.nft']);
  await run('hostname', [hostNameOf(settings)]);
  await run('networkctl', ['reload']);
  await run('systemctl', ['try-reload-or-restart', '--no-block', 'systemd-resolved.service']);
  await run('chronyc', ['reload', 'sources']);
};

async function run(command: string, args: readonly string[]): Promise<void> {
  const ended = await runProcess(command, args, { timeoutMs: COMMAND_MS });
  if (ended.exitCode === 0) return;
  throw new HoldfastError('unavailable', `${command} did not take the new settings`, {
    detail: ended.stderr.slice(-500),
  });
}

function ownAddresses(): NetworkState['addresses'] {
  return Object.entries(networkInterfaces()).flatMap(([name, list]) =>
    (list ?? [])
      .filter((entry) => !entry.internal && !entry.address.startsWith('fe80'))
      .map((entry) => ({ interface: name, address: entry.cidr ?? entry.address })),
  );
}

function settingsPath(places: Pick<HostPlaces, 'state'>): string {
  return join(places.state, 'settings.json');
}

function pendingPath(places: Pick<HostPlaces, 'state'>): string {
  return join(places.state, 'settings-pending.json');
}
