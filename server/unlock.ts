/**
 * The process `holdfast-unlock`: finds the data disk, opens it (by TPM, by hook, or with the key that somebody types at the unlock
 * page or the console) or makes it when it is empty, mounts it, and puts the root key in place. It ends when that is done; what
 * comes after it may count on it. It never starts a shell, and works without any network.
 */
import { existsSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  adoptNetworkSettings,
  allowedNetworks,
  buildUnlockConsole,
  buildUnlockPage,
  deviceMapping,
  hostPlaces,
  listDisks,
  openJournal,
  openUnlockDesk,
  readManagementNetworks,
  takeCloudSetup,
  tpmSealer,
  writeUnlockNote,
  type DeskState,
} from './appliance/host/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { messageOf } from './lib/errors.ts';
import { makePrivateDirectory } from './lib/files.ts';
import { createLog } from './lib/log.ts';
import { loadOwnTlsIdentity } from './lib/tls.ts';

/** Room for the database, its reserve and the first files. */
const MINIMUM_BYTES = 2 * 1024 ** 3;
const LOOK_AGAIN_MS = 5_000;
const PORT = 443;

const config = loadConfig();
const log = createLog(config.logLevel, 'unlock');
const places = hostPlaces();
const journal = openJournal(places.state, systemClock);
await makePrivateDirectory(places.run, 0o711);
const cloud = await takeCloudSetup({ places, clock: systemClock, log, journal });
if (cloud.network !== undefined) await takeNetwork(cloud.network);

const note: Parameters<typeof writeUnlockNote>[1] = { state: undefined, fingerprint: null, port: null };
const tell = (state: DeskState) => {
  log.info({ state: state.kind }, state.title);
  note.state = state;
  void writeUnlockNote(places, note).catch((error: unknown) => log.warn({ err: error }, messageOf(error)));
};
const desk = openUnlockDesk(
  {
    places,
    clock: systemClock,
    log,
    journal,
    tpm: tpmSealer,
    mapping: deviceMapping(places.data),
    findDisks: listDisks,
    configuredDisk: cloud.dataDisk,
    minimumBytes: MINIMUM_BYTES,
  },
  tell,
);

if (!(await desk.start())) await waitForKey();
log.info('The data volume is open');
process.exit(0);

/** Serves page and console until the volume is open. Without a network the console is enough. */
async function waitForKey(): Promise<void> {
  const tls = await loadOwnTlsIdentity(join(places.state, 'unlock', 'tls'), systemClock);
  note.fingerprint = tls.fingerprint;
  const page = await buildUnlockPage({
    desk,
    clock: systemClock,
    log,
    tls,
    isAllowed: await pageNetworks(),
  });
  const console = buildUnlockConsole(desk, log, () => ({ fingerprint: note.fingerprint, port: note.port }));
  const socket = join(places.run, 'unlock.sock');
  await rm(socket, { force: true });
  const umask = process.umask(0o177);
  await console.listen({ path: socket });
  process.umask(umask);
  await chmod(socket, 0o600);
  note.port = await listenAnywhere(page);
  tell(desk.state());
  const looking = setInterval(
    () => void desk.lookAgain().catch((error: unknown) => log.warn({ err: error }, messageOf(error))),
    LOOK_AGAIN_MS,
  );
  await desk.opened;
  clearInterval(looking);
  // The reply to the one who typed the key is on its way.
  await Promise.all([page.close(), console.close()]);
  await rm(socket, { force: true });
}

/** A wrong one costs the settings, not the start: the network is then as the cloud itself says. */
async function takeNetwork(given: Record<string, unknown>): Promise<void> {
  try {
    if (await adoptNetworkSettings(places, given))
      log.info('The network is set as the cloud configuration says');
  } catch (error) {
    log.error({ err: error }, 'The network settings of the cloud configuration were not taken');
  }
}

/** On every address; a kernel without IPv6 has only the others. @returns the port, or null when nothing listens. */
async function listenAnywhere(page: Awaited<ReturnType<typeof buildUnlockPage>>): Promise<number | null> {
  try {
    await page.listen({ host: existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0', port: PORT });
    return PORT;
  } catch (error) {
    log.error({ err: error }, 'The unlock page cannot listen; the console still takes the key');
    return null;
  }
}

/** Settings that cannot be read close the page, not the console. */
async function pageNetworks(): Promise<(address: string) => boolean> {
  try {
    return allowedNetworks(await readManagementNetworks(places));
  } catch (error) {
    log.error({ err: error }, 'The management networks are not valid');
    return () => false;
  }
}
