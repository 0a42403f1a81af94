/**
 * The process `holdfast-keyd`: holds the keyring, and nothing else of the appliance. It opens no network connection.
 *
 * `keyd.ts` serves the data folder's keyring on its `run/keyd/keyd.sock`. `keyd.ts --scratch DIRECTORY` serves a keyring that it is
 * handed on standard input, for one restore test, on a socket in that directory; it ends when standard input ends.
 */
import { join } from 'node:path';
import { loadConfig } from './lib/config.ts';
import { systemClock } from './lib/clock.ts';
import { dataPaths } from './lib/data-folder.ts';
import { HoldfastError, messageOf } from './lib/errors.ts';
import { createLog } from './lib/log.ts';
import { connectServiceManager } from './lib/service-notify.ts';
import { giveMemoryBackSoon } from './lib/process-memory.ts';
import {
  givenRootKey,
  openKeyringFile,
  readCredentials,
  readScratchKeyring,
  rootKeyFile,
  rootKeyPath,
  startKeyd,
} from './keys/index.ts';

const config = loadConfig();
const log = createLog(config.logLevel, 'keyd');

/** The one line that says why it cannot run; the hint tells the operator what to do. */
function fail(error: unknown): never {
  const known =
    error instanceof HoldfastError ? { code: error.code, hint: error.hint, detail: error.detail } : {};
  log.fatal(
    { ...known, cause: error instanceof Error ? messageOf(error.cause) : undefined },
    messageOf(error),
  );
  process.exit(1);
}

function say(message: Record<string, unknown>): void {
  if (process.send) process.send(message);
  else process.stdout.write(`${JSON.stringify(message)}\n`);
}

const onRefused = (reason: string) => log.warn({ reason }, 'A connection was refused');

async function serveKeyring(): Promise<void> {
  const paths = dataPaths(config.dataDir);
  const file = await openKeyringFile({
    directory: paths.keyring,
    rootKey: config.rootKeyFile ? givenRootKey(config.rootKeyFile) : rootKeyFile(rootKeyPath(paths.keyring)),
    onBroken: fail,
  });
  for (const notice of file.notices) log.warn(notice);
  const keyd = await startKeyd({
    socketPath: paths.keydSocket,
    credentials: await readCredentials(paths.run),
    keyring: file,
    clock: systemClock,
    directory: paths.keyring,
    onRefused,
  });
  const service = connectServiceManager(log);
  const stop = async () => {
    await service.stopping();
    await keyd.close();
    await file.close();
    process.exit(0);
  };
  process.once('SIGTERM', () => void stop());
  process.once('SIGINT', () => void stop());
  // A supervisor that is gone cannot start us again with the credentials of its successor.
  process.once('disconnect', () => void stop());
  await service.ready('The keyring is open');
  say({ ready: true, keys: file.keyring().keys.size });
  giveMemoryBackSoon();
}

async function serveScratch(directory: string): Promise<void> {
  const { keyring, ended } = await readScratchKeyring(process.stdin);
  const keyd = await startKeyd({
    socketPath: join(directory, 'keyd.sock'),
    credentials: await readCredentials(directory),
    keyring,
    clock: systemClock,
    directory: undefined,
    onRefused,
  });
  say({ ready: true, keys: keyring.keyring().keys.size });
  await ended;
  await keyd.close();
  process.exit(0);
}

const scratch = process.argv.indexOf('--scratch');
const directory = process.argv[scratch + 1];
if (scratch > 0 && directory !== undefined) await serveScratch(directory).catch(fail);
else await serveKeyring().catch(fail);
