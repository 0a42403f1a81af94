/**
 * The process `holdfast-unlock`: finds the data disk, opens it (by TPM, by hook, or with the key that somebody types at the unlock
 * page or the console) or makes it when it is empty, mounts it, and puts the root key in place. It ends when that is done; what
 * comes after it may count on it. It never starts a shell, and works without any network.
 */
import { existsSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  allowedNetworks,
  buildUnlockConsole,
  buildUnlockPage,
  deviceMapping,
  hostPlaces,
  listDisks,
  openJournal,
  openUnlockDesk,
  readManagementNetworks,
  readOwnUuid,
  readTakenDisk,
  tpmSealer,
  writeUnlockNote,
  type DeskState,
} from './appliance/host/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig } from './lib/config.ts';
import { messageOf } from './lib/errors.ts';
import { makePrivateDirectory } from './lib/files.ts';
import { createLog } from './lib/log.ts';
import { runProcess } from './lib/spawn.ts';
import { isOwnTlsDue, loadOwnTlsIdentity, makeOwnTlsIdentity } from './lib/tls.ts';

/** Room for the database, its reserve and the first files. */
const MINIMUM_BYTES = 2 * 1024 ** 3;
const LOOK_AGAIN_MS = 5_000;
/** cloud-init asks every metadata service that there is, for minutes. */
const CLOUD_LIMIT_MS = 15 * 60_000;
const PORT = 443;

const config = loadConfig();
const log = createLog(config.logLevel, 'unlock');
const places = hostPlaces();
const journal = openJournal(places.state, systemClock);
await makePrivateDirectory(places.run, 0o711);

const note: Parameters<typeof writeUnlockNote>[1] = { state: undefined, fingerprint: null, port: null };
/** One after the other: the console goes by the last. */
let told = Promise.resolve();
const tell = (state: DeskState) => {
  log.info({ state: state.kind }, state.title);
  note.state = state;
  told = told
    .then(() => writeUnlockNote(places, note))
    .catch((error: unknown) => log.warn({ err: error }, messageOf(error)));
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
    configuredDisk: await configuredDisk(),
    minimumBytes: MINIMUM_BYTES,
  },
  tell,
);

if (!(await desk.start())) await waitForKey();
log.info('The data volume is open');
await told;
process.exit(0);

/** Serves page and console until the volume is open. Without a network the console is enough. */
async function waitForKey(): Promise<void> {
  const own = join(places.state, 'unlock', 'tls');
  const due = await isOwnTlsDue(own, systemClock);
  const tls = await (due ? makeOwnTlsIdentity(own, systemClock) : loadOwnTlsIdentity(own, systemClock));
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

/**
 * What the configuration names. A machine that has a volume knows its own; any other waits until cloud-init has spoken, because
 * the disk, and the set-up that comes after it, may stand there.
 */
async function configuredDisk(): Promise<string | undefined> {
  if ((await readOwnUuid({ places })) !== undefined) return undefined;
  const { exitCode, stderr } = await runProcess('systemctl', ['start', 'holdfast-cloud.service'], {
    timeoutMs: CLOUD_LIMIT_MS,
  });
  if (exitCode !== 0) log.error({ said: stderr.trim() }, 'The set-up of the cloud was not taken');
  return readTakenDisk(places);
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
