/** What this module needs of the process it runs in. */
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import type { Logger } from '../lib/log.ts';

export interface WorkspaceDeps {
  /** Absolute path of the data folder. */
  dataDir: string;
  db: Database;
  clock: Clock;
  log: Logger;
  keys: Pick<KeyClient, 'createWorkspaceKey' | 'workspaceKey' | 'monthlyKey'>;
  sealer: Pick<
    FieldSealer,
    | 'seal'
    | 'open'
    | 'tryOpen'
    | 'sealName'
    | 'openName'
    | 'blindIndex'
    | 'blindIndexes'
    | 'createFileKey'
    | 'openFileKey'
    | 'requireUsable'
  >;
}
