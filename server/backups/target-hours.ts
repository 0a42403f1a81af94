/** When work that nobody asked for may begin on a target: catching up, reading back, carrying out its policy. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { checkWorkHours, mayBegin, tellWait, type WorkHours } from '../lib/hours.ts';
import type { RunContext } from '../lib/runs.ts';
import { getTarget, lockTarget, setWorkHours, type TargetRow } from './queries.ts';

type Row = Pick<TargetRow, 'work_hours'>;

export function workHoursOf({ work_hours: hours }: Row): WorkHours | null {
  return hours as WorkHours | null;
}

export function isOpen(row: Row, now: Date): boolean {
  return mayBegin(workHoursOf(row), now);
}

/** @returns undefined when nothing keeps work from beginning there. */
export function tellTargetWait(row: Row, now: Date): string | undefined {
  return tellWait(workHoursOf(row), now);
}

/** What a person asks for runs at any hour. */
export function isAskedFor({ cause }: Pick<RunContext, 'cause'>): boolean {
  return cause === 'person' || cause === 'console';
}

/** Its hours ended while work went on that may be taken up again. */
export class HoursOver extends HoldfastError {
  constructor(target: Pick<TargetRow, 'name' | 'work_hours'>, now: Date) {
    const why = tellTargetWait(target, now) ?? 'it goes on with its next hours';
    super('unavailable', `The hours of ${target.name} are over: ${why}`, {
      hint: 'It goes on by itself then, with what is there already. Started by hand it runs at any hour.',
    });
  }
}

/** @throws HoldfastError `invalid_input` for hours that make no sense; `wrong_state` for a target that is retired. */
export async function changeWorkHours(
  deps: { db: Database; clock: Clock },
  actor: Actor,
  id: string,
  hours: WorkHours | null,
): Promise<TargetRow> {
  if (hours !== null) checkWorkHours(hours);
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockTarget(tx, id);
    if (row.state !== 'active') throw new HoldfastError('wrong_state', 'This target is retired');
    await setWorkHours(tx, id, hours);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.hours-changed',
      objectType: 'target',
      objectId: id,
      detail: { before: workHoursOf(row), after: hours },
    });
  });
  return getTarget(deps.db, id);
}
