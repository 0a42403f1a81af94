/** Ships the write-ahead log, in a process of its own: `node server/ship.ts <id>`, kept by the worker while it is switched on. */
import { countRoundsLeft, runShipper } from './backups/index.ts';
import { loadConfig } from './lib/config.ts';
import { createLog } from './lib/log.ts';
import { openRunDeps } from './run-deps.ts';

const shipId = process.argv[2] ?? '';
const config = loadConfig();
const log = createLog(config.logLevel, 'ship');
if (config.sharedGroup !== undefined) process.umask(0o007);
const deps = await openRunDeps(config, log, shipId);
// What the worker lent, for as long as this connection lasts: targets may be added at any time.
await deps.keys.takeLiveKeys(shipId);

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
process.once('disconnect', () => stop.abort());

let exitCode = 0;
try {
  const ended = await runShipper(deps, stop.signal);
  if (ended === 'off') log.info('Shipping of the write-ahead log was switched off');
} catch (error) {
  log.error({ err: error }, 'Shipping of the write-ahead log stopped; it is started again');
  exitCode = 1;
}
await deps.close();
// Node waits for its threads when it ends, and one that hangs on a dead share never does.
if (countRoundsLeft() > 0) process.kill(process.pid, 'SIGKILL');
process.exit(exitCode);
