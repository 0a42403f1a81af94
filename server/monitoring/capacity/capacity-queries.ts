import type { Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { CapacityLevels, CapacityPoints } from '../../lib/tables.ts';

type PointRow = Selectable<CapacityPoints>;
type LevelRow = Selectable<CapacityLevels>;

/** Oldest first. */
export async function listPoints(db: Database, since: Date): Promise<PointRow[]> {
  return db.selectFrom('capacity_points').selectAll().where('at', '>=', since).orderBy('at').execute();
}

export async function findLastPoints(db: Database): Promise<ReadonlyMap<string, Date>> {
  const rows = await db
    .selectFrom('capacity_points')
    .select((eb) => ['thing', eb.fn.max('at').as('at')])
    .groupBy('thing')
    .execute();
  return new Map(rows.map((row) => [row.thing, row.at]));
}

export async function insertPoint(db: Database, row: PointRow): Promise<void> {
  await db
    .insertInto('capacity_points')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function deletePointsBefore(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('capacity_points').where('at', '<', before).execute();
}

export async function listLevels(db: Database): Promise<ReadonlyMap<string, LevelRow>> {
  const rows = await db.selectFrom('capacity_levels').selectAll().execute();
  return new Map(rows.map((row) => [row.thing, row]));
}

export async function saveLevel(db: Database, row: LevelRow): Promise<void> {
  await db
    .insertInto('capacity_levels')
    .values(row)
    .onConflict((conflict) => conflict.column('thing').doUpdateSet(row))
    .execute();
}

/** When the newest snapshot was stored. */
export async function findLastStoredAt(db: Database): Promise<Date | null> {
  const row = await db
    .selectFrom('snapshots')
    .select((eb) => eb.fn.max('stored_at').as('at'))
    .executeTakeFirst();
  return row?.at ?? null;
}
