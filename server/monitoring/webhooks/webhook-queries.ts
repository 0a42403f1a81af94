import { sql, type Insertable, type Selectable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { WebhookDeliveries, Webhooks } from '../../lib/tables.ts';

export type WebhookRow = Selectable<Webhooks>;
export type DeliveryRow = Selectable<WebhookDeliveries>;

export async function listWebhookRows(db: Database): Promise<WebhookRow[]> {
  return db.selectFrom('webhooks').selectAll().orderBy('created_at').orderBy('id').execute();
}

export async function findWebhook(db: Database, id: string): Promise<WebhookRow | undefined> {
  return db.selectFrom('webhooks').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function lockWebhook(db: Database, id: string): Promise<WebhookRow | undefined> {
  return db.selectFrom('webhooks').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

/** Those that want something now; held until the transaction ends. */
export async function lockActiveWebhooks(db: Database): Promise<WebhookRow[]> {
  return db
    .selectFrom('webhooks')
    .selectAll()
    .where('paused', '=', false)
    .orderBy('id')
    .forUpdate()
    .execute();
}

export async function insertWebhook(db: Database, row: Insertable<Webhooks>): Promise<void> {
  await db.insertInto('webhooks').values(row).execute();
}

export async function updateWebhook(db: Database, id: string, change: Updateable<Webhooks>): Promise<void> {
  await db.updateTable('webhooks').set(change).where('id', '=', id).execute();
}

export async function deleteWebhook(db: Database, id: string): Promise<void> {
  await db.deleteFrom('webhooks').where('id', '=', id).execute();
}

export async function isNameTaken(db: Database, name: string, except?: string): Promise<boolean> {
  let query = db
    .selectFrom('webhooks')
    .select('id')
    .where(sql<boolean>`lower(name) = lower(${name})`);
  if (except !== undefined) query = query.where('id', '!=', except);
  return (await query.executeTakeFirst()) !== undefined;
}

export async function insertDeliveries(
  db: Database,
  rows: readonly Insertable<WebhookDeliveries>[],
): Promise<void> {
  if (rows.length > 0)
    await db
      .insertInto('webhook_deliveries')
      .values([...rows])
      .execute();
}

/** Which receivers were told of that alert before. */
export async function listToldOf(db: Database, alertId: string): Promise<ReadonlySet<string>> {
  const rows = await db
    .selectFrom('webhook_deliveries')
    .select('webhook_id')
    .distinct()
    .where('alert_id', '=', alertId)
    .execute();
  return new Set(rows.map((row) => row.webhook_id));
}

/** The oldest due one of each receiver with which nobody is speaking; locked until the transaction ends. */
export async function lockDueDeliveries(db: Database, now: Date, most: number): Promise<DeliveryRow[]> {
  const { rows } = await sql<{ id: string }>`
    select distinct on (d.webhook_id) d.id from webhook_deliveries d join webhooks w on w.id = d.webhook_id
    where d.state = 'queued' and not w.paused and d.next_attempt_at <= ${now}
      and not exists (select from webhook_deliveries busy
        where busy.webhook_id = d.webhook_id and busy.state = 'queued' and busy.leased_until > ${now})
    order by d.webhook_id, d.created_at, d.id limit ${most}`.execute(db);
  if (rows.length === 0) return [];
  return db
    .selectFrom('webhook_deliveries')
    .selectAll()
    .where(
      'id',
      'in',
      rows.map((row) => row.id),
    )
    .where('state', '=', 'queued')
    .where((eb) => eb.or([eb('leased_until', 'is', null), eb('leased_until', '<=', now)]))
    .forUpdate()
    .skipLocked()
    .execute();
}

export async function updateDelivery(
  db: Database,
  id: string,
  change: Updateable<WebhookDeliveries>,
): Promise<void> {
  await db.updateTable('webhook_deliveries').set(change).where('id', '=', id).execute();
}

/** How a try ended; nothing when the lease was lost to another process meanwhile. @returns whether it was ours. */
export async function recordTry(
  db: Database,
  lease: { id: string; attempts: number },
  change: Updateable<WebhookDeliveries>,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('webhook_deliveries')
    .set({ ...change, leased_until: null })
    .where('id', '=', lease.id)
    .where('attempts', '=', lease.attempts)
    .where('state', '=', 'queued')
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Gives up what waits beyond its time. */
export async function expireDeliveries(db: Database, now: Date): Promise<void> {
  await db
    .updateTable('webhook_deliveries')
    .set({ state: 'failed', ended_at: now, next_attempt_at: null, leased_until: null })
    .where('state', '=', 'queued')
    .where('expires_at', '<=', now)
    .where((eb) => eb.or([eb('leased_until', 'is', null), eb('leased_until', '<=', now)]))
    .execute();
}

export async function deleteDeliveriesBefore(db: Database, before: Date): Promise<void> {
  await db.deleteFrom('webhook_deliveries').where('ended_at', '<', before).execute();
}

export async function lockDelivery(
  db: Database,
  webhookId: string,
  id: string,
): Promise<DeliveryRow | undefined> {
  return db
    .selectFrom('webhook_deliveries')
    .selectAll()
    .where('webhook_id', '=', webhookId)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
}

/** Newest first. */
export async function listDeliveryRows(
  db: Database,
  webhookId: string,
  page: { limit: number; before?: { at: Date; id: string } | undefined },
): Promise<DeliveryRow[]> {
  let query = db.selectFrom('webhook_deliveries').selectAll().where('webhook_id', '=', webhookId);
  if (page.before !== undefined)
    query = query.where(sql<boolean>`(created_at, id) < (${page.before.at}, ${page.before.id}::uuid)`);
  return query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(page.limit).execute();
}

interface ReceiverState {
  waiting: number;
  /** When the oldest that waits and was tried was made. */
  waiting_since: Date | null;
  /** The newest that was given up, when none was delivered since. */
  given_up: DeliveryRow['answer'] | null;
  has_given_up: boolean;
}

/** How each receiver does; trials do not count. */
export async function listReceiverStates(db: Database): Promise<ReadonlyMap<string, ReceiverState>> {
  const { rows } = await sql<
    Omit<ReceiverState, 'waiting' | 'has_given_up'> & {
      id: string;
      waiting: string;
      has_given_up: boolean | null;
    }
  >`
    select w.id, coalesce(q.waiting, 0) as waiting, q.since as waiting_since,
      newest.state = 'failed' as has_given_up, case when newest.state = 'failed' then newest.answer end as given_up
    from webhooks w
    left join lateral (
      select count(*) as waiting, min(created_at) filter (where attempts > 0 and event <> 'test') as since
      from webhook_deliveries d where d.webhook_id = w.id and d.state = 'queued') q on true
    left join lateral (
      select state, answer from webhook_deliveries d
      where d.webhook_id = w.id and d.ended_at is not null and d.event <> 'test'
      order by ended_at desc limit 1) newest on true`.execute(db);
  return new Map(
    rows.map((row) => [
      row.id,
      { ...row, waiting: Number(row.waiting), has_given_up: row.has_given_up ?? false },
    ]),
  );
}

/** Snapshots that a receiver was not told of, oldest first. */
export async function listSnapshotsAfter(db: Database, number: string, most: number) {
  return db
    .selectFrom('snapshots')
    .select(['id', 'number', 'state', 'taken_at', 'stored_at', 'file_count', 'size_bytes', 'stored_bytes'])
    .where('number', '>', number)
    .where('state', '!=', 'forgotten')
    .where('stored_at', 'is not', null)
    .orderBy('number')
    .limit(most)
    .execute();
}

export async function findNewestNumber(db: Database): Promise<string> {
  const row = await db
    .selectFrom('snapshots')
    .select((eb) => eb.fn.max('number').as('last'))
    .executeTakeFirst();
  return String(row?.last ?? 0);
}
