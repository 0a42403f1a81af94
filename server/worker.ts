/**
 * The worker process: takes queued runs, oldest first, and gives each a process of its own, so that a run that fails,
 * is cancelled or uses much memory takes nothing else with it. Beside them it keeps the process that ships the log.
 */
import { join } from 'node:path';
import { keepShipping } from './keep-shipping.ts';
import { connectKeyd, credentialPath } from './keys/index.ts';
import { systemClock } from './lib/clock.ts';
import { childEnvironment, loadConfig } from './lib/config.ts';
import { keepCompiled } from './lib/compile-cache.ts';
import { dataPaths, sweepScratch } from './lib/data-folder.ts';
import { appAddress } from './lib/database-setup.ts';
import { openDatabase } from './lib/db.ts';
import { createLog } from './lib/log.ts';
import { ALLOCATOR_ENVIRONMENT, giveMemoryBackSoon } from './lib/process-memory.ts';
import { listenForRuns } from './lib/run-listener.ts';
import { connectServiceManager } from './lib/service-notify.ts';
import { failInterruptedRuns, finishRun, takeQueuedRun } from './lib/runs.ts';
import { endOf, startProcess, type ChildProcess } from './lib/spawn.ts';

/** Bulk work shares two cores with the server: one run at a time, and short ones beside a long one. */
const MOST_AT_ONCE = 2;
/** How often to look when no notification came. */
const LOOK_EVERY_MS = 5_000;
/** A cancelled run gets this long to tidy up. */
const CANCEL_MS = 20_000;

const config = loadConfig();
const log = createLog(config.logLevel, 'worker');
// Under a supervisor that one has done it, before anything could be under way.
if (process.send === undefined) await sweepScratch(config.dataDir);
if (config.sharedGroup !== undefined) process.umask(0o007);
const service = connectServiceManager(log);
const address = appAddress(config);
const db = openDatabase(address, { name: 'holdfast worker', max: 3 });
const paths = dataPaths(config.dataDir);
const keys = await connectKeyd({
  socketPath: paths.keydSocket,
  credentialFile: credentialPath(paths.run, 'worker'),
  role: 'worker',
  clock: systemClock,
});
const shipping = keepShipping({ db, keys, log });
const children = new Map<string, ChildProcess>();
/** How runs ended that did not say it themselves, until it is recorded: a full disk may stay full for days. */
const endings = new Map<string, string>();
let stopping = false;
let looking = Promise.resolve();

const interrupted = await failInterruptedRuns(db, systemClock);
if (interrupted.length > 0) log.warn({ runs: interrupted }, 'Runs were interrupted by the last stop');
const listener = listenForRuns(address, 'holdfast worker listen', log);
listener.subscribe(look);
const timer = setInterval(look, LOOK_EVERY_MS);
look();
keepCompiled();
process.send?.({ ready: true });
await service.ready('Waiting for jobs');
giveMemoryBackSoon();

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop());
process.once('disconnect', () => void stop());

/** One look at a time; a notification during one causes another after it. */
function look(): void {
  looking = looking.then(takeRuns).catch((error: unknown) => {
    log.error({ err: error }, 'Looking for queued runs failed; it is tried again');
  });
}

async function takeRuns(): Promise<void> {
  if (!stopping) await keepShippingGoing();
  await recordEndings();
  await cancelAsked();
  while (!stopping && children.size < MOST_AT_ONCE) {
    const run = await takeQueuedRun(db, systemClock);
    if (run === undefined) return;
    const { keySource } = run.input as { keySource?: string };
    // A kit test opens the backup with what the kit's holder lent, and with nothing of this appliance.
    if (keySource !== 'recovery-kit') await keys.lend(run.id, null, { testIdentity: true, liveKeys: true });
    startRun(run.id, run.kind);
  }
}

/** What keeps the log from being shipped keeps no run from being taken. */
async function keepShippingGoing(): Promise<void> {
  try {
    await shipping.look();
  } catch (error) {
    log.error({ err: error }, 'Shipping of the log could not be started; it is tried again');
  }
}

function startRun(id: string, kind: string): void {
  log.info({ run: id, kind }, 'Run started');
  // Bulk work leaves much short-lived garbage; a small young generation keeps it from piling up.
  const child = startProcess(
    process.execPath,
    ['--max-semi-space-size=2', '--max-old-space-size=512', join(import.meta.dirname, 'run.ts'), id],
    {
      env: childEnvironment(ALLOCATOR_ENVIRONMENT),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    },
  );
  children.set(id, child);
  void endOf(child).then(async (end) => {
    children.delete(id);
    log.info({ run: id, kind, ...end }, 'Run ended');
    if (end.exitCode !== 0) {
      endings.set(
        id,
        end.signal === null ? 'The run ended unexpectedly' : `The run was ended by ${end.signal}`,
      );
      await sweepOwnScratch(id);
    }
    look();
  });
}

/** A run whose end is not recorded would count as running for ever. What fails here is tried again at the next look. */
async function recordEndings(): Promise<void> {
  for (const [id, message] of endings) {
    const hint = 'Look in the log of the appliance, then start it again.';
    await finishRun(db, systemClock, id, { state: 'failed', error: { code: 'internal', message, hint } });
    endings.delete(id);
  }
}

/** What a killed run left unpacked is removed at once, not at the next start. */
async function sweepOwnScratch(id: string): Promise<void> {
  if (children.size === 0) await sweepScratch(config.dataDir);
  else log.warn({ run: id }, 'Scratch of an ended run is swept when no other run is under way');
}

/** Tells children of runs that a person asked to cancel. */
async function cancelAsked(): Promise<void> {
  if (children.size === 0) return;
  const rows = await db
    .selectFrom('runs')
    .select('id')
    .where('id', 'in', [...children.keys()])
    .where('cancel_requested_at', 'is not', null)
    .execute();
  for (const row of rows) cancel(row.id);
}

function cancel(id: string): void {
  const child = children.get(id);
  if (child?.connected !== true) return;
  child.send({ cancel: true });
  child.disconnect();
  setTimeout(() => {
    if (children.has(id)) child.kill('SIGKILL');
  }, CANCEL_MS).unref();
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  await service.stopping();
  clearInterval(timer);
  for (const id of children.keys()) cancel(id);
  await looking;
  await shipping.stop();
  await Promise.all([...children.values()].map(endOf));
  await listener.close();
  await keys.close();
  await db.destroy();
  process.exit(0);
}
