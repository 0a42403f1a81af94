/**
 * Puts events into the queues of those who want them, in the transaction of what happened: no event without its delivery, no delivery
 * without its event. What is queued is the exact body that is signed and sent, at every try the same.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import type { AlertState } from '../schema.ts';
import type { WebhookEvent } from './schema.ts';
import {
  insertDeliveries,
  listSnapshotsAfter,
  listToldOf,
  lockActiveWebhooks,
  updateWebhook,
  type WebhookRow,
} from './webhook-queries.ts';

interface QueueDeps {
  clock: Clock;
  /** As receivers of several appliances tell them apart. */
  applianceName(): Promise<string>;
}

export interface AlertNotice {
  event: Extract<WebhookEvent, `alert.${string}`>;
  alertId: string;
  name: string;
  state: AlertState;
  message: string;
  hint: string | null;
  since: Date;
  /** Of who takes care of it. */
  until?: Date;
  note?: string | null;
}

/** As long as a receiver may be away. */
export const KEEP_TRYING_MS = 86_400_000;
const MOST_SNAPSHOTS = 50;

/** The name of the alert about a receiver that takes nothing. */
export const alertOfReceiver = (name: string): string => `webhook ${name}`;

/** @returns ids of the alerts that somebody is told of. */
export async function queueAlerts(
  tx: WriteTransaction,
  deps: { clock: Clock },
  applianceName: string,
  notices: readonly AlertNotice[],
): Promise<ReadonlySet<string>> {
  const told = new Set<string>();
  if (notices.length === 0) return told;
  const receivers = await lockActiveWebhooks(tx);
  if (receivers.length === 0) return told;
  const now = deps.clock.now();
  for (const notice of notices) {
    const before = await listToldOf(tx, notice.alertId);
    const wanting = receivers.filter((receiver) => wants(receiver, notice, before.has(receiver.id)));
    if (wanting.length > 0) told.add(notice.alertId);
    const { alertId, event, name, state, message, hint, since, until, note } = notice;
    const data = {
      ...{ appliance: applianceName, alert: alertId, name, state, message, hint, since: since.toISOString() },
      ...(until === undefined ? {} : { acknowledgedUntil: until.toISOString(), note: note ?? null }),
    };
    const made = { event, title: `${name}: ${message}`, alertId, data };
    await insertDeliveries(
      tx,
      wanting.map((receiver) => deliveryOf(receiver, made, now)),
    );
  }
  return told;
}

/** Whoever was told that it began is told that it ended, also when it got milder in between. */
function wants(receiver: WebhookRow, { event, name, state }: AlertNotice, toldBefore: boolean): boolean {
  if (!(receiver.events as string[]).includes(event)) return false;
  // It could not be told of this one.
  if (name === alertOfReceiver(receiver.name)) return false;
  if (event === 'alert.ended' && toldBefore) return true;
  return state === 'bad' || receiver.least === 'warn';
}

interface Made {
  event: string;
  title: string;
  alertId: string | null;
  data: object;
}

export function deliveryOf(
  receiver: Pick<WebhookRow, 'id'>,
  { event, title, alertId, data }: Made,
  now: Date,
) {
  return {
    ...{ id: randomUUID(), webhook_id: receiver.id, alert_id: alertId, event, title: title.slice(0, 300) },
    body: JSON.stringify({ type: event, timestamp: now.toISOString(), data }),
    ...{ state: 'queued', created_at: now, next_attempt_at: now },
    expires_at: new Date(now.getTime() + KEEP_TRYING_MS),
  };
}

/** Each minute: snapshots that are there and that a receiver was not told of. The number of the last is kept with its delivery. */
export async function queueSnapshots(deps: QueueDeps & { db: Database }): Promise<void> {
  const applianceName = await deps.applianceName();
  await writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    for (const receiver of await lockActiveWebhooks(tx)) {
      if (!(receiver.events as string[]).includes('snapshot.stored')) continue;
      const snapshots = await listSnapshotsAfter(tx, receiver.snapshot_number, MOST_SNAPSHOTS);
      const last = snapshots.at(-1);
      if (last === undefined) continue;
      const rows = snapshots.map((one) => {
        const data = {
          ...{ appliance: applianceName, snapshot: one.id, number: one.number, state: one.state },
          takenAt: one.taken_at.toISOString(),
          ...{ files: Number(one.file_count), bytes: Number(one.size_bytes) },
          storedBytes: Number(one.stored_bytes),
        };
        const title = `Snapshot ${one.number} is ${one.state}`;
        return deliveryOf(receiver, { event: 'snapshot.stored', title, alertId: null, data }, now);
      });
      await insertDeliveries(tx, rows);
      await updateWebhook(tx, receiver.id, { snapshot_number: last.number });
    }
  });
}
