/**
 * The process `holdfast-hostd`: what needs root on the machine image, behind the fixed verbs of `appliance/host`. It loads
 * nothing of the server, listens on no network and opens no data.
 */
import { chmod, chown, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  buildHostApp,
  deviceMapping,
  finishWays,
  hardeningRoutes,
  HOST_SOCKET,
  hostPlaces,
  networkRoutes,
  openJournal,
  powerRoutes,
  systemdPower,
  tpmSealer,
  volumeRoutes,
} from './appliance/host/index.ts';
import { findAccount } from './lib/accounts.ts';
import { systemClock } from './lib/clock.ts';
import { keepCompiled } from './lib/compile-cache.ts';
import { loadConfig } from './lib/config.ts';
import { makePrivateDirectory } from './lib/files.ts';
import { createLog } from './lib/log.ts';
import { connectServiceManager } from './lib/service-notify.ts';
import { shortPath } from './lib/sockets.ts';

const config = loadConfig();
const log = createLog(config.logLevel, 'hostd');
const serviceManager = connectServiceManager(log);
const places = hostPlaces();
const journal = openJournal(places.state, systemClock);
const deps = { places, clock: systemClock, log, journal };
const ways = { ...deps, tpm: tpmSealer, mapping: deviceMapping(places.data) };
const app = await buildHostApp(deps, [
  volumeRoutes(ways),
  powerRoutes({ ...deps, power: systemdPower }),
  networkRoutes(deps),
  hardeningRoutes,
]);
await finishWays(ways).catch((error: unknown) =>
  log.error({ err: error }, 'A change of ways stays half done'),
);

const socket = config.hostSocket ?? HOST_SOCKET;
await makePrivateDirectory(dirname(socket), 0o711);
await rm(socket, { force: true });
// Closed to everybody between its birth and its rights.
const umask = process.umask(0o177);
await app.listen({ path: shortPath(socket) });
process.umask(umask);
if (process.getuid?.() === 0) await chown(socket, 0, findAccount('holdfast').gid);
await chmod(socket, 0o660);
keepCompiled();
await serviceManager.ready('Serving the host verbs');

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal));

async function stop(why: string): Promise<void> {
  log.info({ why }, 'hostd stops');
  await serviceManager.stopping();
  await app.close();
  process.exit(0);
}
