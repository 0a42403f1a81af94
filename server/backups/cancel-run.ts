/** Cancelling a run; and the restores that a person asked for, which they may follow and cancel without seeing other work. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Person } from '../identity/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Run } from '../lib/run-schema.ts';
import { getRun, RESTORE_KINDS, requestCancel, toRun } from '../lib/runs.ts';

interface CancelDeps {
  db: Database;
  clock: Clock;
}

export async function cancelRun(deps: CancelDeps, actor: Actor, id: string): Promise<Run> {
  await writeTransaction(deps.db, async (tx) => {
    await requestCancel(tx, deps.clock, id);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.run.cancelled',
      objectType: 'run',
      objectId: id,
    });
  });
  return getRun(deps.db, id);
}

type Asking = Pick<Person, 'userId' | 'onlyWorkspaceId'>;

/** @throws HoldfastError `not_found` for whatever they did not ask for, or not with this key's workspace. */
export async function getOwnRestore(db: Database, asking: Asking, id: string): Promise<Run> {
  const row = await db
    .selectFrom('runs')
    .selectAll()
    .where('id', '=', id)
    .where('kind', 'in', RESTORE_KINDS)
    .where('requested_by', '=', asking.userId)
    .executeTakeFirst();
  const { workspaceId } = (row?.input ?? {}) as { workspaceId?: string };
  const only = asking.onlyWorkspaceId;
  if (row === undefined || (only !== undefined && only !== workspaceId))
    throw new HoldfastError('not_found', 'There is no such restore');
  return toRun(row);
}

/** @throws HoldfastError `not_found` as above; `wrong_state` when it has ended. */
export async function cancelOwnRestore(
  deps: CancelDeps,
  asking: Asking & { actor: Actor },
  id: string,
): Promise<Run> {
  await getOwnRestore(deps.db, asking, id);
  return cancelRun(deps, asking.actor, id);
}
