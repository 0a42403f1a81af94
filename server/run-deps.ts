/** What a run is given: as the server's, with the run's own rights at the keyring and the right to copy the database. */
import {
  connectKeyd,
  credentialPath,
  openRunSealer,
  type FieldSealer,
  type KeyClient,
} from './keys/index.ts';
import { systemClock, type Clock } from './lib/clock.ts';
import type { Config } from './lib/config.ts';
import { dataPaths, systemFactsFolder } from './lib/data-folder.ts';
import { appAddress, backupAddress } from './lib/database-setup.ts';
import { openDatabase, type Database, type DatabaseAddress } from './lib/db.ts';
import type { Logger } from './lib/log.ts';

export interface RunDeps {
  config: Config;
  dataDir: string;
  clock: Clock;
  log: Logger;
  db: Database;
  databaseAddress: DatabaseAddress;
  /** May copy the whole cluster. */
  adminAddress: DatabaseAddress;
  /** Role `run`. */
  keys: KeyClient;
  sealer: FieldSealer;
  /** What hostd gathers about the machine for snapshots; only on the machine image. */
  systemDir?: string | undefined;
  close(): Promise<void>;
}

export async function openRunDeps(config: Config, log: Logger, runId: string): Promise<RunDeps> {
  const paths = dataPaths(config.dataDir);
  const db = openDatabase(appAddress(config), { name: 'holdfast run', max: 5 });
  const keys = await connectKeyd({
    socketPath: paths.keydSocket,
    credentialFile: credentialPath(paths.run, 'run'),
    role: 'run',
    clock: systemClock,
  });
  const sealer = openRunSealer(keys, runId);
  return {
    config,
    dataDir: config.dataDir,
    clock: systemClock,
    log,
    db,
    databaseAddress: appAddress(config),
    adminAddress: backupAddress(config),
    keys,
    sealer,
    systemDir: config.hostSocket === undefined ? undefined : systemFactsFolder(config.dataDir),
    close: async () => {
      sealer.close();
      await keys.close();
      await db.destroy();
    },
  };
}
