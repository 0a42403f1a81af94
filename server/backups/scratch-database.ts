/**
 * A private server on a restored copy of the database: its own socket, no TCP, nothing archived, no durability (it is
 * wiped in any case). Whatever happens, `wipe` leaves neither process nor file; after a crash `sweepScratch` does the same.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../lib/errors.ts';
import type { DatabaseAddress } from '../lib/db.ts';
import {
  ADMIN_ROLE,
  recoverPostgres,
  socketAddress,
  stopOrphan,
  type PostgresSettings,
} from '../lib/postgres/index.ts';
import type { PostgresFacts } from './postgres-source.ts';

/** Name of the cluster's folder inside a scratch folder; `sweepScratch` looks for it. */
const CLUSTER = 'postgres';

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
  /** As the owner of the cluster. */
  address: DatabaseAddress;
  /** Stops the server. Idempotent. */
  stop(): Promise<void>;
}

export interface ScratchOptions {
  /** Scratch folder of the run; the restored section lies in its folder `postgres`. */
  scratchDir: string;
  facts: PostgresFacts;
  /** For recovery. */
  timeoutMs: number;
  binariesDir?: string | undefined;
}

/** Where a database section is restored to, before `startScratchDatabase`. */
export function scratchClusterDir(scratchDir: string): string {
  return join(scratchDir, CLUSTER);
}

/** @throws HoldfastError `integrity_failure` when the copy does not recover to the snapshot's restore point. */
export async function startScratchDatabase(options: ScratchOptions): Promise<ScratchDatabase> {
  const { scratchDir, facts } = options;
  const socketDir = join(scratchDir, 'run');
  const server = await recoverPostgres({
    clusterDir: scratchClusterDir(scratchDir),
    socketDir,
    logFile: join(scratchDir, 'postgres.log'),
    binariesDir: options.binariesDir,
    restorePoint: facts.restorePoint,
    expected: { systemId: facts.systemId, timeline: facts.timeline },
    timeoutMs: options.timeoutMs,
    settings: SCRATCH_SETTINGS,
  });
  return {
    address: socketAddress(socketDir, ADMIN_ROLE, facts.database),
    stop: () => server.stop(),
  };
}

/** Ends what runs in a scratch folder and removes it with everything in it. Absent is fine. */
export async function wipeScratch(scratchDir: string): Promise<void> {
  await stopOrphan(scratchClusterDir(scratchDir));
  await rm(scratchDir, { recursive: true, force: true, maxRetries: 3 });
}

/**
 * Removes what a crash left of restores and tests. Called at start, before anything else runs.
 *
 * @param dataDir - The appliance's data folder.
 * @returns the names of the runs whose scratch was found.
 */
export async function sweepScratch(dataDir: string): Promise<string[]> {
  const top = join(dataDir, 'scratch');
  const left = await readdir(top).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  });
  for (const name of left) await wipeScratch(join(top, name));
  return left;
}
