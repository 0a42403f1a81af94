/**
 * `holdfast serve`: holds the data folder, starts PostgreSQL and the three processes of the appliance, starts again what
 * dies, and stops everything in order. On a machine with systemd its units do this work instead.
 */
import { join } from 'node:path';
import { createKeydCredentials, keydCommand } from './keys/index.ts';
import { systemClock } from './lib/clock.ts';
import { childEnvironment, type Config } from './lib/config.ts';
import { keepProcess, type KeptProcess } from './lib/child-process.ts';
import { COMPILE_CACHE_DIR } from './lib/compile-cache.ts';
import { dataPaths, openDataFolder, sweepScratch } from './lib/data-folder.ts';
import { prepareDatabase, startDatabase } from './lib/database-setup.ts';
import { createLog, type Logger } from './lib/log.ts';
import type { PostgresServer } from './lib/postgres/index.ts';
import { ALLOCATOR_ENVIRONMENT, giveMemoryBackSoon, SMALL_HEAP } from './lib/process-memory.ts';
import { SOFTWARE_VERSION } from './lib/version.ts';

/** What a started appliance tells whoever started it. */
export interface StartedAppliance {
  url: string;
  fingerprint: string | undefined;
  claimCode: string | undefined;
  startedInMs: number;
}

interface SuperviseOptions {
  onStarted?: (started: StartedAppliance) => void;
}

const READY_TIMEOUT_MS = 60_000;
/** Uploads and downloads under way get this long to end. */
const DRAIN_MS = 20_000;

/** Runs the appliance until SIGTERM or SIGINT. Resolves when everything has stopped. */
export async function superviseAppliance(config: Config, options: SuperviseOptions = {}): Promise<void> {
  const startedAt = systemClock.monotonicMs();
  const log = createLog(config.logLevel, 'supervisor');
  const folder = await openDataFolder(config.dataDir, SOFTWARE_VERSION);
  const stopAsked = untilSignal();
  const running: Running = {
    keyd: undefined,
    database: undefined,
    server: undefined,
    worker: undefined,
    stopping: false,
  };
  try {
    const swept = await sweepScratch(config.dataDir);
    if (swept > 0) log.info({ swept }, 'Removed what an earlier run left in the scratch folder');
    await startParts(config, log, running);
    const ready = await Promise.race([startServer(config, log, running), stopAsked]);
    if (typeof ready === 'object') {
      log.info({ url: ready.url, version: SOFTWARE_VERSION }, 'Holdfast is ready');
      giveMemoryBackSoon();
      options.onStarted?.({ ...ready, startedInMs: Math.round(systemClock.monotonicMs() - startedAt) });
      await Promise.race([stopAsked, keepDatabase(config, log, running)]);
    }
  } finally {
    await stopAll(running, log);
    folder.lock.release();
  }
}

interface Running {
  keyd: KeptProcess | undefined;
  database: PostgresServer | undefined;
  server: KeptProcess | undefined;
  worker: KeptProcess | undefined;
  stopping: boolean;
}

/** keyd and PostgreSQL need nothing of each other: side by side. */
async function startParts(config: Config, log: Logger, running: Running): Promise<void> {
  await createKeydCredentials(dataPaths(config.dataDir).run);
  // Without core dumps and debugger: what it holds in memory stays there.
  const hardened = keydCommand(join(import.meta.dirname, 'keyd.ts'));
  running.keyd = keepProcess({ ...processOptions('keyd', config, log, 10_000), ...hardened });
  const [database] = await Promise.all([startDatabase(config), running.keyd.ready]);
  running.database = database;
  const report = await prepareDatabase(config);
  if (report.applied.length > 0) log.info({ applied: report.applied }, 'Brought the schema up to date');
}

async function startServer(
  config: Config,
  log: Logger,
  running: Running,
): Promise<Omit<StartedAppliance, 'startedInMs'>> {
  running.server = keepProcess(processOptions('main', config, log, DRAIN_MS + 5_000));
  running.worker = keepProcess(processOptions('worker', config, log, 30_000));
  const [message] = await Promise.all([running.server.ready, running.worker.ready]);
  // A port that the system chose stays the same when the server is started again.
  config.port = Number(message.port);
  return {
    url: String(message.url),
    fingerprint: message.fingerprint as string | undefined,
    claimCode: message.claimCode as string | undefined,
  };
}

function processOptions(entry: string, config: Config, log: Logger, stopTimeoutMs: number) {
  return {
    name: entry === 'main' ? 'server' : entry,
    command: process.execPath,
    args: [...SMALL_HEAP, join(import.meta.dirname, `${entry}.ts`)],
    env: () =>
      childEnvironment({
        ...ALLOCATOR_ENVIRONMENT,
        HOLDFAST_DATA: config.dataDir,
        HOLDFAST_PORT: String(config.port),
        NODE_COMPILE_CACHE: COMPILE_CACHE_DIR,
      }),
    log,
    readyTimeoutMs: READY_TIMEOUT_MS,
    stopTimeoutMs,
  };
}

/**
 * Starts PostgreSQL again when it ends: it recovers from its own log, and everyone's connections find it again. Resolves
 * (and so stops the appliance) only when it cannot be started any more.
 */
async function keepDatabase(config: Config, log: Logger, running: Running): Promise<void> {
  while (running.database !== undefined) {
    const end = await running.database.exited;
    if (running.stopping) return;
    log.error({ ...end }, 'PostgreSQL ended and is started again');
    try {
      running.database = await startDatabase(config);
      log.info('PostgreSQL is back');
    } catch (error) {
      log.error({ err: error }, 'PostgreSQL cannot be started again; Holdfast stops');
      process.exitCode = 1;
      return;
    }
  }
  return new Promise(() => undefined);
}

async function stopAll(running: Running, log: Logger): Promise<void> {
  running.stopping = true;
  log.info('Holdfast stops');
  await Promise.all([running.server?.stop(), running.worker?.stop()]);
  await running.keyd?.stop();
  await running.database?.stop();
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
}
