/** Switching shipping on and off, and its limits. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import type { Config } from '../../lib/config.ts';
import { backupAddress } from '../../lib/database-setup.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { readSlotBound, withClient } from '../../lib/postgres/index.ts';
import { lockPointInTime, updatePointInTime } from './point-in-time-queries.ts';
import type { PointInTimeChange, PointInTimeStatus } from './schema.ts';
import { showPointInTime, type PointInTimeDeps } from './show-point-in-time.ts';

export interface ChangePointInTimeDeps extends PointInTimeDeps {
  config: Pick<Config, 'dataDir' | 'databaseUrl'>;
}

/**
 * The worker notices within seconds.
 *
 * @throws HoldfastError `wrong_state` for a database of one's own that would keep the log without a bound
 */
export async function changePointInTime(
  deps: ChangePointInTimeDeps,
  actor: Actor,
  change: PointInTimeChange,
): Promise<PointInTimeStatus> {
  if (change.enabled && deps.config.databaseUrl !== undefined) await requireBound(deps.config);
  await writeTransaction(deps.db, async (tx) => {
    const before = await lockPointInTime(tx);
    const after = {
      enabled: change.enabled,
      window_days: change.windowDays,
      objective_seconds: change.objectiveSeconds,
      pile_limit_bytes: change.pileLimitBytes,
    };
    await updatePointInTime(tx, { ...after, changed_at: deps.clock.now() });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.point-in-time.changed',
      objectType: 'point-in-time',
      detail: {
        ...after,
        before: {
          ...{ enabled: before.enabled, window_days: before.window_days },
          ...{ objective_seconds: before.objective_seconds },
          pile_limit_bytes: before.pile_limit_bytes === null ? null : Number(before.pile_limit_bytes),
        },
      },
    });
  });
  return showPointInTime(deps);
}

/** Our own PostgreSQL has a bound. One that somebody else looks after would fill its disk while this appliance is off. */
async function requireBound(config: Pick<Config, 'dataDir' | 'databaseUrl'>): Promise<void> {
  const bound = await withClient(backupAddress(config), 'holdfast point in time', readSlotBound);
  if (bound !== undefined) return;
  throw new HoldfastError(
    'wrong_state',
    'The database would keep its log without a bound while nothing ships it',
    {
      hint: 'Set max_slot_wal_keep_size on the database server, for example to 16GB, and reload it.',
    },
  );
}
