/** How much may be sent to a target: what people set, and how it is shared between what sends at the same time. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { checkTimeZone } from '../lib/hours.ts';
import type { Pace } from './engine.ts';
import type { TargetPace } from './pace-schema.ts';
import { getTarget, lockTarget, setPace, type TargetRow } from './queries.ts';
import { sharedLine } from './targets/pace.ts';
import { getPointInTime } from './wal/point-in-time-queries.ts';

/** Of a row. */
export function paceOf({ pace }: Pick<TargetRow, 'pace'>): TargetPace | null {
  return pace as TargetPace | null;
}

/**
 * It holds from the next time that the target is opened: a run under way ends as it began.
 *
 * @throws HoldfastError `invalid_input` for a time zone that there is not; `wrong_state` for a target that is retired.
 */
export async function changePace(
  deps: { db: Database; clock: Clock },
  actor: Actor,
  id: string,
  pace: TargetPace | null,
): Promise<TargetRow> {
  if (pace?.hours !== undefined) checkTimeZone(pace.hours.timeZone);
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockTarget(tx, id);
    if (row.state !== 'active') throw new HoldfastError('wrong_state', 'This target is retired');
    await setPace(tx, id, pace);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.pace-changed',
      objectType: 'target',
      objectId: id,
      detail: { before: paceOf(row), after: pace },
    });
  });
  return getTarget(deps.db, id);
}

/** Who sends: runs, of which one has a target at a time, or the process that ships the log beside them. */
export type Sender = 'run' | 'log';

/** While the log is shipped it has a quarter, so that both together keep to the limit. */
const LOG_SHARE = 0.25;
/** One for each target in this process: what opens it several times shares what is allowed. */
const lines = new Map<string, SharedArrayBuffer>();

export async function paceFor(
  db: Database,
  row: Pick<TargetRow, 'id' | 'pace'>,
  sender: Sender,
): Promise<Pace | undefined> {
  const pace = paceOf(row);
  if (pace === null) return undefined;
  const line = lines.get(row.id) ?? sharedLine();
  lines.set(row.id, line);
  const share = sender === 'log' ? LOG_SHARE : (await getPointInTime(db)).enabled ? 1 - LOG_SHARE : 1;
  return { ...pace, bytesPerSecond: Math.floor(pace.bytesPerSecond * share), line };
}
