/** Everything that parts of the server are given; made once in `main.ts`. A module declares the part that it uses. */
import type { SnapshotBrowser } from './backups/index.ts';
import type { LogFiles, Session } from './identity/index.ts';
import type { FieldSealer, KeyClient } from './keys/index.ts';
import type { Clock } from './lib/clock.ts';
import type { Config } from './lib/config.ts';
import type { Database, DatabaseAddress } from './lib/db.ts';
import type { Logger } from './lib/log.ts';
import type { RunListener } from './lib/run-listener.ts';

export interface Deps {
  config: Config;
  dataDir: string;
  clock: Clock;
  log: Logger;
  db: Database;
  /** For connections of one's own: listening, streaming. */
  databaseAddress: DatabaseAddress;
  keys: KeyClient;
  sealer: FieldSealer;
  /** Hears of changes of runs. */
  runListener: RunListener;
  snapshotBrowser: SnapshotBrowser;
  /** Takes down every request. */
  requestLog: LogFiles;
  origins: readonly string[];
  isClaimed(): Promise<boolean>;
  /** What every signed-in person should see at the top of each page. */
  banners(): Promise<Session['banners']>;
}
