/**
 * A private server on a restored copy of the database: its own socket, no TCP, nothing archived, no durability (it is
 * wiped in any case). `wipeScratch` leaves neither process nor file of it, also after a crash.
 */
import { join } from 'node:path';
import { scratchClusterDir } from '../lib/data-folder.ts';
import type { DatabaseAddress } from '../lib/db.ts';
import {
  recoverPostgres,
  socketAddress,
  type PostgresSettings,
  type RecoveryPoint,
} from '../lib/postgres/index.ts';
import type { PostgresFacts } from './database/postgres-source.ts';

/** `fsync` off: a scratch server that does not survive a power cut is what we want. */
const SCRATCH_SETTINGS: PostgresSettings = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  autovacuum: 'off',
  summarize_wal: 'off',
  shared_buffers: '64MB',
  maintenance_work_mem: '128MB',
  max_connections: 20,
  max_wal_senders: 0,
  max_replication_slots: 0,
};

export interface ScratchDatabase {
  /** As the role that made the cluster. */
  address: DatabaseAddress;
  /** Stops the server. Idempotent. */
  stop(): Promise<void>;
}

export interface ScratchOptions {
  /** Scratch folder of the run; the restored section lies in its folder `postgres`. */
  scratchDir: string;
  facts: PostgresFacts;
  /** The snapshot's own restore point when absent. */
  until?: RecoveryPoint | undefined;
  /** For recovery. */
  timeoutMs: number;
  binariesDir?: string | undefined;
}

/** @throws HoldfastError `integrity_failure` when the copy does not recover to that point. */
export async function startScratchDatabase(options: ScratchOptions): Promise<ScratchDatabase> {
  const { scratchDir, facts } = options;
  const socketDir = join(scratchDir, 'run');
  const server = await recoverPostgres({
    clusterDir: scratchClusterDir(scratchDir),
    socketDir,
    logFile: join(scratchDir, 'postgres.log'),
    binariesDir: options.binariesDir,
    until: options.until ?? { kind: 'restore-point', name: facts.restorePoint },
    expected: facts,
    timeoutMs: options.timeoutMs,
    settings: SCRATCH_SETTINGS,
  });
  return {
    address: socketAddress(socketDir, facts.superuser, facts.database),
    stop: () => server.stop(),
  };
}
