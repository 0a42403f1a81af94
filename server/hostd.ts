/**
 * The process `holdfast-hostd`: what needs root on the machine image, behind the fixed verbs of `appliance/host`. It loads
 * nothing of the server, listens on no network and opens no data.
 */
import { chmod, chown, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import {
  browserRecoveryRoutes,
  buildHostApp,
  buildRehearsalApp,
  createRauc,
  deviceMapping,
  finishWays,
  hardeningRoutes,
  HOST_SOCKET,
  hostPlaces,
  identityRoutes,
  keepSystemFacts,
  slotContentBytes,
  setBackRoutes,
  sshRoutes,
  launchInUnit,
  lookInUnit,
  machineRecoveryRoutes,
  networkRoutes,
  openBrowserRecovery,
  openBundleRoot,
  openJournal,
  openShares,
  openSetBack,
  openSshDesk,
  openUpdates,
  powerRoutes,
  RAUC_KEYRING,
  rehearsalSocket,
  recoveryKeyProof,
  shellRoutes,
  shareRoutes,
  supportRoutes,
  systemdMounts,
  systemdPower,
  systemdServices,
  tpmSealer,
  updateRoutes,
  volumeRoutes,
  waitForHealth,
} from './appliance/host/index.ts';
import { findAccount, findGroupId, MACHINE_ACCOUNTS } from './lib/accounts.ts';
import { systemClock } from './lib/clock.ts';
import { keepCompiled } from './lib/compile-cache.ts';
import { loadConfig } from './lib/config.ts';
import { dataPaths } from './lib/data-folder.ts';
import { makePrivateDirectory, readFileIfPresent } from './lib/files.ts';
import { createLog } from './lib/log.ts';
import { connectServiceManager } from './lib/service-notify.ts';
import { shortPath } from './lib/sockets.ts';
import { runProcess } from './lib/spawn.ts';

const CHORES_EVERY_MS = 60_000;
/** The volume may be opened at any time, and the server soon asks for what lies on shares. */
const LOOK_FOR_VOLUME_MS = 1_000;
/** The migrations of this version run on the data of the snapshot first. */
const SET_BACK_START_MS = 45 * 60_000;

const config = loadConfig();
let houseKeeping = false;
const log = createLog(config.logLevel, 'hostd');
const serviceManager = connectServiceManager(log);
const places = hostPlaces();
const journal = openJournal(places.state, systemClock);
const deps = { places, clock: systemClock, log, journal };
const ways = { ...deps, tpm: tpmSealer, mapping: deviceMapping(places.data) };
const rauc = createRauc({ keyring: RAUC_KEYRING });
const updates = openUpdates({
  ...deps,
  rauc,
  bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
  reboot: () => systemdPower('restart'),
});
// There before server and worker start, whose view of the machine is closed to what comes later.
await makePrivateDirectory(join(places.run, 'shares'), 0o711);
const shares = openShares({
  ...deps,
  mounts: systemdMounts,
  owner: {
    uid: findAccount(MACHINE_ACCOUNTS.worker).uid,
    gid: findGroupId(config.sharedGroup ?? 'holdfast-data'),
  },
});
const BACKUP_FOLDERS = ['/mnt', join(places.run, 'shares')];
const recoveryDeps = { ...deps, services: systemdServices, dataDir: config.dataDir };
const recovery = openBrowserRecovery({
  ...recoveryDeps,
  shares,
  launch: lookInUnit,
  directories: BACKUP_FOLDERS,
});
const setBack = openSetBack({
  ...recoveryDeps,
  shares,
  launch: lookInUnit,
  directories: BACKUP_FOLDERS,
  updateUnderWay: async () => (await updates.records.current())?.version,
  waitForHealth: () =>
    waitForHealth(
      { dataDir: config.dataDir, clock: systemClock },
      { mostMs: SET_BACK_START_MS, giveUpEarly: true },
    ),
});
const ssh = openSshDesk(deps);
const app = await buildHostApp(deps, [
  shareRoutes(shares),
  identityRoutes,
  machineRecoveryRoutes(recoveryDeps),
  browserRecoveryRoutes(recovery),
  setBackRoutes(setBack),
  updateRoutes(updates),
  volumeRoutes(ways),
  powerRoutes({ ...deps, power: systemdPower }),
  supportRoutes(deps),
  networkRoutes(deps),
  hardeningRoutes,
  shellRoutes({ ...deps, isRecoveryKey: recoveryKeyProof(ways) }),
  sshRoutes(ssh),
]);
await ssh.resume().catch((error: unknown) => log.error({ err: error }, 'What is left of SSH stays'));
await finishWays(ways).catch((error: unknown) =>
  log.error({ err: error }, 'A change of ways stays half done'),
);

const runApp = await buildRehearsalApp({
  log,
  updates,
  dataDir: config.dataDir,
  launch: launchInUnit,
  openRoot: (bundle) => openBundleRoot(rauc, bundle, places.run),
});
const socket = config.hostSocket ?? HOST_SOCKET;
await listenFor(app, socket, 'holdfast');
await recovery.resume();
await setBack.resume();
await listenFor(runApp, rehearsalSocket(socket), 'holdfast-worker');
void updates
  .resumeWhenUnlocked()
  .catch((error: unknown) => log.error({ err: error }, 'An update could not be gone on with'));
const chores = setInterval(() => void keepHouse(), CHORES_EVERY_MS);
const arrival = setInterval(() => void welcomeVolume(), LOOK_FOR_VOLUME_MS);
void welcomeVolume();
keepCompiled();
await serviceManager.ready('Serving the host verbs');

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal));

async function stop(why: string): Promise<void> {
  log.info({ why }, 'hostd stops');
  await serviceManager.stopping();
  clearInterval(chores);
  clearInterval(arrival);
  updates.close();
  await Promise.all([app.close(), runApp.close()]);
  process.exit(0);
}

/** Once, when the volume is there. */
async function welcomeVolume(): Promise<void> {
  if ((await readVolumeMarker()) === undefined) return;
  clearInterval(arrival);
  await keepHouse();
}

/** What waits for the unlocked volume: shares that are away, and what snapshots keep of the machine. */
async function keepHouse(): Promise<void> {
  if (houseKeeping || (await readVolumeMarker()) === undefined) return;
  houseKeeping = true;
  try {
    await setBack
      .keepHouse()
      .catch((error: unknown) => log.error({ err: error }, 'What is left of a set-back waits'));
    await shares.mountAll();
    // The first time a whole system is packed: the start of the appliance comes before that.
    if (!(await isServing())) return;
    const slot = (await rauc.slots()).find((one) => one.booted)?.name ?? 'A';
    await keepSystemFacts({
      ...deps,
      slots: () => rauc.slots(),
      runningBundle: () => updates.runningBundle(),
      rootDevice: `/dev/disk/by-partlabel/root-${slot.toLowerCase()}`,
      rootBytes: slotContentBytes(await readFile('/proc/cmdline', 'utf8')),
      readerGid: findGroupId(config.sharedGroup ?? 'holdfast-data'),
    });
  } catch (error) {
    log.warn(
      { err: error },
      'What the machine keeps for snapshots and shares is not up to date; tried again soon',
    );
  } finally {
    houseKeeping = false;
  }
}

/** Whether the server has said that it is ready. */
async function isServing(): Promise<boolean> {
  const args = ['is-active', '--quiet', 'holdfast-server.service'];
  return (await runProcess('systemctl', args, { timeoutMs: 20_000 })).exitCode === 0;
}

/** The data folder's own mark: there only while the volume is open. One that cannot be read is looked for again. */
function readVolumeMarker(): Promise<Buffer | undefined> {
  return readFileIfPresent(dataPaths(config.dataDir).marker).catch(() => undefined);
}

/** A socket that root and one account may open; closed to everybody between its birth and its rights. */
async function listenFor(server: FastifyInstance, path: string, account: string): Promise<void> {
  await makePrivateDirectory(dirname(path), 0o711);
  await rm(path, { force: true });
  const umask = process.umask(0o177);
  await server.listen({ path: shortPath(path) });
  process.umask(umask);
  if (process.getuid?.() === 0) await chown(path, 0, findAccount(account).gid);
  await chmod(path, 0o660);
}
