/** Legal holds: as long as one is set, a snapshot is forgotten by no policy and by nobody. Any administrator sets one, an owner lifts it. */
import { recordAudit, type Actor } from '../audit/index.ts';
import { namePeople, type PeopleDeps } from '../identity/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { deleteHold, findHold, insertHold, listHolds, lockSnapshots } from './retention-queries.ts';
import type { Snapshot } from './schema.ts';

interface HoldDeps {
  db: Database;
  clock: Clock;
}

/** @throws HoldfastError `not_found`; `wrong_state` for one that is forgotten, or just being forgotten; `conflict` when it is held. */
export async function holdSnapshot(deps: HoldDeps, actor: Actor, id: string, reason: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const [row] = await lockSnapshots(tx, [id]);
    if (row === undefined) throw new HoldfastError('not_found', 'There is no such snapshot');
    if (row.state === 'forgotten')
      throw new HoldfastError('wrong_state', 'This snapshot is forgotten: there is nothing left to hold');
    if (row.forgetting) {
      throw new HoldfastError('wrong_state', 'This snapshot is being forgotten at this moment', {
        hint: 'Look again in a minute. If it is still there then, hold it.',
      });
    }
    const hold = { snapshot_id: id, reason, held_by: actor.id ?? null, held_at: deps.clock.now() };
    if (!(await insertHold(tx, hold))) {
      throw new HoldfastError('conflict', 'This snapshot is under legal hold already', {
        hint: 'An owner lifts that hold first, to give another reason.',
      });
    }
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.hold.set',
      objectType: 'snapshot',
      objectId: id,
      detail: { reason },
    });
  });
}

/** @throws HoldfastError `not_found`; `wrong_state` when it is not held. */
export async function liftHold(deps: HoldDeps, actor: Actor, id: string, reason: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const [row] = await lockSnapshots(tx, [id]);
    if (row === undefined) throw new HoldfastError('not_found', 'There is no such snapshot');
    const hold = await findHold(tx, id);
    if (hold === undefined) throw new HoldfastError('wrong_state', 'This snapshot is under no legal hold');
    await deleteHold(tx, id);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.hold.lifted',
      objectType: 'snapshot',
      objectId: id,
      detail: { reason, heldFor: hold.reason, heldSince: hold.held_at.toISOString() },
    });
  });
}

export function heldSnapshot(): HoldfastError {
  return new HoldfastError('wrong_state', 'This snapshot is under legal hold', {
    hint: 'An owner lifts the hold on the page of the snapshot, once its reason has ended.',
  });
}

/** Holds by the id of their snapshot, as people see them. */
export async function describeHolds(
  deps: Pick<PeopleDeps, 'db' | 'sealer'>,
  ids: readonly string[],
): Promise<Map<string, NonNullable<Snapshot['hold']>>> {
  const rows = await listHolds(deps.db, ids);
  const holders = [...new Set(rows.flatMap((row) => row.held_by ?? []))];
  const people = holders.length === 0 ? new Map<string, { name: string }>() : await namePeople(deps, holders);
  return new Map(
    rows.map((row) => [
      row.snapshot_id,
      {
        reason: row.reason,
        since: row.held_at.toISOString(),
        by: row.held_by === null ? null : { id: row.held_by, name: people.get(row.held_by)?.name ?? '' },
      },
    ]),
  );
}
