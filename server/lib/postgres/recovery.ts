/**
 * Starts a copy of a cluster and recovers it to a restore point or a time ("Continuous Archiving and Point-in-Time Recovery"): the
 * WAL lies in the copy's own pg_wal, nothing is fetched, and what comes after that point is not applied.
 */
import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatabaseAddress } from '../db.ts';
import { HoldfastError } from '../errors.ts';
import { startPostgres, type PostgresServer } from './server.ts';
import type { PostgresSettings } from './settings.ts';
import { socketAddress, withClient } from './connection.ts';
import { readServerFacts } from './table-facts.ts';

/** How far the log is applied: to a restore point, to the last commit up to a time, or to its end. */
export type RecoveryPoint =
  { kind: 'restore-point'; name: string } | { kind: 'time'; at: Date } | { kind: 'end' };

export interface RecoveryOptions {
  /** Files of a base backup, with the WAL up to the restore point. */
  clusterDir: string;
  socketDir: string;
  logFile: string;
  binariesDir?: string | undefined;
  until: RecoveryPoint;
  /** What the copy was made from, to be found again after recovery. */
  expected: { systemId: string; timeline: number; superuser: string };
  timeoutMs: number;
  settings?: PostgresSettings;
}

/**
 * Returns a server that has recovered to that point, opened for writing on a timeline of its own.
 *
 * @throws HoldfastError `integrity_failure` when the copy does not recover to that point (detail: the end of its log).
 */
export async function recoverPostgres(options: RecoveryOptions): Promise<PostgresServer> {
  const { clusterDir, socketDir, logFile, binariesDir } = options;
  await chmod(clusterDir, 0o700);
  let server: PostgresServer;
  try {
    server = await startPostgres({
      ...{ clusterDir, socketDir, logFile, binariesDir },
      settings: { ...options.settings, ...recoverySettings(options.until) },
      startTimeoutMs: options.timeoutMs,
      prepare: async () => {
        // Settings that someone gave the original by ALTER SYSTEM would override ours.
        await writeFile(join(clusterDir, 'postgresql.auto.conf'), '');
        await rm(join(clusterDir, 'standby.signal'), { force: true });
        await writeFile(join(clusterDir, 'recovery.signal'), '');
      },
    });
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'unavailable') throw error;
    // Nothing in the log was committed after that time: all of it is what there was then.
    if (options.until.kind === 'time' && endedBefore(error)) {
      return recoverPostgres({ ...options, until: { kind: 'end' } });
    }
    throw new HoldfastError(
      'integrity_failure',
      options.until.kind === 'restore-point'
        ? 'The copy of the database does not recover to its restore point'
        : 'The copy of the database does not recover to that point',
      {
        hint: 'Test or restore another snapshot; this one is not whole.',
        ...(error instanceof HoldfastError && error.detail !== undefined ? { detail: error.detail } : {}),
        cause: error,
      },
    );
  }
  try {
    await assertRecovered(options);
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

function endedBefore(error: unknown): boolean {
  const detail = error instanceof HoldfastError ? error.detail : undefined;
  return detail?.includes('recovery ended before configured recovery target was reached') === true;
}

/** `exit 1` (a word of the shell: no program is needed) fetches nothing, so that PostgreSQL takes what lies in pg_wal. Hot standby would ask for the original's limits. */
function recoverySettings(until: RecoveryPoint): PostgresSettings {
  return {
    restore_command: 'exit 1',
    ...targetSetting(until),
    recovery_target_action: 'promote',
    recovery_target_timeline: 'current',
    hot_standby: 'off',
    archive_mode: 'off',
    shared_preload_libraries: '',
  };
}

function targetSetting(until: RecoveryPoint): PostgresSettings {
  if (until.kind === 'restore-point') return { recovery_target_name: until.name };
  // Where PostgreSQL checks this setting it knows no names of zones, `Z` included.
  return until.kind === 'time'
    ? { recovery_target_time: until.at.toISOString().replace('T', ' ').replace('Z', '+00') }
    : {};
}

async function assertRecovered(options: RecoveryOptions): Promise<void> {
  const address = socketAddress(options.socketDir, options.expected.superuser, 'template1');
  const found = await withClient(address, 'holdfast-recovery', readServerFacts);
  const { systemId, timeline } = options.expected;
  if (found.systemId === systemId && found.timeline > timeline) return;
  throw new HoldfastError(
    'integrity_failure',
    'The recovered database is not the one that the snapshot describes',
    {
      detail: `system ${found.systemId} timeline ${found.timeline}, expected ${systemId} after timeline ${timeline}`,
    },
  );
}

/** The last commit that a recovery applied, of a server that has just recovered; undefined when it applied none. */
export function readReached(address: DatabaseAddress): Promise<Date | undefined> {
  return withClient(address, 'holdfast-recovery', async (client) => {
    const { rows } = await client.query<{ at: Date | null }>('select pg_last_xact_replay_timestamp() as at');
    return rows[0]?.at ?? undefined;
  });
}
