/**
 * The server process: connects keyring and database, prepares what a restart or crash left, listens for people and for
 * the console, hands out due work, and drains what is under way when told to stop.
 */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { startSequencer } from './audit/index.ts';
import { answerChallenge, isClaimed, currentBanners, prepareAppliance } from './appliance/index.ts';
import { buildApp, buildConsoleApp } from './app.ts';
import { createSnapshotBrowser } from './backups/index.ts';
import { FIRST_LIMITS, openLogFiles } from './identity/index.ts';
import type { Deps } from './deps.ts';
import { startScheduler } from './jobs.ts';
import { startMailSender } from './mail/index.ts';
import { connectKeyd, credentialPath, openSealer } from './keys/index.ts';
import { systemClock } from './lib/clock.ts';
import { loadConfig, type Config } from './lib/config.ts';
import { keepCompiled } from './lib/compile-cache.ts';
import { keepReserve } from './lib/data-disk.ts';
import { dataPaths, holdPreparedFolder } from './lib/data-folder.ts';
import { appAddress } from './lib/database-setup.ts';
import { openDatabase } from './lib/db.ts';
import { CONNECTION_LIMITS, guardConnections, makeProxyTest } from './lib/door/index.ts';
import { createLog } from './lib/log.ts';
import { connectServiceManager } from './lib/service-notify.ts';
import { giveMemoryBackSoon } from './lib/process-memory.ts';
import { listenForRuns } from './lib/run-listener.ts';
import { shortPath } from './lib/sockets.ts';
import { isSystemError } from './lib/errors.ts';
import { loadTlsIdentity } from './lib/tls.ts';
import { startWebhookSender } from './monitoring/index.ts';
import { sendDeps } from './send-deps.ts';
import { prepareWorkspaces } from './workspaces/index.ts';

const config = loadConfig();
const log = createLog(config.logLevel, 'server');
const service = connectServiceManager(log);
// A supervisor holds the folder for us; under a service manager nobody else does.
const folderLock = process.send === undefined ? await holdPreparedFolder(config.dataDir) : undefined;
if (folderLock !== undefined) keepReserve(dataPaths(config.dataDir).reserve);
if (config.sharedGroup !== undefined) process.umask(0o007);

const deps = await connectDeps(config);
const prepared = await prepareAppliance(deps);
await prepareWorkspaces(deps);
const tls = await loadTlsIdentity(config, deps.clock);
const app = await buildApp(deps, { tls });
await app.listen({ host: config.host, port: config.port }).catch(refuseAddress);

// People wait for the pages; whoever is at the console waits for the whole start anyway.
const consoleApp = await buildConsoleApp(deps);
const { controlSocket } = dataPaths(config.dataDir);
await rm(controlSocket, { force: true });
await consoleApp.listen({ path: shortPath(controlSocket) });
await chmod(controlSocket, 0o600);
const listening = app.server.address();
const port = typeof listening === 'object' && listening !== null ? listening.port : config.port;
const redirect = await startRedirect(config.redirectPort, port);
const scheduler = startScheduler(deps);
const sequencer = startSequencer(deps);
const mailSender = startMailSender(sendDeps(deps));
const webhookSender = startWebhookSender(sendDeps(deps));

keepCompiled();
giveMemoryBackSoon();
const url = `https://${config.host === '0.0.0.0' || config.host === '::' ? 'localhost' : config.host}:${port}`;
await service.ready(`Listening on ${url}`);
process.send?.({
  ready: true,
  port,
  url,
  fingerprint: tls.fingerprint,
  ...(prepared.claimCode === undefined ? {} : { claimCode: prepared.claimCode }),
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal));
process.once('disconnect', () => void stop('the supervisor is gone'));

let stopping = false;
async function stop(why: string): Promise<void> {
  if (stopping) return;
  stopping = true;
  log.info({ why }, 'The server stops');
  await service.stopping();
  scheduler.stop();
  redirect?.close();
  const sent = Promise.all([mailSender.stop(), webhookSender.stop()]);
  await Promise.all([app.close(), consoleApp.close()]);
  await sent;
  void deps.snapshotBrowser.stop();
  await deps.runListener.close();
  deps.sealer.close();
  await deps.keys.close();
  await deps.requestLog.close();
  await sequencer.stop();
  await deps.db.destroy();
  folderLock?.release();
  process.exit(0);
}

async function connectDeps(settings: Config): Promise<Deps> {
  const paths = dataPaths(settings.dataDir);
  const databaseAddress = appAddress(settings);
  const db = openDatabase(databaseAddress, { name: 'holdfast server', max: 20 });
  const keys = await connectKeyd({
    socketPath: paths.keydSocket,
    credentialFile: credentialPath(paths.run, 'server'),
    role: 'server',
    clock: systemClock,
  });
  return {
    config: settings,
    dataDir: settings.dataDir,
    clock: systemClock,
    log,
    db,
    databaseAddress,
    keys,
    sealer: openSealer(keys),
    runListener: listenForRuns(databaseAddress, 'holdfast server listen', log),
    snapshotBrowser: createSnapshotBrowser({ keys, log }),
    requestLog: await openLogFiles(paths.requestLog, { clock: systemClock, log }, FIRST_LIMITS),
    origins: settings.origins,
    isClaimed: () => isClaimed(db),
    banners: () => currentBanners({ db, keys, clock: systemClock, config: settings }),
  };
}

/** Tells the supervisor why there is no listening, and ends: starting again would not help. */
function refuseAddress(error: unknown): never {
  const taken = isSystemError(error, 'EADDRINUSE');
  const closed = isSystemError(error, 'EACCES');
  if (!taken && !closed && !isSystemError(error, 'EADDRNOTAVAIL')) throw error;
  const why = taken
    ? 'is in use by another program'
    : closed
      ? 'may not be used by this account'
      : 'is not an address of this machine';
  const failed = `${config.host}, port ${config.port}, ${why}`;
  const hint = 'Choose another port with HOLDFAST_PORT, or another address with HOLDFAST_HOST.';
  if (process.send === undefined) log.fatal({ hint }, failed);
  else process.send({ failed, hint });
  process.exit(1);
}

/** Plain HTTP that answers where HTTPS is, and an authority that looks whether a name is ours. */
async function startRedirect(
  redirectPort: number | undefined,
  httpsPort: number,
): Promise<Server | undefined> {
  if (redirectPort === undefined) return undefined;
  const options = {
    headersTimeout: 10_000,
    requestTimeout: 10_000,
    keepAliveTimeout: 1_000,
    maxHeaderSize: 16_384,
  };
  const server = createServer(options, (request, response) => {
    const answer = answerChallenge(request.url ?? '');
    if (answer !== undefined) {
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(answer);
      return;
    }
    const host = (request.headers.host ?? 'localhost').replace(/:\d+$/, '');
    const safe = /^[A-Za-z0-9.[\]:-]{1,255}$/.test(host) ? host : 'localhost';
    const suffix = httpsPort === 443 ? '' : `:${httpsPort}`;
    response.writeHead(308, { location: `https://${safe}${suffix}${request.url ?? '/'}` }).end();
  });
  // What is held open here must not take the places of those who come by HTTPS.
  const limits = { ...CONNECTION_LIMITS, total: 256, perAddress: 32 };
  guardConnections(server, { ...deps, isProxy: makeProxyTest(config.trustedProxies) }, limits);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(redirectPort, config.host, resolve);
  });
  return server;
}
