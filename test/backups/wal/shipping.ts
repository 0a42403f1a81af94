/** An appliance whose write-ahead log is shipped to its target, at a pace that tests can wait for. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { runShipper } from '../../../server/backups/index.ts';
import { updatePointInTime } from '../../../server/backups/wal/point-in-time-queries.ts';
import type { ShipperPace } from '../../../server/backups/wal/lane.ts';
import { readShipState, type ShipPosition, type ShipView } from '../../../server/backups/wal/ship-state.ts';
import { connectKeyd, credentialPath, openRunSealer } from '../../../server/keys/index.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { childEnvironment } from '../../../server/lib/config.ts';
import { dataPaths } from '../../../server/lib/data-folder.ts';
import { writeTransaction } from '../../../server/lib/db.ts';
import { createLog } from '../../../server/lib/log.ts';
import { parseLsn, withClient } from '../../../server/lib/postgres/index.ts';
import { endOf, startProcess } from '../../../server/lib/spawn.ts';
import type { StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';

const PACE = { lookEveryMs: 50, shipEveryMs: 100 };

export interface Shipping {
  /** Until everything that is committed now is on the target, the first one when absent, and complete up to now. */
  caughtUp(targetId?: string): Promise<ShipPosition>;
  stop(): Promise<void>;
}

export function switchOn(
  appliance: StockedAppliance,
  change: Parameters<typeof updatePointInTime>[1] = {},
): Promise<void> {
  return writeTransaction(appliance.deps.db, (tx) => updatePointInTime(tx, { enabled: true, ...change }));
}

/** In this process, with a run's own rights at keyd. */
export async function startShipping(
  appliance: StockedAppliance,
  pace: Partial<ShipperPace> = {},
): Promise<Shipping> {
  const { deps, dataDir, database } = appliance;
  const shipId = randomUUID();
  await deps.keys.lend(shipId, null, { liveKeys: true });
  const { run, keydSocket } = dataPaths(dataDir);
  const keys = await connectKeyd({
    socketPath: keydSocket,
    credentialFile: credentialPath(run, 'run'),
    role: 'run',
    clock: systemClock,
  });
  await keys.takeLiveKeys(shipId);
  const sealer = openRunSealer(keys, shipId);
  const stop = new AbortController();
  const shipping = runShipper(
    {
      ...{ db: deps.db, clock: systemClock, dataDir, keys, sealer },
      ...{ adminAddress: database.adminAddress, log: createLog('silent', 'ship') },
    },
    stop.signal,
    { ...PACE, ...pace },
  );
  let failure: Error | undefined;
  shipping.catch((error: unknown) => (failure = error instanceof Error ? error : new Error(String(error))));
  return {
    async caughtUp(targetId = appliance.targetId) {
      const calledAt = await databaseNow(appliance);
      const reached = async (): Promise<ShipPosition> => {
        const wanted = await written(appliance);
        return waitFor(
          'the log to be shipped',
          () => {
            if (failure !== undefined) throw failure;
            const at = look(appliance, (view) => view.find(targetId));
            return at !== undefined && at.timeline !== 0 && at.position >= wanted ? at : undefined;
          },
          20_000,
        );
      };
      // The clock of a round is read before its end is known: it may have all, and say so of an earlier instant.
      for (let at = await reached(); ; at = await reached()) if (at.completeAt >= calledAt) return at;
    },
    async stop() {
      stop.abort();
      await shipping.catch(() => undefined);
      sealer.close();
      await keys.close();
    },
  };
}

export function look<T>(appliance: StockedAppliance, read: (view: ShipView) => T): T | undefined {
  return readShipState(appliance.dataDir, read);
}

/** How far the log of the database is now; what committed lies before it. */
function written(appliance: StockedAppliance): Promise<bigint> {
  return withClient(appliance.database.adminAddress, 'test', async (client) => {
    // A commit of its own: PostgreSQL writes out what lies before it, soon.
    await client.query('select txid_current()');
    const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
    return parseLsn(rows[0]?.lsn ?? '');
  });
}

/** The one that shipping asked for, where it did. @returns its id */
export async function takeAnySnapshot(appliance: StockedAppliance): Promise<string> {
  const asked = await appliance.deps.db
    .selectFrom('runs')
    .select('id')
    .where('kind', '=', 'snapshot')
    .where('state', '=', 'queued')
    .executeTakeFirst();
  if (asked === undefined) return appliance.takeSnapshot();
  return String((await appliance.performRun()).result?.snapshotId);
}

/** Log that nobody needs, as much as is asked for. */
export async function writeLog(appliance: StockedAppliance, mebibytes: number): Promise<void> {
  await withClient(appliance.database.adminAddress, 'test', async (client) => {
    for (let index = 0; index < mebibytes; index++) {
      await client.query(`select pg_logical_emit_message(false, 'test', repeat('x', 1048576))`);
    }
    await client.query('select txid_current()');
  });
}

/** By the database's clock, with everything before it committed. */
export function databaseNow(appliance: StockedAppliance): Promise<Date> {
  return withClient(appliance.database.adminAddress, 'test', async (client) => {
    const { rows } = await client.query<{ now: Date }>('select clock_timestamp() as now');
    return rows[0]?.now ?? new Date(0);
  });
}

/** In a process that is killed when it reaches a crash point. @returns how it ended */
export async function shipUntilKilled(
  appliance: StockedAppliance,
  point: string,
): Promise<{ exitCode: number | null; signal: string | null }> {
  const { deps, dataDir, database } = appliance;
  const shipId = randomUUID();
  await deps.keys.lend(shipId, null, { liveKeys: true });
  const child = startProcess(
    process.execPath,
    [
      ...['--import', join(import.meta.dirname, '../../helpers/crash-at.ts')],
      join(import.meta.dirname, 'ship-child.ts'),
    ],
    {
      env: childEnvironment({
        HOLDFAST_TEST_CRASH_AT: `${point}:1`,
        HOLDFAST_TEST_ORDER: JSON.stringify({ address: database.adminAddress, dataDir, shipId }),
      }),
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  const timer = setTimeout(() => child.kill('SIGTERM'), 20_000);
  const end = await endOf(child);
  clearTimeout(timer);
  return end;
}
