import { sql, type Insertable, type Selectable } from 'kysely';
import type { Database } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import type { Alerts, AlertSettings } from '../lib/tables.ts';

export type AlertRow = Selectable<Alerts>;

/** Every open one, also those that nobody was told of yet; held until the transaction ends. */
export async function lockOpenAlerts(db: Database): Promise<AlertRow[]> {
  return db
    .selectFrom('alerts')
    .selectAll()
    .where('ended_at', 'is', null)
    .orderBy('name')
    .forUpdate()
    .execute();
}

export async function lockAlert(db: Database, id: string): Promise<AlertRow | undefined> {
  return db.selectFrom('alerts').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function writeAlert(db: Database, row: Insertable<Alerts>): Promise<void> {
  await db
    .insertInto('alerts')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
    .execute();
}

export async function deleteAlert(db: Database, id: string): Promise<void> {
  await db.deleteFrom('alerts').where('id', '=', id).execute();
}

export async function deleteEndedBefore(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('alerts').where('ended_at', '<', before).execute();
}

/** Raised and not ended: bad ones first, then the newest. */
export async function listOpenAlerts(db: Database): Promise<AlertRow[]> {
  return db
    .selectFrom('alerts')
    .selectAll()
    .where('ended_at', 'is', null)
    .where('raised_at', 'is not', null)
    .orderBy('state')
    .orderBy('raised_at', 'desc')
    .orderBy('id')
    .execute();
}

export async function countOpenAlerts(db: Database): Promise<number> {
  const row = await db
    .selectFrom('alerts')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('ended_at', 'is', null)
    .where('raised_at', 'is not', null)
    .where('acknowledged_at', 'is', null)
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

/** Newest end first. */
export async function listEndedAlerts(
  db: Database,
  page: { limit: number; before: PageMark | undefined },
): Promise<AlertRow[]> {
  let query = db.selectFrom('alerts').selectAll().where('ended_at', 'is not', null);
  if (page.before !== undefined) {
    const { at, id } = page.before;
    query = query.where(sql<boolean>`(ended_at, id) < (${at}, ${id}::uuid)`);
  }
  return query.orderBy('ended_at', 'desc').orderBy('id', 'desc').limit(page.limit).execute();
}

export async function countEndedAlerts(db: Database): Promise<number> {
  const row = await db
    .selectFrom('alerts')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('ended_at', 'is not', null)
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

export async function readSettingsRow(db: Database): Promise<Omit<Selectable<AlertSettings>, 'singleton'>> {
  return db
    .selectFrom('alert_settings')
    .select(['recipients', 'least', 'remind_hours'])
    .executeTakeFirstOrThrow();
}

export async function writeSettingsRow(
  db: Database,
  row: Omit<Selectable<AlertSettings>, 'singleton'>,
): Promise<void> {
  await db.updateTable('alert_settings').set(row).execute();
}
