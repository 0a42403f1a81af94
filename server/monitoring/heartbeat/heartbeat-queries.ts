import type { Insertable, Selectable, Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { Heartbeat } from '../../lib/tables.ts';

export type HeartbeatRow = Selectable<Heartbeat>;

export async function findHeartbeat(db: Database): Promise<HeartbeatRow | undefined> {
  return db.selectFrom('heartbeat').selectAll().executeTakeFirst();
}

/** Held until the transaction ends. */
export async function lockHeartbeat(db: Database): Promise<HeartbeatRow | undefined> {
  return db.selectFrom('heartbeat').selectAll().forUpdate().executeTakeFirst();
}

export async function saveHeartbeat(db: Database, row: Insertable<Heartbeat>): Promise<void> {
  await db
    .insertInto('heartbeat')
    .values(row)
    .onConflict((conflict) => conflict.column('singleton').doUpdateSet(row))
    .execute();
}

/** Nothing when it was set up anew meanwhile. */
export async function updateHeartbeat(
  db: Database,
  changedAt: Date,
  change: Updateable<Heartbeat>,
): Promise<void> {
  await db.updateTable('heartbeat').set(change).where('changed_at', '=', changedAt).execute();
}

export async function deleteHeartbeat(db: Database): Promise<void> {
  await db.deleteFrom('heartbeat').execute();
}

/** How many problems are told of, and nobody takes care of. */
export async function listOpenProblems(db: Database): Promise<string[]> {
  const rows = await db
    .selectFrom('alerts')
    .select('name')
    .where('ended_at', 'is', null)
    .where('raised_at', 'is not', null)
    .where('acknowledged_at', 'is', null)
    .where('state', '=', 'bad')
    .orderBy('name')
    .execute();
  return rows.map((row) => row.name);
}
